//! From a request's URI to the URL that reqwest wants.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::uri::Authority;
use http::{Request, Uri};
use reqwest::Url;

use crate::genesys::error::UpstreamError;

/// The URL that was asked last. Nearly all requests go to its host, which is dear to parse.
#[derive(Default)]
pub struct LastUrl(Mutex<Option<Url>>);

impl LastUrl {
    /// The request as reqwest takes it.
    ///
    /// # Errors
    /// If its URI is no URL.
    pub fn request(&self, request: Request<Bytes>) -> Result<reqwest::Request, UpstreamError> {
        let (head, body) = request.into_parts();
        let mut request = reqwest::Request::new(head.method, self.url(&head.uri)?);
        *request.headers_mut() = head.headers;
        *request.body_mut() = Some(body.into());
        Ok(request)
    }

    fn url(&self, uri: &Uri) -> Result<Url, UpstreamError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = last.as_mut().filter(|url| is_same_host(url, uri)) {
            url.set_path(uri.path());
            url.set_query(uri.query());
            return Ok(url.clone());
        }
        let parsed = uri.to_string().parse();
        let url: Url = parsed.map_err(|_| UpstreamError::Connect("unusable URL".to_owned()))?;
        Ok(last.insert(url).clone())
    }
}

/// Whether they differ in path and query at most.
fn is_same_host(url: &Url, uri: &Uri) -> bool {
    let (scheme, authority) = (uri.scheme_str(), uri.authority().map(Authority::as_str));
    scheme == Some(url.scheme()) && authority == Some(url.authority())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_that_of_its_request_whatever_was_asked_before() {
        let last = LastUrl::default();
        for uri in [
            "http://a.test/one?x=1",
            "http://a.test/two",
            "http://a.test:81/two",
            "https://a.test/two",
            "https://a.test:443/base/%C3%A9?y",
            "https://b.test/a/../b",
            "https://b.test/a/../c?z=%20",
            "http://[::1]:8080/",
        ] {
            let url = last.url(&uri.parse().expect("a URI")).expect("a URL");
            assert_eq!(url, uri.parse().expect("a URL"));
        }
    }
}
