//! Base URLs that replace those of the region.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::Url;

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

    /// Whether requests would go unencrypted to another machine.
    pub fn leaves_unencrypted(&self) -> bool {
        self.is_plain && !self.is_local
    }

    /// Whether a simulator may be there: the host is this machine, or the scheme is http.
    pub fn may_be_simulated(&self) -> bool {
        self.is_plain || self.is_local
    }

    /// The `https` URL of a host of a known region.
    pub(super) fn of_host(host: fmt::Arguments<'_>) -> Self {
        Self { text: format!("https://{host}"), is_plain: false, is_local: false }
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
        let host = url.host_str().ok_or(example)?;
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
        let (is_plain, is_local) = (url.scheme() == "http", is_loopback(host));
        let text = url.as_str().trim_end_matches('/').to_owned();
        // `Url` accepts hosts that `Uri` refuses, such as those with braces.
        if text.parse::<http::Uri>().is_err() {
            return Err("must not have characters that are invalid in a URL");
        }
        Ok(Self { text, is_plain, is_local })
    }
}

fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse().is_ok_and(|address: IpAddr| address.is_loopback())
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
}
