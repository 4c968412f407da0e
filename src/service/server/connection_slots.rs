//! Limits the number of connections, in total and for each address.
//!
//! The server closes a connection over a limit at once. The limit per address prevents that one client
//! takes all slots. Once half of them are in use, it shrinks with those that are free, so that a few
//! dozen addresses together cannot take all slots either.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ConnectionLimits;
use crate::config::IpNetwork;
use crate::http::AddressKey;
use crate::telemetry::ServiceMetrics;

/// Where slots are scarce, an address gets at most one of so many free ones.
const FREE_PER_ADDRESS: usize = 8;

/// The open connections.
pub struct ConnectionSlots {
    limits: ConnectionLimits,
    /// A proxy has connections of many clients, so only the total limits it.
    trusted_proxies: Arc<[IpNetwork]>,
    metrics: ServiceMetrics,
    open: Mutex<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    by_address: BTreeMap<AddressKey, usize>,
    total: usize,
}

/// An open connection, counted until this guard is dropped.
pub struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    source: AddressKey,
}

impl ConnectionSlots {
    /// No connections yet.
    pub fn new(
        limits: ConnectionLimits,
        trusted_proxies: Arc<[IpNetwork]>,
        metrics: ServiceMetrics,
    ) -> Self {
        Self { limits, trusted_proxies, metrics, open: Mutex::default() }
    }

    /// A slot for a new connection from this address; `None` if a limit is reached.
    pub fn acquire(self: &Arc<Self>, address: SocketAddr) -> Option<ConnectionSlot> {
        let source = AddressKey::from_address(address.ip());
        let is_proxy = self.trusted_proxies.iter().any(|proxy| proxy.contains(address.ip()));
        let mut open = self.open.lock();
        let of_address = open.by_address.get(&source).copied().unwrap_or_default();
        let free = self.limits.connections.saturating_sub(open.total);
        let most = if is_proxy {
            usize::MAX
        } else if free > open.total {
            self.limits.per_address
        } else {
            self.limits.per_address.min(free.div_ceil(FREE_PER_ADDRESS))
        };
        if free == 0 || of_address >= most {
            return None;
        }
        open.by_address.insert(source, of_address + 1);
        open.total += 1;
        self.metrics.connections(open.total);
        drop(open);
        Some(ConnectionSlot { slots: Arc::clone(self), source })
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock();
        open.total -= 1;
        if let Some(of_address) = open.by_address.get_mut(&self.source) {
            *of_address -= 1;
            if *of_address == 0 {
                open.by_address.remove(&self.source);
            }
        }
        self.slots.metrics.connections(open.total);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::paths;

    fn slots(connections: usize, per_address: usize) -> Arc<ConnectionSlots> {
        let second = Duration::from_secs(1);
        let limits = ConnectionLimits {
            connections,
            per_address,
            header_bytes: 8192,
            header_timeout: second,
            idle_timeout: second,
            handshake_timeout: second,
            answer_timeout: second,
        };
        let proxies = ["10.0.0.0/8".parse().expect("a network")];
        Arc::new(ConnectionSlots::new(limits, proxies.into(), ServiceMetrics::new(paths::ALL)))
    }

    #[test]
    fn an_address_gets_its_slots_back() {
        let slots = slots(10, 2);
        let from = |text: &str| slots.acquire(text.parse().expect("an address"));
        let first = from("192.0.2.1:1").expect("a slot");
        let _second = from("192.0.2.1:2").expect("a slot");
        assert!(from("192.0.2.1:3").is_none());
        assert!(from("192.0.2.2:1").is_some(), "another address has its own slots");
        drop(first);
        assert!(from("192.0.2.1:3").is_some());
    }

    #[test]
    fn many_addresses_leave_slots_for_another_one() {
        let slots = slots(10_000, 1_000);
        let held: Vec<_> = (0..20)
            .flat_map(|address| (0..1_000).map(move |port| ([192, 0, 2, address], port)))
            .filter_map(|address| slots.acquire(address.into()))
            .collect();
        assert!(held.len() > 9_000, "{} are in use", held.len());
        assert!(slots.acquire("198.51.100.1:1".parse().expect("an address")).is_some());
    }

    #[test]
    fn only_the_total_limits_a_proxy() {
        let slots = slots(3, 1);
        let held: Vec<_> = (0..4)
            .filter_map(|port| slots.acquire(SocketAddr::from(([10, 0, 0, 1], port))))
            .collect();
        assert_eq!(held.len(), 3);
        assert!(slots.acquire("192.0.2.1:1".parse().expect("an address")).is_none());
        drop(held);
        assert!(slots.open.lock().by_address.is_empty(), "closed connections leave no entry");
    }
}
