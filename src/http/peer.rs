//! The peer of a request: its address and certificate, known from the connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};
use parking_lot::Mutex;

use crate::error::Error;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The peer of a request, stored in its extensions. Absent if the router is called without a
/// connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Address of the client, for limits, debugging and audit.
    pub address: SocketAddr,
    /// Address of the peer of the connection, which may be a proxy.
    pub socket: SocketAddr,
    /// Subject of the client certificate, if the client presented a valid one.
    pub certificate: Option<CertificateSubject>,
}

impl PeerInfo {
    /// A peer with this address and without a certificate.
    pub fn from_address(address: SocketAddr) -> Self {
        let address = canonical(address);
        Self { address, socket: address, certificate: None }
    }

    /// Whether the client runs on this machine. A proxy on this machine hides where its clients run,
    /// unless it is trusted.
    pub(super) fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback() && self.socket.ip().is_loopback()
    }
}

/// The subject of a verified client certificate in the form of RFC 4514, such as
/// `CN=crm.example,O=Example`.
pub type CertificateSubject = Arc<str>;

/// An IPv4-mapped IPv6 address becomes an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub(super) fn peer_of(request: &Request) -> Option<&PeerInfo> {
    request.extensions().get()
}

/// The address of the client, if the peer of the connection may be a trusted proxy: the rightmost
/// address in `X-Forwarded-For` that is not a trusted proxy. Clients can forge the addresses before it.
pub fn forwarded(
    socket: SocketAddr,
    headers: &HeaderMap,
    trusted: impl Fn(IpAddr) -> bool,
) -> SocketAddr {
    let mut nearest = socket;
    if !trusted(socket.ip()) {
        return nearest;
    }
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    for hop in lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(',')) {
        // An unreadable hop ends the search, so the last trusted address counts as the client.
        let Some(address) = address_of(hop.trim()) else { return nearest };
        nearest = canonical(address);
        if !trusted(address.ip()) {
            return nearest;
        }
    }
    nearest
}

/// An address with or without port; IPv6 with or without brackets.
fn address_of(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let without_port = bare.parse().map(|address: IpAddr| SocketAddr::new(address, 0));
    without_port.or_else(|_| text.parse()).ok()
}

/// Addresses whose connections and requests count together: an IPv4 address, or an IPv6 /64 network,
/// since a single machine commonly has a whole /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressKey(IpAddr);

impl AddressKey {
    /// The key of an address.
    pub fn from_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let [a, b, c, d, ..] = address.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            address => Self(address),
        }
    }
}

/// Counts connections by address; and API requests that came through a trusted proxy, by client address. A
/// proxy's connections serve many clients, so no connection limit applies to an address behind it: one such
/// host could use all request slots. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AddressLimiter {
    max: usize,
    in_flight: Arc<Mutex<BTreeMap<AddressKey, usize>>>,
}

/// A counted request or connection. It counts until this value is dropped.
#[derive(Debug)]
pub struct AddressSlot {
    address_limiter: AddressLimiter,
    source: AddressKey,
}

impl AddressLimiter {
    /// Allows `max` at once per address.
    pub fn new(max: usize) -> Self {
        Self { max, in_flight: Arc::default() }
    }

    /// Counts a request, if it came through a proxy that named the client. Fails at the limit.
    pub(in crate::http) fn acquire(
        &self,
        peer: Option<&PeerInfo>,
    ) -> Result<Option<AddressSlot>, Error> {
        let Some(peer) = peer.filter(|peer| peer.address != peer.socket) else { return Ok(None) };
        let slot = self.slot(peer.address.ip(), self.max);
        slot.map(Some).ok_or(Error::Overloaded("from this address"))
    }

    /// A slot for an address, if fewer than `max` are in use.
    pub fn slot(&self, address: IpAddr, max: usize) -> Option<AddressSlot> {
        let source = AddressKey::from_address(address);
        let mut in_flight = self.in_flight.lock();
        let of_source = in_flight.get(&source).copied().unwrap_or_default();
        if of_source >= max {
            return None;
        }
        in_flight.insert(source, of_source + 1);
        drop(in_flight);
        Some(AddressSlot { address_limiter: self.clone(), source })
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

    #[test]
    fn a_mapped_ipv4_address_becomes_an_ipv4_address() {
        let peer = PeerInfo::from_address("[::ffff:192.0.2.1]:5".parse().expect("an address"));
        assert_eq!((peer.address.to_string(), peer.socket), ("192.0.2.1:5".into(), peer.address));
    }

    /// The client address according to the header lines. The trusted proxies are 10.0.0.0/8 and one
    /// IPv6 address.
    fn client_address(socket: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().expect("a value"));
        }
        let trusted = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address == "fd00::1".parse::<std::net::Ipv6Addr>().expect("one"),
        };
        let socket = SocketAddr::new(socket.parse().expect("an address"), 5);
        forwarded(socket, &headers, trusted).ip().to_string()
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        for (socket, lines, expected) in [
            // An untrusted peer cannot set the address.
            ("192.0.2.1", &["198.51.100.1"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("fd00::1", &["2001:db8::7"], "2001:db8::7"),
            // A client can only add forged addresses at the left.
            ("10.0.0.1", &["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["10.9.9.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            // An unreadable address ends the search: those before it may be forged.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1, "], "10.0.0.1"),
            ("10.0.0.1", &["999.1.1.1"], "10.0.0.1"),
        ] {
            assert_eq!(client_address(socket, lines), expected, "{socket} {lines:?}");
        }
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_mapped_as_ipv4() {
        let of = |text: &str| AddressKey::from_address(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

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
