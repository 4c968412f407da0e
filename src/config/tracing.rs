//! `[tracing]`: the export of spans.

use std::fmt;
use std::str::FromStr;

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::url::BaseUrl;
use super::values::{self, CheckedSection};

/// Where spans are exported to, and of which requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracingConfig {
    #[serde(default, deserialize_with = "values::optional")]
    pub endpoint: Option<BaseUrl>,
    #[serde(default, deserialize_with = "headers")]
    pub headers: SpanHeaders,
    #[serde(deserialize_with = "values::name")]
    pub service_name: String,
    #[serde(deserialize_with = "values::number::<1, 1_000_000, _, _>")]
    pub keep_one_in: u32,
}

impl CheckedSection for TracingConfig {
    fn check(&self) -> Result<(), String> {
        let has_headers = self.headers.iter().next().is_some();
        match &self.endpoint {
            None if has_headers => Err("headers: are set, but tracing.endpoint is not".to_owned()),
            Some(url) if has_headers && url.leaves_unencrypted() => {
                let what = "need a tracing.endpoint with https, unless its host is this machine";
                Err(format!("headers: {what}"))
            }
            _ => Ok(()),
        }
    }
}

/// Headers for the collector. `Debug` shows only their number.
#[derive(Clone, Default)]
pub struct SpanHeaders(Vec<(String, SecretString)>);

impl SpanHeaders {
    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl fmt::Debug for SpanHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanHeaders({})", self.0.len())
    }
}

impl FromStr for SpanHeaders {
    type Err = &'static str;

    /// Parses `name=value,name=value`. The messages leave the text out, because it may hold a key.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let headers = text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').ok_or("must be `name=value,name=value`")?;
            let (name, value) = (name.trim(), value.trim());
            let is_valid =
                HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
            is_valid
                .then(|| (name.to_owned(), value.into()))
                .ok_or("must hold valid header names and values")
        });
        headers.collect::<Result<_, _>>().map(Self)
    }
}

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SpanHeaders, D::Error> {
    values::name(deserializer)?.parse().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn headers_are_a_list_and_never_shown() {
        let headers: SpanHeaders = " x-key = hunter2==, b=2,".parse().expect("headers");
        let read: Vec<_> =
            headers.iter().map(|(name, value)| (name, value.expose_secret())).collect();
        assert_eq!(read, [("x-key", "hunter2=="), ("b", "2")]);
        assert!(!format!("{headers:?}").contains("hunter2"));
        assert_eq!("".parse::<SpanHeaders>().expect("none").iter().count(), 0);
        for bad in ["hunter2", "a b=hunter2", "=hunter2", "a=hunter2\u{1}"] {
            let error = bad.parse::<SpanHeaders>().expect_err(bad);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
