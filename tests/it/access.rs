//! Who may call what: one table of every route and method by every kind of client. It is asked twice:
//! in process, where it is seen that nothing was sent for those who are refused, and over TLS, where
//! clients are known by their certificates and one of them has expired.

mod rows;

use std::sync::Arc;

use attribute_gateway::http::paths;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use self::rows::Row;
use crate::harness::{Authority, CALL, Identity, TestApp, client, fetch, shown, until};
use crate::tls::Secured;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Status, and code of those that have one.
    Answered(u16, &'static str),
    /// The alert of TLS with which the gateway refuses the handshake.
    NoConnection(&'static str),
}

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Nobody,
    Wrong,
    Expired,
    Reader,
    Writer,
    Limited,
}

impl Caller {
    /// The columns of the table.
    const ALL: [Self; 6] =
        [Self::Nobody, Self::Wrong, Self::Expired, Self::Reader, Self::Writer, Self::Limited];

    /// Its name, if it is known.
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Nobody | Self::Wrong => None,
            Self::Reader => Some("reader"),
            Self::Expired | Self::Writer => Some("writer"),
            Self::Limited => Some("limited"),
        }
    }

    /// Its certificate, if it has one.
    fn identity(self, authority: &Authority) -> Option<Identity> {
        match self {
            Self::Nobody => None,
            Self::Wrong => Some(authority.client("somebody")),
            Self::Expired => self.name().map(|name| authority.expired(name)),
            Self::Reader | Self::Writer | Self::Limited => {
                self.name().map(|name| authority.client(name))
            }
        }
    }
}

/// Those who are known.
fn everybody(entry: impl Fn(&str, &str) -> String) -> Vec<String> {
    [
        ("reader", "access = \"read\""),
        ("writer", ""),
        ("limited", "allow = [\"tier\"]\nparticipants = [\"customer\"]"),
    ]
    .map(|(name, rights)| entry(name, rights))
    .to_vec()
}

/// A client that is known by its name with `-key` behind.
fn with_a_key(name: &str, rights: &str) -> String {
    client(name, &format!("{name}-key"), rights)
}

/// A client that is known by a certificate with its name.
fn with_a_certificate(name: &str, rights: &str) -> String {
    format!("[[auth.clients]]\nname = \"{name}\"\ncertificate = \"CN={name}\"\n{rights}\n")
}

/// What the service describes; every path of it is one of the router, and the other way round.
fn rows_of(document: &str) -> Vec<Row> {
    let document: Value = serde_json::from_str(document).expect("JSON");
    let rows = rows::of(&document);
    let mut described: Vec<_> = document["paths"].as_object().expect("paths").keys().collect();
    let mut served = paths::ALL.to_vec();
    served.sort_unstable();
    described.sort_unstable();
    assert_eq!(described, served, "the document and the paths of the service are not the same");
    rows
}

#[tokio::test(start_paused = true)]
async fn each_caller_is_answered_on_each_route_as_its_rights_are() {
    let app = TestApp::new()
        .with_env("GATEWAY__DEBUG__ENABLED", "true")
        .with_budget(100_000)
        .with_clients(&everybody(with_a_key))
        .start()
        .await;
    for row in rows_of(&app.get("/openapi.json").await.text) {
        for (caller, verdict) in Caller::ALL.into_iter().zip(row.verdicts) {
            let Verdict::Answered(status, code) = verdict else { continue };
            let calls = app.upstream_calls();
            let key = match caller {
                Caller::Nobody => None,
                Caller::Wrong => Some("wrong".to_owned()),
                known => known.name().map(|name| format!("{name}-key")),
            };
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(key.as_deref().map(shown));
            let path = row.path.replace("{id}", CALL);
            let answer = app.ask((&row.method, &path), &headers, row.body).await;
            let asked = format!("{caller:?}: {} {}", row.method, row.path);
            assert_eq!(answer.status, status, "{asked}: {}", answer.text);
            if !code.is_empty() && row.method != "HEAD" {
                answer.assert_problem(status, code, "notApplied");
            }
            if matches!(status, 401 | 403 | 405) {
                assert_eq!(app.upstream_calls(), calls, "something is sent: {asked}");
            }
            let challenges = answer.headers.get_all("www-authenticate").iter().count();
            assert_eq!(challenges, if status == 401 { 2 } else { 0 }, "{asked}");
        }
    }
}

#[test]
fn no_route_is_served_beside_those_of_the_document() {
    let router = include_str!("../../src/http/router.rs");
    // `routes!` puts into the document what it serves; these would not.
    for method in [".route(", ".route_service(", ".nest", ".fallback_service(", ".merge("] {
        assert!(!router.contains(method), "{method}");
    }
}

/// A service that knows clients by their certificates, and these.
struct Party {
    gateway: Secured,
    identities: [Option<Identity>; 6],
}

#[tokio::test]
async fn certificates_give_the_same_rights_and_expired_ones_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clients.toml");
    std::fs::write(&file, everybody(with_a_certificate).concat()).expect("writable");
    let env = [
        ("GATEWAY__AUTH__CLIENTS_FILE", file.to_str().expect("text")),
        ("GATEWAY__DEBUG__ENABLED", "true"),
        ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "100000"),
        // Else its headers lower the budget, in which further read-backs are dropped first.
        ("GATEWAY__SIMULATOR__REQUESTS_PER_MINUTE", "0"),
    ];
    let (gateway, authority) = Secured::asking_with("optional", &env).await;
    let identities = Caller::ALL.map(|caller| caller.identity(&authority));
    let party = Party { gateway, identities };
    party.give_attributes().await;
    let document = party.asks(&TLS13, None, ("GET", "/openapi.json"), "").await;
    let document = document.expect("an answer").1;
    for row in rows_of(&document) {
        for (column, verdict) in row.verdicts.iter().enumerate() {
            let asked = format!("{:?}: {} {}", Caller::ALL[column], row.method, row.path);
            assert_eq!(party.verdict_on(&row, column, &TLS13).await, *verdict, "{asked}");
            // How a handshake is refused differs between the versions, and nothing else.
            if Caller::ALL[column] == Caller::Expired {
                assert_eq!(party.verdict_on(&row, column, &TLS12).await, *verdict, "{asked}");
            }
        }
    }
}

/// The first call of the demonstration, and its customer.
const DEMO: [&str; 2] =
    ["11111111-1111-4111-8111-111111111111", "c1111111-1111-4111-8111-111111111111"];

impl Party {
    /// Gives the customer what the table is about, by the hand of another writer.
    async fn give_attributes(&self) {
        let attributes = json!({"tier": "silver", "source": "web"});
        let change =
            json!({"conversation": DEMO[0], "participant": DEMO[1], "attributes": attributes});
        let url = format!("{}/__sim/write", self.gateway.demo.simulator);
        assert_eq!(fetch("POST", &url, change.to_string()).await.status(), 200);
        let writer = self.identities[4].as_ref();
        let read = ("GET", "/v1/conversations/{id}/attributes/source");
        until("the attributes are there", async || {
            let (status, _) = self.asks(&TLS13, writer, read, "").await.ok()?;
            (status == 200).then_some(())
        })
        .await;
    }

    async fn verdict_on(
        &self,
        row: &Row,
        column: usize,
        version: &'static SupportedProtocolVersion,
    ) -> Verdict {
        let identity = self.identities[column].as_ref();
        match self.asks(version, identity, (&row.method, &row.path), row.body).await {
            Ok((status, body)) => {
                let problem = serde_json::from_str::<Value>(&body).unwrap_or_default();
                let codes = row.verdicts.iter().filter_map(|verdict| match verdict {
                    Verdict::Answered(known, code) if *known == status => Some(*code),
                    _ => None,
                });
                // `HEAD` has no body for a code.
                let fits = |code: &&str| row.method == "HEAD" || problem["code"] == **code;
                let code = codes.clone().find(|code| status == 200 || fits(code));
                Verdict::Answered(status, code.unwrap_or("another code"))
            }
            Err(alert) => {
                let expired = alert == AlertDescription::CertificateExpired;
                Verdict::NoConnection(if expired { "CertificateExpired" } else { "another alert" })
            }
        }
    }

    /// Asks over a connection of its own: status and body, or the alert that ended it.
    async fn asks(
        &self,
        version: &'static SupportedProtocolVersion,
        identity: Option<&Identity>,
        (method, path): (&str, &str),
        body: &str,
    ) -> Result<(u16, String), AlertDescription> {
        let asked = format!(
            "{method} {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            path.replace("{id}", DEMO[0]),
            body.len()
        );
        let talk = async {
            let stream = TcpStream::connect(self.gateway.address()).await?;
            stream.set_nodelay(true)?;
            let host = ServerName::try_from("localhost").expect("a name");
            let connector = TlsConnector::from(Arc::new(self.config(version, identity)));
            let mut stream = connector.connect(host, stream).await?;
            stream.write_all(asked.as_bytes()).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.map(|_| text)
        };
        let text = talk.await.map_err(|error: std::io::Error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::AlertReceived(alert)) => *alert,
                _ => panic!("{method} {path}: no alert says why there is no connection: {error}"),
            }
        })?;
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.expect("a status"), body.to_owned()))
    }

    fn config(
        &self,
        version: &'static SupportedProtocolVersion,
        identity: Option<&Identity>,
    ) -> ClientConfig {
        let certificate =
            |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.gateway.authority.pem())).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[version]).expect("known");
        let builder = builder.with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate: chain, key }) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![certificate(chain)], key).expect("a pair")
            }
        }
    }
}
