//! What is read out of a certificate that the TLS library has checked, or is to show.

use time::OffsetDateTime;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::CertificateSubject;

/// Whom a certificate names, as RFC 4514 writes it; `None` if it names nobody.
pub fn subject(der: &[u8]) -> Option<CertificateSubject> {
    let certificate = Certificate::from_der(der).ok()?;
    let text = certificate.tbs_certificate().subject().to_string();
    (!text.is_empty()).then(|| CertificateSubject::new(&text))
}

/// Until when it is good.
pub fn expires(der: &[u8]) -> Option<OffsetDateTime> {
    let certificate = Certificate::from_der(der).ok()?;
    let until = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    OffsetDateTime::from_unix_timestamp(i64::try_from(until.as_secs()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    /// 2031-02-03 04:05:06 UTC.
    const END: i64 = 1_927_857_906;

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        params.not_after = OffsetDateTime::from_unix_timestamp(END).expect("a time");
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    fn told(names: &[(DnType, &str)]) -> Option<String> {
        subject(&certificate(names)).map(|subject| subject.to_string())
    }

    #[test]
    fn a_subject_is_written_from_its_last_part_with_what_needs_it_escaped() {
        assert_eq!(told(&[(DnType::CommonName, "crm.example")]).as_deref(), Some("CN=crm.example"));
        let names = [
            (DnType::CountryName, "IE"),
            (DnType::OrganizationName, "Example, Inc."),
            (DnType::CommonName, "#1 + \"crm\" "),
        ];
        let text = told(&names);
        assert_eq!(text.as_deref(), Some(r#"CN=\#1 \+ \"crm\"\ ,O=Example\, Inc.,C=IE"#));
        assert_eq!(told(&[]), None);
        assert_eq!(subject(b"nonsense"), None);
    }

    #[test]
    fn its_end_is_told_to_the_second() {
        let expires = expires(&certificate(&[]));
        assert_eq!(expires.map(OffsetDateTime::unix_timestamp), Some(END));
    }
}
