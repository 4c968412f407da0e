//! Who is at the other end of a request: known by the connection, not by what the request says.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;

/// The other end of a request, as an extension of it. Absent where a router is called without a
/// connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who asks: for limits, debugging and audit.
    pub address: SocketAddr,
    /// The other end of the connection itself.
    pub socket: SocketAddr,
    /// Whom the client certificate names, if one was shown and it was good.
    pub certificate: Option<CertificateSubject>,
}

impl Peer {
    /// Somebody who connects from this address, without a certificate.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, socket: address, certificate: None }
    }
}

/// The subject of a verified client certificate, written as RFC 4514 has it, such as
/// `CN=crm.example,O=Example`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSubject(Arc<str>);

impl CertificateSubject {
    /// The subject that is written so.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertificateSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The other end of this request, if it came over a connection.
pub(super) fn peer_of(request: &Request) -> Option<&Peer> {
    request.extensions().get()
}
