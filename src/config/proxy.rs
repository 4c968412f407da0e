//! A proxy between the gateway and Genesys Cloud.

use std::fmt;
use std::str::FromStr;

use secrecy::SecretString;
use url::Url;

/// An HTTP proxy. `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct HttpProxy {
    address: String,
    credentials: Option<(String, SecretString)>,
}

impl HttpProxy {
    /// Its URL, without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// User name and password for it.
    pub fn credentials(&self) -> Option<(&str, &SecretString)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password))
    }
}

impl fmt::Display for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl FromStr for HttpProxy {
    type Err = &'static str;

    /// The messages leave the text out, because it may hold a password.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let example = "must be a URL such as `http://user:password@proxy.example.com:3128`";
        let url = Url::parse(text.trim()).map_err(|_| example)?;
        let host = url.host_str().ok_or(example)?;
        if url.scheme() != "http" {
            // Calls through the proxy are still encrypted between the gateway and upstream.
            return Err(
                "must begin with `http://`: the gateway connects to the proxy in plain HTTP",
            );
        }
        if url.path().len() > 1 || url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a path, query or fragment after the host and port");
        }
        let plain = |text: &str| {
            decoded(text).ok_or("must have percent-encoded UTF-8 as user and password")
        };
        let user = plain(url.username())?;
        let password = plain(url.password().unwrap_or_default())?;
        let address = format!("http://{host}:{}", url.port().unwrap_or(80));
        // `Url` accepts hosts that `Uri` refuses, such as those with braces.
        if address.parse::<http::Uri>().is_err() {
            return Err("must not have invalid characters in the host");
        }
        let given = !user.is_empty() || !password.is_empty();
        if user.contains(':') || [&user, &password].iter().any(|t| t.contains(char::is_control)) {
            return Err("must not have a colon in the user, or control characters");
        }
        Ok(Self { address, credentials: given.then(|| (user, SecretString::from(password))) })
    }
}

/// The percent-decoded text.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let proxy: HttpProxy =
            "http://me:hunter2%40%C3%BC@proxy.local:3128".parse().expect("a proxy");
        assert_eq!(proxy.address(), "http://proxy.local:3128");
        let (user, password) = proxy.credentials().expect("they are there");
        assert_eq!((user, password.expose_secret()), ("me", "hunter2@ü"));
        assert!(!format!("{proxy} {proxy:?}").contains("hunter2"));
        let open: HttpProxy = "http://[::1]/".parse().expect("a proxy");
        assert_eq!((open.address(), open.credentials().is_none()), ("http://[::1]:80", true));
        let nameless: HttpProxy = "http://:hunter2@proxy.local".parse().expect("a proxy");
        let (user, password) = nameless.credentials().expect("a password without a user counts");
        assert_eq!((user, password.expose_secret()), ("", "hunter2"));
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
            "http://me:hunter2%0a@proxy.local",
            "http://me%3a:hunter2@proxy.local",
            "http://me:hunter2%ff@proxy.local",
            "http://me:hunter2@pro}xy.local",
        ] {
            let error = bad.parse::<HttpProxy>().expect_err(bad);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
