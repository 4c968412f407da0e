//! A proxy between the gateway and Genesys Cloud.

use std::fmt;
use std::str::FromStr;

use url::Url;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
