//! Networks, as operators write them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses that share the first bits with one of them, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNetwork {
    address: IpAddr,
    bits: u8,
}

impl IpNetwork {
    /// Whether this address is one of them. Addresses of version 4 in those of version 6 count as what
    /// they are.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = (own.to_bits() ^ other.to_bits()).leading_zeros();
                differing >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = (own.to_bits() ^ other.to_bits()).leading_zeros();
                differing >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for IpNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            || format!("must be an address or a network such as `10.0.0.0/8`, not `{text}`");
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(refused)?,
            None => most,
        };
        // Those of version 4 that are written as of version 6 are what addresses are compared as.
        Ok(match (address.to_canonical(), bits) {
            (canonical @ IpAddr::V4(_), 96..) if address.is_ipv6() => {
                Self { address: canonical, bits: bits - 96 }
            }
            _ => Self { address, bits },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_shares_its_first_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/31", "10.1.2.2", "10.1.2.4"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.0/24", "::ffff:192.0.2.9", "::192.0.2.9"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.1"),
            ("::1", "::1", "::2"),
        ] {
            let found: IpNetwork = network.parse().expect("a network");
            assert!(found.contains(inside.parse().expect("an address")), "{network} {inside}");
            assert!(!found.contains(outside.parse().expect("an address")), "{network} {outside}");
        }
        for bad in
            ["", "10.0.0.0/33", "10.0.0/8", "localhost", "10.0.0.0/", "10.0.0.0/-1", "::/129"]
        {
            assert!(bad.parse::<IpNetwork>().is_err(), "{bad}");
        }
    }
}
