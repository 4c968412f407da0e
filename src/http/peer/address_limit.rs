//! Limits the concurrent requests of each address behind a trusted proxy.
//!
//! A proxy's connections serve many clients, so no connection limit applies to an address behind it.
//! Without this limit, one such host could use all request slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{AddressKey, PeerInfo};

/// Counts API requests that came through a proxy, by client address. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AddressLimiter {
    max: usize,
    in_flight: Arc<Mutex<BTreeMap<AddressKey, usize>>>,
}

/// A counted request. It counts until this value is dropped.
#[derive(Debug)]
pub struct AddressSlot {
    address_limiter: AddressLimiter,
    source: AddressKey,
}

/// The address already has the maximum number of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLimitReached;

impl AddressLimiter {
    /// Allows `max` concurrent requests per address.
    pub fn new(max: usize) -> Self {
        Self { max, in_flight: Arc::default() }
    }

    /// Counts a request, if it came through a proxy that named the client.
    ///
    /// # Errors
    /// If the address already has the maximum number of requests.
    pub(in crate::http) fn acquire(
        &self,
        peer: Option<&PeerInfo>,
    ) -> Result<Option<AddressSlot>, AddressLimitReached> {
        let Some(peer) = peer.filter(|peer| peer.address != peer.socket) else { return Ok(None) };
        let source = AddressKey::from_address(peer.address.ip());
        let mut in_flight = self.in_flight.lock();
        let of_source = in_flight.entry(source).or_default();
        if *of_source >= self.max {
            return Err(AddressLimitReached);
        }
        *of_source += 1;
        drop(in_flight);
        Ok(Some(AddressSlot { address_limiter: self.clone(), source }))
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut in_flight = self.address_limiter.in_flight.lock();
        if let Some(of_source) = in_flight.get_mut(&self.source) {
            *of_source -= 1;
            if *of_source == 0 {
                in_flight.remove(&self.source);
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
        assert!(
            address_limiter.in_flight.lock().is_empty(),
            "addresses without requests are removed"
        );
    }

    #[test]
    fn direct_connections_are_not_limited_here() {
        let address_limiter = AddressLimiter::new(1);
        let direct = peer("10.0.0.1:1");
        for peer in [Some(&direct), None] {
            let all = [address_limiter.acquire(peer), address_limiter.acquire(peer)];
            assert!(all.iter().all(|member| matches!(member, Ok(None))));
        }
        assert!(address_limiter.in_flight.lock().is_empty());
    }
}
