use std::num::NonZeroU32;

use super::*;
use crate::domain::ClientRights;

fn enrolled(name: &str, keys: &[&str], certificate: Option<&str>, rate: u32) -> RegisteredClient {
    RegisteredClient {
        client: Arc::new(Client {
            name: name.parse().expect("a name"),
            rights: ClientRights::default(),
            share: NonZeroU32::MIN,
            requests_per_minute: NonZeroU32::new(rate),
        }),
        keys: keys.iter().map(|key| key_digest(key.as_bytes())).collect(),
        certificate: certificate.map(str::to_owned),
    }
}

fn some() -> Vec<RegisteredClient> {
    vec![
        enrolled("crm", &["old", "new"], None, 0),
        enrolled("ivr", &["other"], Some("CN=genesys"), 0),
        enrolled("bot", &["third"], Some("CN=genesys"), 0),
        enrolled("desk", &[], Some("CN=desk"), 0),
    ]
}

fn shown<'a>(
    keys: &[(&str, Option<&str>)],
    certificate: Option<&'a str>,
) -> PresentedCredentials<'a> {
    let key =
        |(key, name): &(&str, Option<&str>)| (key_digest(key.as_bytes()), name.map(str::to_owned));
    PresentedCredentials { keys: keys.iter().map(key).collect(), certificate }
}

/// Who of [`some`] it is.
fn who(keys: &[(&str, Option<&str>)], certificate: Option<&str>) -> Result<String, AuthFailure> {
    let client_table = ClientRegistry::new(some()).table().expect("a list");
    let known = client_table.authenticate(&shown(keys, certificate));
    known.map(|known| known.client().name.to_string())
}

#[test]
fn a_client_is_known_by_its_keys_or_its_certificate_alone() {
    let (crm, desk) = (Ok("crm".to_owned()), Ok("desk".to_owned()));
    assert_eq!(who(&[("old", None)], None), crm);
    assert_eq!(who(&[("new", Some("crm"))], None), crm);
    assert_eq!(who(&[("old", None), ("old", Some("crm"))], None), crm);
    assert_eq!(who(&[], Some("CN=desk")), desk);
    assert_eq!(who(&[("old", None)], Some("CN=proxy")), crm, "a certificate of nobody's");
    assert_eq!(who(&[], None), Err(AuthFailure::Nothing));
    assert_eq!(who(&[], Some("CN=proxy")), Err(AuthFailure::Unknown));
    assert_eq!(who(&[("wrong", None)], None), Err(AuthFailure::Unknown));
    assert_eq!(who(&[("wrong", None)], Some("CN=desk")), Err(AuthFailure::Unknown));
    assert_eq!(who(&[("old", Some("ivr"))], None), Err(AuthFailure::Unknown));
    assert_eq!(who(&[("old", None), ("other", None)], None), Err(AuthFailure::Contradicting));
    assert_eq!(who(&[("old", None), ("wrong", None)], None), Err(AuthFailure::Contradicting));
    assert_eq!(who(&[("wrong", None), ("old", None)], None), Err(AuthFailure::Contradicting));
    assert_eq!(who(&[("old", None)], Some("CN=desk")), Err(AuthFailure::Contradicting));
}

#[test]
fn two_keys_of_one_caller_do_not_contradict_each_other() {
    let both = [("old", None), ("new", Some("crm"))];
    assert_eq!(who(&both, None), Ok("crm".to_owned()));
    let repeated = [("old", None), ("new", None), ("old", None), ("new", None)];
    assert_eq!(who(&repeated, None), Ok("crm".to_owned()));
    assert_eq!(who(&[("old", None), ("new", Some("ivr"))], None), Err(AuthFailure::Unknown));
    let third = [("old", None), ("new", None), ("other", None)];
    assert_eq!(who(&third, None), Err(AuthFailure::Contradicting));
}

#[test]
fn who_has_keys_and_a_certificate_has_to_show_both() {
    let both = |key| who(&[(key, None)], Some("CN=genesys"));
    assert_eq!((both("other"), both("third")), (Ok("ivr".to_owned()), Ok("bot".to_owned())));
    assert_eq!(both("wrong"), Err(AuthFailure::Unknown));
    assert_eq!(who(&[], Some("CN=genesys")), Err(AuthFailure::WithoutKey));
    assert_eq!(who(&[("other", None)], None), Err(AuthFailure::WithoutCertificate));
    assert_eq!(who(&[("other", None)], Some("CN=proxy")), Err(AuthFailure::WithoutCertificate));
    // One that may call without it may come over the same connection.
    assert_eq!(both("old"), Ok("crm".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_usage_of_clients_that_stay() {
    let client_registry = ClientRegistry::new(vec![
        enrolled("crm", &["a"], None, 20),
        enrolled("ivr", &["b"], None, 20),
    ]);
    let pace = |key: &str| {
        let client_table = client_registry.table().expect("a list");
        let known = client_table.authenticate(&shown(&[(key, None)], None));
        known.map(|known| client_registry.check_rate(known))
    };
    let second = Duration::from_secs(1);
    assert_eq!([pace("a"), pace("a"), pace("a")], [Ok(Ok(())), Ok(Ok(())), Ok(Err(3 * second))]);
    client_registry.replace(vec![enrolled("crm", &["c"], None, 20)]);
    assert_eq!(pace("c"), Ok(Err(6 * second)), "after the one refused before");
    assert_eq!([pace("a"), pace("b")], [Err(AuthFailure::Unknown); 2]);
    tokio::time::advance(3 * second).await;
    assert_eq!(pace("c"), Ok(Ok(())));
    client_registry.replace(vec![enrolled("crm", &["c"], None, 0)]);
    assert_eq!(pace("c"), Ok(Ok(())), "without a rate of its own");
}
