//! How many requests of one address behind a trusted proxy are under way.
//!
//! Connections of a proxy are those of many clients, and so bounded by no address. Without this, one
//! host behind it could take up every place there is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AddressKey, PeerInfo};

/// Counts API requests that came by a proxy, by who asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AddressLimiter {
    most: usize,
    under_way: Arc<Mutex<BTreeMap<AddressKey, usize>>>,
}

/// A request that is counted, until this is dropped.
#[derive(Debug)]
pub struct AddressSlot {
    address_limiter: AddressLimiter,
    source: AddressKey,
}

/// So many requests are under way from where it came from that it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLimitReached;

impl AddressLimiter {
    /// That many of one address at once, and no more.
    pub fn new(most: usize) -> Self {
        Self { most, under_way: Arc::default() }
    }

    /// Counts a request if it came by a proxy that told who asks.
    ///
    /// # Errors
    /// If it is one too many.
    pub(in crate::http) fn acquire(
        &self,
        peer: Option<&PeerInfo>,
    ) -> Result<Option<AddressSlot>, AddressLimitReached> {
        let Some(peer) = peer.filter(|peer| peer.address != peer.socket) else { return Ok(None) };
        let source = AddressKey::from_address(peer.address.ip());
        let mut under_way = self.under_way();
        let of_source = under_way.entry(source).or_default();
        if *of_source >= self.most {
            return Err(AddressLimitReached);
        }
        *of_source += 1;
        drop(under_way);
        Ok(Some(AddressSlot { address_limiter: self.clone(), source }))
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<AddressKey, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut under_way = self.address_limiter.under_way();
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

    fn peer(address: &str) -> PeerInfo {
        let mut peer = PeerInfo::from_address("10.0.0.1:1".parse().expect("an address"));
        peer.address = address.parse().expect("an address");
        peer
    }

    #[test]
    fn each_proxied_address_has_a_limit_and_frees_its_slots() {
        let address_limiter = AddressLimiter::new(2);
        let (one, other) = (peer("192.0.2.1:0"), peer("192.0.2.2:0"));
        let first = address_limiter.acquire(Some(&one)).expect("room");
        let second = address_limiter.acquire(Some(&one)).expect("room");
        assert!(first.is_some() && address_limiter.acquire(Some(&one)).is_err());
        assert!(address_limiter.acquire(Some(&other)).is_ok());
        drop(first);
        assert!(address_limiter.acquire(Some(&one)).is_ok());
        drop(second);
        assert!(address_limiter.under_way().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn who_connects_himself_is_bounded_by_his_connections_alone() {
        let address_limiter = AddressLimiter::new(1);
        let direct = peer("10.0.0.1:1");
        for peer in [Some(&direct), None] {
            let all = [address_limiter.acquire(peer), address_limiter.acquire(peer)];
            assert!(all.iter().all(|member| matches!(member, Ok(None))));
        }
        assert!(address_limiter.under_way().is_empty());
    }
}
