//! An authority of our own, and the certificates that it issues.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use time::{Duration, OffsetDateTime};

/// Issues certificates; trusted by those who take its own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// For this machine.
    pub fn server(&self) -> Identity {
        self.issue("gateway", |_| {})
    }

    /// For this machine, good from `begins` hours from now until `ends` hours from now.
    pub fn server_between(&self, begins: i64, ends: i64) -> Identity {
        self.issue("gateway", |params| {
            params.not_before = OffsetDateTime::now_utc() + Duration::hours(begins);
            params.not_after = OffsetDateTime::now_utc() + Duration::hours(ends);
        })
    }

    /// For a client with this common name.
    pub fn client(&self, name: &str) -> Identity {
        self.issue(name, |_| {})
    }

    /// The same, good until yesterday.
    pub fn expired(&self, name: &str) -> Identity {
        self.issue(name, |params| {
            params.not_after = OffsetDateTime::now_utc() - Duration::days(1);
        })
    }

    /// The same, good for this long.
    pub fn client_for(&self, name: &str, life: Duration) -> Identity {
        self.issue(name, |params| params.not_after = OffsetDateTime::now_utc() + life)
    }

    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name = named(name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate").pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

impl Identity {
    /// Puts both into a folder, as `tls.crt` and `tls.key`, in the place of what is there.
    pub fn put_into(&self, folder: &Path) -> [PathBuf; 2] {
        let files = [folder.join("tls.crt"), folder.join("tls.key")];
        std::fs::write(&files[0], &self.certificate).expect("writable");
        std::fs::write(&files[1], &self.key).expect("writable");
        files
    }

    /// Both in one text, as clients take it.
    pub fn pem(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }
}
