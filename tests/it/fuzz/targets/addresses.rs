//! `X-Forwarded-For`, and the networks of `server.trusted_proxies`.
//!
//! An input is a line of networks, a line with the other end of the connection, and lines of the header.

use std::net::{IpAddr, SocketAddr};

use attribute_gateway::config::IpNetwork;
use attribute_gateway::http::forwarded;
use http::{HeaderMap, HeaderName, HeaderValue};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What somebody may write who wants to be taken for another.
const MADE_UP: [&str; 4] = ["203.0.113.9", "[2001:db8::9]:1", "unknown", ",,"];

/// Asks who sent such a request: a client cannot choose the answer.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let (Some(networks), Some(socket)) = (lines.next(), lines.next()) else { return };
    let Ok(socket) = socket.parse::<SocketAddr>() else { return };
    let networks: Vec<IpNetwork> =
        networks.split([' ', ',']).filter_map(|network| network.parse().ok()).collect();
    networks.iter().for_each(sound);
    let lines: Vec<HeaderValue> = lines.filter_map(|line| line.parse().ok()).collect();
    let trusted = |address: IpAddr| networks.iter().any(|network| network.contains(address));
    let who = |lines: &[HeaderValue]| {
        let lines = lines.iter().map(|line| (FORWARDED_FOR, line.clone()));
        forwarded(socket, &lines.collect::<HeaderMap>(), trusted)
    };
    let found = who(&lines);
    assert!(trusted(socket.ip()) || found == socket, "a stranger was believed");
    assert!(!lines.is_empty() || found == socket, "there was no answer");
    // If each hop was one of ours, what stands before them is believed.
    if trusted(found.ip()) {
        return;
    }
    for made_up in MADE_UP {
        let before = [&[HeaderValue::from_static(made_up)], lines.as_slice()].concat();
        assert_eq!(who(&before), found, "a line in front");
        let Some(Ok(first)) = lines.first().map(HeaderValue::to_str) else { continue };
        let mut longer = lines.clone();
        longer[0] = format!("{made_up},{first}").parse().expect("a value");
        assert_eq!(who(&longer), found, "a longer line");
    }
}

/// A network is read as it is shown, and means an address of version 4 in each of its two spellings.
fn sound(network: &IpNetwork) {
    assert_eq!(network.to_string().parse().as_ref(), Ok(network));
    let (address, _) =
        network.to_string().split_once('/').map(|(a, b)| (a.to_owned(), b.len())).expect("both");
    let address: IpAddr = address.parse().expect("an address");
    if let IpAddr::V4(address) = address {
        assert!(
            network.contains(address.into()) && network.contains(address.to_ipv6_mapped().into())
        );
    }
}
