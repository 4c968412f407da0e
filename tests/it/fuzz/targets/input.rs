//! Inputs that are written as people write requests and answers: a first line, a header a line, an empty
//! line, the body. `----` on a line of its own parts one from the next.

use attribute_gateway::http::PeerInfo;
use axum::body::Body;
use http::{HeaderName, HeaderValue, Request};

const PARTS: &[u8] = b"\n----\n";

/// Stands for the certificate that was shown on the connection; no header of the request.
const CERTIFICATE: &[u8] = b"x-client-certificate";

/// A header, as it is written.
pub type Header<'a> = (&'a [u8], &'a [u8]);

/// The parts of an input.
pub fn parts(mut input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = input.windows(PARTS.len()).position(|window| window == PARTS) {
        parts.push(&input[..at]);
        input = &input[at + PARTS.len()..];
    }
    parts.push(input);
    parts
}

/// Splits a part into its first line, its headers, and its body.
pub fn message(part: &[u8]) -> (&[u8], Vec<Header<'_>>, &[u8]) {
    let (first, mut rest) = line(part);
    let mut headers = Vec::new();
    while !rest.is_empty() {
        let (header, behind) = line(rest);
        rest = behind;
        if header.is_empty() {
            break;
        }
        if let Some(colon) = header.iter().position(|byte| *byte == b':') {
            headers.push((&header[..colon], header[colon + 1..].trim_ascii()));
        }
    }
    (first, headers, rest)
}

/// The first line, and what is behind it.
pub fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// The request of this part, or `None` if there can be no such request.
pub fn written_request(part: &[u8]) -> Option<Request<Body>> {
    let (first, headers, body) = message(part);
    let space = first.iter().position(|byte| *byte == b' ')?;
    request(&first[..space], &first[space + 1..], &headers, body)
}

/// A request with this head and body, or `None` if there can be no such request.
pub fn request(
    method: &[u8],
    target: &[u8],
    headers: &[Header<'_>],
    body: &[u8],
) -> Option<Request<Body>> {
    let mut peer = PeerInfo::from_address("192.0.2.7:4711".parse().expect("an address"));
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        if name.eq_ignore_ascii_case(CERTIFICATE) {
            peer.certificate = Some(String::from_utf8_lossy(value).into());
            continue;
        }
        request = request
            .header(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    let request = request.extension(peer).body(Body::from(body.to_vec())).ok()?;
    // What a server is sent is a path, and not a whole URL.
    request.uri().path().starts_with('/').then_some(request)
}

/// Whether the one holds the other.
pub fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
