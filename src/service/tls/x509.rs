//! Reads the subject and the validity of a certificate.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::CertificateSubject;

/// The subject of a certificate in the notation of RFC 4514; `None` if it is empty.
pub fn subject(der: &[u8]) -> Option<CertificateSubject> {
    let certificate = Certificate::from_der(der).ok()?;
    let text = certificate.tbs_certificate().subject().to_string();
    (!text.is_empty()).then(|| text.into())
}

/// The validity period of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidityPeriod {
    /// Its first second.
    pub begins: OffsetDateTime,
    /// Its last second.
    pub expires: OffsetDateTime,
}

impl ValidityPeriod {
    /// The validity period of a DER certificate.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let validity = certificate.tbs_certificate().validity();
        let moment = |since_1970: std::time::Duration| {
            OffsetDateTime::from_unix_timestamp(i64::try_from(since_1970.as_secs()).ok()?).ok()
        };
        let begins = moment(validity.not_before.to_unix_duration())?;
        Some(Self { begins, expires: moment(validity.not_after.to_unix_duration())? })
    }

    /// The period in which both are valid.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        let (begins, expires) = (self.begins.max(other.begins), self.expires.min(other.expires));
        Self { begins, expires }
    }

    /// Why the certificate is not valid at this time; `None` if it is.
    pub fn fault(&self, now: OffsetDateTime) -> Option<String> {
        if now < self.begins {
            return Some(format!("not valid before {}", when(self.begins)));
        }
        (now > self.expires).then(|| format!("expired on {}", when(self.expires)))
    }
}

/// A time in the notation of RFC 3339.
pub fn when(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_else(|_| moment.unix_timestamp().to_string())
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

    fn describe(names: &[(DnType, &str)]) -> Option<String> {
        subject(&certificate(names)).map(|subject| subject.to_string())
    }

    #[test]
    fn a_subject_is_written_last_part_first_and_escaped() {
        assert_eq!(
            describe(&[(DnType::CommonName, "crm.example")]).as_deref(),
            Some("CN=crm.example")
        );
        let names = [
            (DnType::CountryName, "IE"),
            (DnType::OrganizationName, "Example, Inc."),
            (DnType::CommonName, "#1 + \"crm\" "),
        ];
        let text = describe(&names);
        assert_eq!(text.as_deref(), Some(r#"CN=\#1 \+ \"crm\"\ ,O=Example\, Inc.,C=IE"#));
        assert_eq!(describe(&[]), None);
        assert_eq!(subject(b"nonsense"), None);
    }

    #[test]
    fn validity_ends_after_the_last_second() {
        let term = ValidityPeriod::parse(&certificate(&[])).expect("a certificate");
        assert_eq!(term.expires.unix_timestamp(), END);
        let second = time::Duration::SECOND;
        assert_eq!(term.fault(term.begins), None);
        assert_eq!(term.fault(term.expires), None);
        let late = term.fault(term.expires + second);
        assert_eq!(late.as_deref(), Some("expired on 2031-02-03T04:05:06Z"));
        assert!(term.fault(term.begins - second).expect("early").starts_with("not valid before "));
    }

    #[test]
    fn a_common_period_is_the_overlap() {
        let moment = |seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("a time");
        let term =
            |begins, expires| ValidityPeriod { begins: moment(begins), expires: moment(expires) };
        assert_eq!(term(1, 9).within(term(3, 20)), term(3, 9));
        assert_eq!(term(4, 30).within(term(3, 20)), term(4, 20));
    }
}
