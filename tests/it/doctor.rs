//! `doctor` against every variant of the platform, and against its faults.

mod process;

use std::collections::BTreeMap;
use std::time::Duration;

use attribute_gateway::config::{self, ConfigSource};
use attribute_gateway::genesys::in_process;
use attribute_gateway::service::{DoctorCall, doctor};
use genesys_simulator::{
    AfterEnd, EmptyHandling, FaultAction, FaultScope, NO_ATTRIBUTES, NullHandling, PatchSemantics,
    RequestKind, ScriptedFault, SimulatedCall, Simulator, SimulatorSettings,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::harness::{AGENT, CALL, CUSTOMER, Process, customer_call, ms, once, until};

const KEY: &str = "attribute_gateway_doctor";
/// Of `CALL`, with the default participant.
const READ_CALL: Option<DoctorCall<'_>> =
    Some(DoctorCall { conversation: CALL, participant: None, write_test: false });
const WRITE_TEST: Option<DoctorCall<'_>> =
    Some(DoctorCall { conversation: CALL, participant: None, write_test: true });

fn platform(change: impl FnOnce(&mut SimulatorSettings)) -> Simulator {
    let mut settings = SimulatorSettings { lag: ms(200), ..SimulatorSettings::default() };
    change(&mut settings);
    let simulator = Simulator::new(settings);
    simulator.add_call(customer_call()).expect("the first");
    simulator
}

/// The report as JSON.
struct Report(Value);

impl Report {
    fn check(&self, name: &str) -> (&str, &str) {
        let checks = self.0["checks"].as_array().expect("a list");
        let check = checks.iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no `{name}` in {:#}", self.0));
        (check["status"].as_str().expect("text"), check["detail"].as_str().expect("text"))
    }

    fn status(&self, name: &str) -> &str {
        self.check(name).0
    }

    fn hint(&self, name: &str) -> &str {
        let checks = self.0["checks"].as_array().expect("a list");
        let check = checks.iter().find(|check| check["name"] == name).expect(name);
        check["hint"].as_str().unwrap_or_default()
    }

    fn settings(&self) -> &str {
        self.0["settings"].as_str().expect("text")
    }

    fn has(&self, name: &str) -> bool {
        self.0["checks"].as_array().expect("a list").iter().any(|check| check["name"] == name)
    }

    fn has_failed(&self) -> bool {
        let checks = self.0["checks"].as_array().expect("a list");
        checks.iter().any(|check| check["status"] == "failed")
    }
}

/// Runs it in this process, so that time can be paused.
async fn examine(
    simulator: &Simulator,
    call: Option<DoctorCall<'_>>,
    env: &[(&str, &str)],
) -> Report {
    let account = [
        ("GENESYS_CLIENT_ID", "demo"),
        ("GENESYS_CLIENT_SECRET", "demo-secret"),
        ("GATEWAY__GENESYS__API_URL", "http://127.0.0.1:1"),
        ("GATEWAY__GENESYS__LOGIN_URL", "http://127.0.0.1:1"),
    ];
    let env =
        account.iter().chain(env).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let source = ConfigSource { file: None, env: env.collect() };
    let config = config::load(&source).expect("valid").config;
    let credentials = config.credentials().expect("set");
    let transport = in_process(simulator.router(), 2 << 20);
    let (start, calls) = (Instant::now(), simulator.calls().len());
    let report = doctor(&config, &credentials, transport, call).await.expect("it runs");
    assert!(start.elapsed() <= Duration::from_secs(30), "it took {:?}", start.elapsed());
    let calls = simulator.calls().len() - calls;
    assert!(calls <= 60, "{calls} calls");
    assert_eq!(report.has_failed(), Report(json!(report)).has_failed());
    let text = json!(report).to_string();
    for secret in ["demo-secret", "silver", "doctor-"] {
        assert!(!text.contains(secret), "`{secret}` in {text}");
    }
    Report(json!(report))
}

fn truth(simulator: &Simulator) -> BTreeMap<String, String> {
    simulator.attributes(CALL, CUSTOMER).expect("it exists")
}

#[tokio::test(start_paused = true)]
async fn without_a_write_test_nothing_is_written() {
    let simulator = platform(|_| {});
    let report = examine(&simulator, READ_CALL, &[]).await;
    for name in
        ["region", "token", "limits", "conversations", "analytics", "conversation", "dry-run"]
    {
        assert_eq!(report.status(name), "ok", "{:#}", report.0);
    }
    assert!(report.check("dry-run").1.contains(CUSTOMER), "{:#}", report.0);
    assert_eq!(simulator.count(RequestKind::Patch), 0);
    assert_eq!(report.settings(), "[genesys]\nrequests_per_minute = 300\n");
}

#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "one scenario, step by step")]
async fn every_way_to_merge_and_to_clear_is_found_out_and_restored() {
    for semantics in [PatchSemantics::Merge, PatchSemantics::Replace] {
        for empty in [EmptyHandling::Store, EmptyHandling::Delete] {
            for null in [
                NullHandling::Reject,
                NullHandling::Delete,
                NullHandling::Ignore,
                NullHandling::StoreEmpty,
            ] {
                let simulator = platform(|settings| {
                    (settings.semantics, settings.empty, settings.null) = (semantics, empty, null);
                });
                let before = truth(&simulator);
                let full = if semantics == PatchSemantics::Replace { "full" } else { "changes" };
                let env = [("GATEWAY__GENESYS__PATCH_BODY", full)];
                let report = examine(&simulator, WRITE_TEST, &env).await;
                let variant = format!("{semantics:?} {empty:?} {null:?}: {:#}", report.0);
                assert!(!report.has_failed(), "{variant}");
                let settings: toml::Table = report.settings().parse().expect(&variant);
                let replaces = semantics == PatchSemantics::Replace;
                // A key that a replacing platform ignores is not in the new map.
                let deletes =
                    null == NullHandling::Delete || replaces && null == NullHandling::Ignore;
                let only_null = empty == EmptyHandling::Store && deletes;
                let clear_with = if only_null { "null" } else { "empty" };
                assert_eq!(
                    settings["genesys"]["clear_with"].as_str(),
                    Some(clear_with),
                    "{variant}"
                );
                assert_eq!(settings["genesys"]["patch_body"].as_str(), Some(full), "{variant}");
                assert_eq!(settings["verify"]["settle"].as_str(), Some("10s"), "{variant}");
                let mut after = truth(&simulator);
                if empty == EmptyHandling::Delete || only_null || replaces {
                    assert_eq!(report.status("restore"), "ok", "{variant}");
                } else {
                    // This platform removes no key.
                    assert_eq!(report.status("restore"), "warning", "{variant}");
                    assert!(report.check("restore").1.contains(KEY), "{variant}");
                    assert_eq!(after.remove(KEY).as_deref(), Some(""), "{variant}");
                }
                assert_eq!(after, before, "{variant}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_words_say_what_the_platform_does() {
    let simulator = platform(|settings| settings.null = NullHandling::Ignore);
    let report = examine(&simulator, WRITE_TEST, &[]).await;
    assert_eq!(report.check("write"), ("ok", "accepted and seen"));
    assert_eq!(report.check("merge"), ("ok", "a PATCH keeps the other keys"));
    assert_eq!(report.status("repeat"), "ok");
    assert_eq!(report.check("empty"), ("ok", "\"\" leaves the key with an empty value"));
    assert_eq!(report.check("null"), ("ok", "null changes nothing"));
    let with_null = [("GATEWAY__GENESYS__CLEAR_WITH", "null")];
    let report = examine(&simulator, WRITE_TEST, &with_null).await;
    assert_eq!(report.status("null"), "failed");
    assert!(report.settings().contains("clear_with = \"empty\""), "{}", report.settings());
}

#[tokio::test(start_paused = true)]
async fn a_replacing_platform_needs_the_full_body_and_loses_no_key() {
    let simulator = platform(|settings| settings.semantics = PatchSemantics::Replace);
    let before = truth(&simulator);
    let report = examine(&simulator, WRITE_TEST, &[]).await;
    let (status, detail) = report.check("merge");
    assert_eq!((status, detail), ("failed", "a PATCH replaces all keys: it removed 3"));
    assert!(report.hint("merge").contains("genesys.patch_body = \"full\""), "{:#}", report.0);
    assert_eq!(report.status("restore"), "ok");
    assert_eq!(truth(&simulator), before);
}

#[tokio::test(start_paused = true)]
async fn a_participant_without_attributes_is_tested_too() {
    for semantics in [PatchSemantics::Merge, PatchSemantics::Replace] {
        let simulator = platform(|settings| {
            (settings.semantics, settings.null) = (semantics, NullHandling::Delete);
        });
        let call = SimulatedCall::new(CALL).customer(CUSTOMER, NO_ATTRIBUTES);
        simulator.replace_call(call).expect("a call");
        let report = examine(&simulator, WRITE_TEST, &[]).await;
        let merges = semantics == PatchSemantics::Merge;
        assert_eq!(report.status("merge") == "ok", merges, "{:#}", report.0);
        assert_eq!(report.status("restore"), "ok", "{:#}", report.0);
        assert_eq!(truth(&simulator), BTreeMap::new());
    }
}

#[tokio::test(start_paused = true)]
async fn an_earlier_value_of_the_test_key_is_restored() {
    let simulator = platform(|_| {});
    simulator.write_as_other(CALL, CUSTOMER, [(KEY, "mine")]);
    let report = examine(&simulator, WRITE_TEST, &[]).await;
    assert_eq!(report.status("restore"), "ok", "{:#}", report.0);
    assert_eq!(truth(&simulator)[KEY], "mine");
}

#[tokio::test(start_paused = true)]
async fn the_lag_decides_the_settings_and_never_the_time() {
    let simulator = platform(|settings| {
        (settings.lag, settings.null) = (Duration::from_secs(3), NullHandling::Delete);
    });
    let report = examine(&simulator, WRITE_TEST, &[]).await;
    assert_eq!(report.status("lag"), "warning", "{:#}", report.0);
    assert!(report.settings().contains("deadline = \"9s\""), "{}", report.settings());
    assert!(report.settings().contains("settle = \"16s\""), "{}", report.settings());
    for seconds in [7, 15, 60] {
        let simulator = platform(|settings| settings.lag = Duration::from_secs(seconds));
        let report = examine(&simulator, WRITE_TEST, &[]).await;
        assert_eq!(report.status("write") == "failed", seconds > 22, "{:#}", report.0);
        assert_eq!(report.status("null"), "warning", "{:#}", report.0);
        assert_ne!(report.status("restore"), "ok", "{seconds} {:#}", report.0);
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(truth(&simulator).remove(KEY).as_deref(), Some(""), "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_keys_are_written_only_if_a_read_shows_their_loss() {
    for (seconds, is_seen) in [(25, true), (60, false)] {
        let simulator = platform(|settings| {
            settings.lag = Duration::from_secs(seconds);
            settings.semantics = PatchSemantics::Replace;
        });
        let before = truth(&simulator);
        let report = examine(&simulator, WRITE_TEST, &[]).await;
        let (status, detail) = report.check("restore");
        assert_eq!(status, if is_seen { "failed" } else { "warning" }, "{:#}", report.0);
        assert_eq!(detail.contains("kept the other keys: 3"), !is_seen, "{detail}");
        assert_eq!(detail.contains("`tier` is absent"), is_seen, "{detail}");
        assert_eq!(truth(&simulator) == before, is_seen, "{seconds}");
    }
    // A platform that merges, and another writer: its value is newer than the first read.
    let simulator = platform(|settings| settings.lag = Duration::from_mins(1));
    let other = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        simulator.write_as_other(CALL, CUSTOMER, [("tier", "theirs")]);
    };
    let (report, ()) = tokio::join!(examine(&simulator, WRITE_TEST, &[]), other);
    assert_eq!(report.status("restore"), "warning", "{:#}", report.0);
    assert!(report.hint("restore").contains("Read the call again later"), "{:#}", report.0);
    assert_eq!(truth(&simulator)["tier"], "theirs");
}

#[tokio::test(start_paused = true)]
async fn a_custom_route_without_conversations_needs_the_participant() {
    let voice = "/api/v2/conversations/voice/{conversationId}/participants/{participantId}";
    let env = [
        ("GATEWAY__GENESYS__ROUTE", "custom"),
        ("GATEWAY__GENESYS__CUSTOM__PARTICIPANT", voice),
        ("GATEWAY__GENESYS__CUSTOM__ATTRIBUTES", voice),
    ];
    let simulator =
        platform(|settings| (settings.voice_paths, settings.null) = (true, NullHandling::Delete));
    let report = examine(&simulator, READ_CALL, &env).await;
    assert_eq!(report.status("conversation"), "failed", "{:#}", report.0);
    assert!(report.hint("conversation").contains("--participant"), "{:#}", report.0);
    let before = truth(&simulator);
    let call = WRITE_TEST.map(|call| DoctorCall { participant: Some(CUSTOMER), ..call });
    let report = examine(&simulator, call, &env).await;
    assert!(!report.has_failed(), "{:#}", report.0);
    assert_eq!((report.status("merge"), report.status("restore")), ("ok", "ok"));
    assert_eq!(truth(&simulator), before);
}

#[tokio::test(start_paused = true)]
async fn another_participant_can_be_named() {
    let simulator = platform(|_| {});
    let call = READ_CALL.map(|call| DoctorCall { participant: Some("agent"), ..call });
    let report = examine(&simulator, call, &[]).await;
    assert!(report.check("dry-run").1.contains(AGENT), "{:#}", report.0);
    let call = READ_CALL.map(|call| DoctorCall { participant: Some("supervisor"), ..call });
    let report = examine(&simulator, call, &[]).await;
    assert_eq!(report.status("dry-run"), "failed", "{:#}", report.0);
}

#[tokio::test(start_paused = true)]
async fn an_ended_call_takes_writes_or_refuses_them() {
    for after_end in [AfterEnd::Accept, AfterEnd::Reject] {
        let simulator = platform(|settings| settings.after_end = after_end);
        let before = truth(&simulator);
        simulator.end_conversation(CALL);
        let report = examine(&simulator, WRITE_TEST, &[]).await;
        assert_eq!(report.status("conversation"), "warning");
        let (status, detail) = report.check("write");
        if after_end == AfterEnd::Accept {
            assert_eq!((status, detail), ("ok", "accepted and seen, although the call has ended"));
        } else {
            assert_eq!(status, "failed");
            assert!(detail.contains("answered 400"), "{detail}");
            assert!(!report.has("restore"), "nothing was written");
            assert_eq!(truth(&simulator), before);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_map_is_named() {
    let simulator = platform(|settings| settings.size_limit = Some(60));
    let report = examine(&simulator, WRITE_TEST, &[]).await;
    let (status, detail) = report.check("write");
    assert!(status == "failed" && detail.contains("the size of the attributes"), "{detail}");
    let small = [("GATEWAY__LIMITS__TOTAL_BYTES", "60")];
    let report = examine(&simulator, WRITE_TEST, &small).await;
    assert_eq!(report.status("dry-run"), "failed");
    assert!(!report.has("write"), "nothing is sent");
}

#[tokio::test(start_paused = true)]
async fn missing_permissions_are_named() {
    for (permission, check) in [
        ("conversation:communication:view", "conversations"),
        ("analytics:conversationDetail:view", "analytics"),
    ] {
        let simulator =
            platform(|settings| settings.missing_permissions = vec![permission.to_owned()]);
        let report = examine(&simulator, None, &[]).await;
        let (status, detail) = report.check(check);
        assert!(status == "failed" && detail.contains(permission), "{:#}", report.0);
        assert!(report.hint(check).contains("Admin > Integrations > OAuth"), "{:#}", report.0);
        let failed = report.0["checks"].as_array().expect("a list").iter();
        assert_eq!(failed.filter(|check| check["status"] == "failed").count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn lowered_and_raised_limits_are_warnings() {
    for limit in [120, 900] {
        let simulator = platform(|settings| settings.requests_per_minute = Some(limit));
        let report = examine(&simulator, None, &[]).await;
        let (status, detail) = report.check("limits");
        assert!(status == "warning" && detail.contains(&limit.to_string()), "{detail}");
        let advice = format!("requests_per_minute = {limit}");
        assert!(report.hint("limits").contains(&advice), "{:#}", report.0);
        assert!(report.settings().contains(&advice) && !report.has_failed());
    }
}

#[tokio::test(start_paused = true)]
async fn clock_skew_of_a_minute_fails() {
    for (skew, expected) in [(30, "warning"), (-30, "warning"), (90, "failed"), (-90, "failed")] {
        let simulator = platform(|settings| settings.clock_skew_seconds = skew);
        let report = examine(&simulator, None, &[]).await;
        let (status, detail) = report.check("clock");
        assert_eq!(status, expected, "{detail}");
        assert_eq!(detail.contains("behind"), skew > 0, "{detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_region_refuses_the_login() {
    let simulator = platform(|settings| settings.client_id = "of-another-region".to_owned());
    let report = examine(&simulator, WRITE_TEST, &[]).await;
    assert_eq!(report.status("region"), "ok");
    let (status, detail) = report.check("token");
    assert!(status == "failed" && detail.contains("invalid_client"), "{detail}");
    assert!(report.hint("token").contains("GENESYS_ENVIRONMENT"), "{:#}", report.0);
    assert!(!report.has("limits"));
}

#[tokio::test(start_paused = true)]
async fn another_server_at_the_address_is_recognised() {
    let simulator = platform(|_| {});
    simulator.inject(ScriptedFault::new(FaultAction::Html).always());
    let report = examine(&simulator, WRITE_TEST, &[]).await;
    assert_eq!((report.status("region"), report.status("token")), ("failed", "failed"));
    simulator.clear_faults();
    simulator.inject(ScriptedFault::on_read(FaultAction::Page { status: 404 }).skip(1).always());
    let report = examine(&simulator, None, &[]).await;
    let (status, detail) = report.check("conversations");
    assert!(status == "failed" && detail.contains("404"), "{detail}");
    let body = Some(json!({"message": "no Route matched with those values"}));
    simulator.clear_faults();
    let page = FaultAction::Status { code: 404, body, retry_after: None };
    simulator.inject(ScriptedFault::on_read(page).always());
    let report = examine(&simulator, None, &[]).await;
    assert_eq!(report.status("region"), "failed");
    assert_eq!(report.status("conversations"), "failed");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_dies_is_renewed_and_restores_are_tried_to_the_end() {
    let simulator = platform(|settings| settings.null = NullHandling::Delete);
    simulator.inject(ScriptedFault::on_patch(FaultAction::Unauthorized).skip(1));
    let before = truth(&simulator);
    let report = examine(&simulator, WRITE_TEST, &[]).await;
    assert!(!report.has_failed(), "{:#}", report.0);
    assert_eq!(truth(&simulator), before);
    assert_eq!(simulator.count(RequestKind::Token), 2, "and none after the end");
    // And now no other token comes.
    let refused = Some(json!({"error": "invalid_client"}));
    let refused = FaultAction::Status { code: 401, body: refused, retry_after: None };
    simulator.inject(ScriptedFault::on_patch(FaultAction::Unauthorized).skip(1));
    simulator.inject(ScriptedFault::on_token(refused).skip(1).always());
    let report = examine(&simulator, WRITE_TEST, &[]).await;
    assert_eq!((report.status("write"), report.status("repeat")), ("ok", "failed"));
    let (status, detail) = report.check("restore");
    let state = format!("`{KEY}` has a value of this test");
    assert!(status == "failed" && detail.contains(&state), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_in_the_middle_is_told_with_the_state_of_each_key() {
    for (semantics, lost) in [(PatchSemantics::Merge, false), (PatchSemantics::Replace, true)] {
        let simulator = platform(|settings| {
            (settings.after_end, settings.semantics) = (AfterEnd::Reject, semantics);
        });
        simulator.inject(ScriptedFault::on_patch(FaultAction::EndConversation).skip(1));
        let report = examine(&simulator, WRITE_TEST, &[]).await;
        assert_eq!(report.status("repeat"), "failed", "{:#}", report.0);
        let (status, detail) = report.check("restore");
        assert_eq!(status, "failed");
        assert!(detail.contains(&format!("`{KEY}` has a value of this test")), "{detail}");
        assert!(detail.contains("The call has ended"), "{detail}");
        assert_eq!(detail.contains("`tier` is absent"), lost, "{detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn broken_answers_in_the_middle_do_not_keep_it_from_restoring() {
    let simulator = platform(|settings| settings.null = NullHandling::Delete);
    let before = truth(&simulator);
    for action in [FaultAction::ResetAfter, FaultAction::Html, FaultAction::HangAfterApply] {
        for skip in 0..5 {
            simulator.inject(ScriptedFault::new(action.clone()).on(FaultScope::Patch).skip(skip));
            let report = examine(&simulator, WRITE_TEST, &[]).await;
            assert_ne!(report.status("restore"), "failed", "{action:?} {skip}: {:#}", report.0);
            assert_eq!(truth(&simulator), before, "{action:?} {skip}");
            simulator.clear_faults();
        }
    }
}
