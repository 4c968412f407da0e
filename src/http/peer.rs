//! Who is at the other end of a request: known by the connection, not by what the request says.

mod address_key;
mod address_limit;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};

pub use self::address_key::AddressKey;
pub use self::address_limit::AddressLimiter;

/// What proxies tell about who asked them.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a request, as an extension of it. Absent where a router is called without a
/// connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who asks: for limits, debugging and audit.
    pub address: SocketAddr,
    /// The other end of the connection itself.
    pub socket: SocketAddr,
    /// Whom the client certificate names, if one was shown and it was good.
    pub certificate: Option<CertificateSubject>,
}

impl PeerInfo {
    /// Somebody who connects from this address, without a certificate.
    pub fn from_address(address: SocketAddr) -> Self {
        let address = canonical(address);
        Self { address, socket: address, certificate: None }
    }
}

/// The subject of a verified client certificate, written as RFC 4514 has it, such as
/// `CN=crm.example,O=Example`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSubject(Arc<str>);

impl CertificateSubject {
    /// The subject that is written so.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertificateSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address of version 4 is told as one, also where it came as one of version 6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The other end of this request, if it came over a connection.
pub(super) fn peer_of(request: &Request) -> Option<&PeerInfo> {
    request.extensions().get()
}

/// Who asks, where the other end of the connection may be a proxy of ours: the rightmost address of
/// `X-Forwarded-For` that is none of them. What stands further left, anybody can have written.
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
        // What a trusted proxy cannot name is not known; the proxy itself is.
        let Some(address) = address_of(hop.trim()) else { return nearest };
        nearest = canonical(address);
        if !trusted(address.ip()) {
            return nearest;
        }
    }
    nearest
}

/// An address with or without port, version 6 with or without brackets.
fn address_of(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let without_port = bare.parse().map(|address: IpAddr| SocketAddr::new(address, 0));
    without_port.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_version_4_is_told_as_one() {
        let peer = PeerInfo::from_address("[::ffff:192.0.2.1]:5".parse().expect("an address"));
        assert_eq!((peer.address.to_string(), peer.socket), ("192.0.2.1:5".into(), peer.address));
    }

    /// Who asks, as the lines of the header have it; our proxies are those of
    /// 10.0.0.0/8 and one of version 6.
    fn who(socket: &str, lines: &[&str]) -> String {
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
    fn the_rightmost_address_that_is_no_proxy_of_ours_is_who_asks() {
        for (socket, lines, expected) in [
            // Nobody else is believed.
            ("192.0.2.1", &["198.51.100.1"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("fd00::1", &["2001:db8::7"], "2001:db8::7"),
            // A client who writes the header himself moves to the left.
            ("10.0.0.1", &["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["10.9.9.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            // What cannot be read ends the search: what is left of it may be made up.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1, "], "10.0.0.1"),
            ("10.0.0.1", &["999.1.1.1"], "10.0.0.1"),
        ] {
            assert_eq!(who(socket, lines), expected, "{socket} {lines:?}");
        }
    }
}
