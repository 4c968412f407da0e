//! How many requests of one address behind a trusted proxy are under way.
//!
//! Connections of a proxy are those of many callers, and so bounded by no address. Without this, one
//! host behind it could take up every place there is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Peer, Source};

/// Counts API requests that came by a proxy, by who asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Crowd {
    most: usize,
    under_way: Arc<Mutex<BTreeMap<Source, usize>>>,
}

/// A request that is counted, until this is dropped.
#[derive(Debug)]
pub struct Member {
    crowd: Crowd,
    source: Source,
}

/// So many requests are under way from where it came from that it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

impl Crowd {
    /// That many of one address at once, and no more.
    pub fn at_most(most: usize) -> Self {
        Self { most, under_way: Arc::default() }
    }

    /// Counts a request if it came by a proxy that told who asks.
    ///
    /// # Errors
    /// If it is one too many.
    pub(in crate::http) fn enter(&self, peer: Option<&Peer>) -> Result<Option<Member>, Crowded> {
        let Some(peer) = peer.filter(|peer| peer.address != peer.socket) else { return Ok(None) };
        let source = Source::of(peer.address.ip());
        let mut under_way = self.under_way();
        let of_source = under_way.entry(source).or_default();
        if *of_source >= self.most {
            return Err(Crowded);
        }
        *of_source += 1;
        drop(under_way);
        Ok(Some(Member { crowd: self.clone(), source }))
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<Source, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut under_way = self.crowd.under_way();
        if let Some(of_source) = under_way.get_mut(&self.source) {
            *of_source -= 1;
            if *of_source == 0 {
                under_way.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        let mut peer = Peer::at("10.0.0.1:1".parse().expect("an address"));
        peer.address = address.parse().expect("an address");
        peer
    }

    #[test]
    fn each_address_behind_a_proxy_has_so_many_and_gets_its_places_back() {
        let crowd = Crowd::at_most(2);
        let (one, other) = (peer("192.0.2.1:0"), peer("192.0.2.2:0"));
        let first = crowd.enter(Some(&one)).expect("room");
        let second = crowd.enter(Some(&one)).expect("room");
        assert!(first.is_some() && crowd.enter(Some(&one)).is_err());
        assert!(crowd.enter(Some(&other)).is_ok());
        drop(first);
        assert!(crowd.enter(Some(&one)).is_ok());
        drop(second);
        assert!(crowd.under_way().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn who_connects_himself_is_bounded_by_his_connections_alone() {
        let crowd = Crowd::at_most(1);
        let direct = peer("10.0.0.1:1");
        for peer in [Some(&direct), None] {
            let all = [crowd.enter(peer), crowd.enter(peer)];
            assert!(all.iter().all(|member| matches!(member, Ok(None))));
        }
        assert!(crowd.under_way().is_empty());
    }
}
