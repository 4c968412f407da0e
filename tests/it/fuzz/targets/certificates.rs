//! Certificates of clients: the client that they name, and until when they are valid.
//!
//! An input is a certificate in DER, or what claims to be one. The TLS library has looked at it before,
//! and its issuer is trusted, but not every name in it need be.

use attribute_gateway::http::CertificateSubject;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

#[path = "../../../../src/service/tls/x509.rs"]
mod x509;

/// Reads the certificate; two names are never written alike, so no client passes for another.
pub fn run(input: &[u8]) {
    if let Some(term) = x509::ValidityPeriod::parse(input) {
        assert_eq!(term.within(term), term);
        assert_eq!(term.fault(term.begins).is_some(), term.begins > term.expires);
    }
    let Some(subject) = x509::subject(input) else { return };
    let subject = &*subject;
    assert!(!subject.contains(|character: char| character.is_ascii_control()), "{subject:?}");
    let certificate = Certificate::from_der(input).expect("it was read");
    let parts = certificate.tbs_certificate().subject().iter().count();
    // A comma or plus that is not escaped parts one name from the next.
    assert_eq!(unescaped(subject, ",+") + 1, parts, "{subject}");
    assert_eq!(unescaped(subject, "\"<>;"), 0, "{subject}");
}

/// How many of these characters stand in the text without a backslash in front.
fn unescaped(text: &str, wanted: &str) -> usize {
    let mut escaped = false;
    let counts = |character: char| {
        let counts = !escaped && wanted.contains(character);
        escaped = !escaped && character == '\\';
        counts
    };
    text.chars().map(counts).filter(|counts| *counts).count()
}
