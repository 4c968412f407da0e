//! Sends requests over HTTP(S) with `reqwest`: pooled connections, rustls, proxies, compressed
//! answers.
//!
//! Its own retries, redirects and timeouts are off. The layers above handle retries and timeouts. A
//! redirect would send the token to another host.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Response};
use reqwest::{Certificate, Client, ClientBuilder, Proxy};
use rustls::pki_types::CertificateDer;

use super::{ExchangeResult, HttpRequest, HttpTransport};
use crate::genesys::error::UpstreamError;

/// How long an idle connection is kept. Load balancers commonly close theirs after a minute, and a
/// request must not use a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Settings of the HTTP client.
pub struct HttpClientSettings {
    /// Time to connect, including TLS and the proxy.
    pub connect_timeout: Duration,
    /// Maximum size of an answer's body in bytes, after decompression.
    pub body_limit: usize,
    /// Certificate authorities to trust in addition to those of the system.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The proxy for https. Without it, the proxy variables of the environment apply.
    pub proxy: Option<Proxy>,
}

impl HttpClientSettings {
    /// Settings with the proxies of the environment and the authorities of the system.
    pub fn new(connect_timeout: Duration, body_limit: usize) -> Self {
        Self { connect_timeout, body_limit, authorities: Vec::new(), proxy: None }
    }

    /// Builds a transport over HTTP(S). It repeats a request only if the request was never sent
    /// because its idle connection was closed. Plain http never uses a proxy: it serves loopback and
    /// internal stand-ins.
    ///
    /// # Errors
    /// If TLS cannot be set up, for example because the system has no CA certificates.
    pub fn transport(mut self) -> Result<HttpTransport, reqwest::Error> {
        // reqwest uses the provider of the process. If one is set already, it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let body_limit = self.body_limit;
        // This client never uses TLS, so it loads no authorities.
        let direct = self.builder().no_proxy().tls_certs_only([]).build()?;
        let certificates = self.authorities.iter().map(|der| Certificate::from_der(der));
        let encrypted =
            self.builder().tls_certs_merge(certificates.collect::<Result<Vec<_>, _>>()?);
        let encrypted = match self.proxy.take() {
            Some(proxy) => encrypted.proxy(proxy),
            None => encrypted,
        };
        let encrypted = encrypted.build()?;
        Ok(HttpTransport::from_fn(move |request: HttpRequest| {
            let is_encrypted = request.url.scheme() == "https";
            let client = if is_encrypted { &encrypted } else { &direct };
            exchange(client.clone(), request, body_limit)
        }))
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder()
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
    }
}

async fn exchange(client: Client, request: HttpRequest, body_limit: usize) -> ExchangeResult {
    let is_patch = request.method == Method::PATCH;
    let mut sent = reqwest::Request::new(request.method, request.url);
    *sent.headers_mut() = request.headers;
    if !request.body.is_empty() {
        *sent.body_mut() = Some(request.body.into());
    }
    let mut answer = client.execute(sent).await.map_err(|error| {
        let reason = innermost(&error);
        if error.is_connect() {
            UpstreamError::Connect(reason)
        } else {
            UpstreamError::Reset(reason)
        }
    })?;
    let mut head = Response::new(());
    *head.status_mut() = answer.status();
    *head.headers_mut() = std::mem::take(answer.headers_mut());
    let body = match read_body(&mut answer, body_limit).await {
        Ok(body) => body,
        // The PATCH was accepted: a broken body does not change that.
        Err(_) if is_patch && head.status().is_success() => Bytes::new(),
        Err(error) => return Err(error),
    };
    Ok(head.map(|()| body))
}

async fn read_body(
    answer: &mut reqwest::Response,
    body_limit: usize,
) -> Result<Bytes, UpstreamError> {
    let mut body = Bytes::new();
    while let Some(chunk) =
        answer.chunk().await.map_err(|error| UpstreamError::Reset(innermost(&error)))?
    {
        if body.len() + chunk.len() > body_limit {
            return Err(UpstreamError::TooLarge { limit: body_limit });
        }
        if body.is_empty() {
            // Most answers have one chunk, which needs no copy.
            body = chunk;
        } else {
            let mut whole = BytesMut::from(body);
            whole.extend_from_slice(&chunk);
            body = whole.freeze();
        }
    }
    Ok(body)
}

/// The innermost cause of an error. The outer ones add little to it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use http::{Method, Request};

    use super::*;

    /// The result of a request to a server that sends `answer` and then closes the connection.
    async fn answered(
        method: Method,
        answer: &'static [u8],
    ) -> Result<Response<Bytes>, UpstreamError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(answer).await;
        });
        let transport =
            HttpClientSettings::new(Duration::from_secs(1), 1024).transport().expect("a client");
        let request = Request::builder().method(method).uri(format!("http://{address}/"));
        transport.send(request.body(Bytes::new()).expect("a request")).await
    }

    #[tokio::test]
    async fn a_successful_patch_stands_with_a_broken_body() {
        const BROKEN: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\nshort";
        let accepted = answered(Method::PATCH, BROKEN).await.expect("accepted");
        assert_eq!((accepted.status().as_u16(), accepted.body().len()), (202, 0));
        let read = answered(Method::GET, BROKEN).await;
        assert!(matches!(read, Err(UpstreamError::Reset(_))), "{read:?}");
        let refused = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\nshort";
        assert!(answered(Method::PATCH, refused).await.is_err());
    }

    #[tokio::test]
    async fn resets_and_failed_connects_are_distinguished() {
        let reset = answered(Method::PATCH, b"").await;
        assert!(matches!(reset, Err(UpstreamError::Reset(_))), "{reset:?}");
        let transport =
            HttpClientSettings::new(Duration::from_secs(1), 1024).transport().expect("a client");
        let refused = Request::builder().uri("http://127.0.0.1:1/").body(Bytes::new());
        let refused = transport.send(refused.expect("a request")).await;
        assert!(matches!(refused, Err(UpstreamError::Connect(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn the_body_limit_counts_the_decompressed_body() {
        let zeros = gzip(&[b'0'; 1000]);
        let answer = |body: &[u8]| {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), body].concat().leak()
        };
        let unpacked = answered(Method::GET, answer(&zeros)).await.expect("an answer");
        assert_eq!(unpacked.body().len(), 1000);
        let too_large = answered(Method::GET, answer(&gzip(&[b'0'; 2000]))).await;
        assert!(matches!(too_large, Err(UpstreamError::TooLarge { .. })), "{too_large:?}");
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, text).expect("in memory");
        packed.finish().expect("in memory")
    }
}
