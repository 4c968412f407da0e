//! Addresses in the configuration: URLs, a proxy, and networks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Url};

use super::region::Region;

/// An absolute `http` or `https` URL without user, query, fragment and final slash, so that a path
/// can be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    is_plain: bool,
    is_local: bool,
}

impl BaseUrl {
    /// The URL. Append the path of a request to it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, with its port if it has one.
    pub fn host_and_port(&self) -> &str {
        self.text.split('/').nth(2).unwrap_or_default()
    }

    /// Whether requests would go unencrypted to another machine.
    pub fn leaves_unencrypted(&self) -> bool {
        self.is_plain && !self.is_local
    }

    /// Whether a simulator may be there: the host is this machine, or the scheme is http.
    pub fn may_be_simulated(&self) -> bool {
        self.is_plain || self.is_local
    }

    /// The URL of a host of a region.
    pub(super) fn of_region(host: &str, region: Region) -> Self {
        let text = format!("https://{host}.{}", region.domain());
        Self { text, is_plain: false, is_local: false }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for BaseUrl {
    type Err = &'static str;

    /// The messages leave the text out, because it may hold a password.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let example = "must be a URL such as `https://api.example.com`";
        let url = Url::parse(text.trim()).map_err(|_| example)?;
        let is_local = match url.host().ok_or(example)? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must begin with `https://` (or `http://`)");
        }
        // A user can also disguise the host: `http://localhost@example.com` goes to example.com.
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user name or password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a query or fragment");
        }
        let text = url.as_str().trim_end_matches('/').to_owned();
        // `Url` accepts hosts that `Uri` refuses, such as those with braces.
        if text.parse::<http::Uri>().is_err() {
            return Err("must not have characters that are invalid in a URL");
        }
        Ok(Self { text, is_plain: url.scheme() == "http", is_local })
    }
}

/// An HTTP proxy. `Debug` and `Display` show no user and no password.
#[derive(Clone)]
pub struct HttpProxy(Url);

impl HttpProxy {
    /// Its URL, with user and password.
    pub fn expose_url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "http://{host}:{}", self.0.port().unwrap_or(80))
    }
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpProxy({self})")
    }
}

impl FromStr for HttpProxy {
    type Err = &'static str;

    /// The messages leave the text out, because it may hold a password.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let example = "must be a URL such as `http://user:password@proxy.example.com:3128`";
        let url = Url::parse(text.trim()).map_err(|_| example)?;
        if url.scheme() != "http" {
            // Calls through the proxy are still encrypted between the gateway and upstream.
            return Err(
                "must begin with `http://`: the gateway connects to the proxy in plain HTTP",
            );
        }
        if url.path().len() > 1 || url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a path, query or fragment after the host and port");
        }
        let proxy = Self(url);
        // `Url` accepts hosts that `Uri` refuses, such as those with braces.
        if proxy.to_string().parse::<http::Uri>().is_err() {
            return Err("must not have invalid characters in the host");
        }
        Ok(proxy)
    }
}

/// A network such as `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNetwork(IpNet);

impl IpNetwork {
    /// Whether the address belongs to the network. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for IpNetwork {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| "must be an address or a network such as `10.0.0.0/8`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_reached_in_plain_http() {
        let local =
            ["http://127.0.0.1:8090", "http://localhost", "http://[::1]:1/x", "http://127.9.9.9"];
        for text in local {
            assert!(!text.parse::<BaseUrl>().expect("a base URL").leaves_unencrypted(), "{text}");
        }
        let remote = [
            "http://127.0.0.1.evil.com",
            "http://localhost.evil.com",
            "http://example.com",
            "http://0.0.0.0",
            "http://[::ffff:10.0.0.1]",
            "http://evil.com/localhost",
        ];
        for text in remote {
            assert!(text.parse::<BaseUrl>().expect("a base URL").leaves_unencrypted(), "{text}");
        }
        assert!(
            !"https://example.com".parse::<BaseUrl>().expect("a base URL").leaves_unencrypted()
        );
    }

    #[test]
    fn errors_about_an_invalid_url_do_not_quote_it() {
        let bad = [
            "http://localhost@evil.com",
            "https://user:hunter2@example.com",
            "https://example.com/?a=1",
            "https://example.com/#x",
            "ftp://example.com",
            "example.com",
            "https://",
            "file:///etc/passwd",
            "https://api.exa}mple.com/hunter2",
        ];
        for text in bad {
            let error = text.parse::<BaseUrl>().expect_err("refused");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_path_stays_and_its_last_slash_goes() {
        let url: BaseUrl = " https://proxy.example.com/genesys/ ".parse().expect("a base URL");
        assert_eq!(url.as_str(), "https://proxy.example.com/genesys");
    }

    #[test]
    fn credentials_are_never_shown() {
        let proxy: HttpProxy = "http://me:hunter2@proxy.local:3128".parse().expect("a proxy");
        assert_eq!(proxy.expose_url().password(), Some("hunter2"));
        assert_eq!(proxy.to_string(), "http://proxy.local:3128");
        assert!(!format!("{proxy} {proxy:?}").contains("hunter2"));
        let open: HttpProxy = "http://[::1]/".parse().expect("a proxy");
        assert_eq!(open.to_string(), "http://[::1]:80");
    }

    #[test]
    fn errors_about_an_invalid_proxy_do_not_quote_it() {
        for bad in [
            "https://me:hunter2@proxy.local",
            "socks5://proxy.local",
            "proxy.local:3128",
            "http://me:hunter2@proxy.local/path",
            "http://proxy.local?hunter2",
            "http://proxy.local#hunter2",
            "http://me:hunter2@pro}xy.local",
        ] {
            let error = bad.parse::<HttpProxy>().expect_err(bad);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_network_contains_what_shares_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/31", "10.1.2.2", "10.1.2.4"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.0/24", "::ffff:192.0.2.9", "::192.0.2.9"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
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
