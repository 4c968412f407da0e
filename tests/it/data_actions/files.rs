//! Each action, run as a flow would run it: what it writes and reads, for values of every kind.

use genesys_simulator::{NO_ATTRIBUTES, SimulatedCall};
use serde_json::{Value, json};

use super::pack::{KEY, PLACEHOLDER, files, folder, guarded, import, run, succeed};
use super::template::Template;
use crate::harness::{AGENT, CALL, CUSTOMER, TestApp, ms};

/// What templates, JSON and URLs trip over.
const NASTY: [&str; 12] = [
    "say \"hi\", it's \\ here",
    "line one\nline two\r\n\ttabbed",
    "$5 ${input.value} $!{input.key} $esc.url('x') $$",
    "#1 ## no comment #if(\"a\" == \"b\") #end #set($x = 1)",
    "emoji 😀👩‍👩‍👧 and ünïcödé 日本語",
    "</script> & ?a=b#c %20 %zz +",
    "{\"json\": [null, {\"in\": \"text\"}]}",
    " leading and trailing ",
    "\u{1}\u{7f}\u{2028}",
    "null",
    "true",
    "0",
];

#[track_caller]
fn parsed(text: &Value) -> Value {
    serde_json::from_str(text.as_str().expect("text")).expect("JSON")
}

/// As much as fits in addition to the customer's attributes: 10 KB, escapes included.
fn ten_kilobytes() -> String {
    let text = "ü😀 \"quoted\" \\ $x #y\n".repeat(100);
    let size = json!({ "note": text }).to_string().len();
    text + &"x".repeat(10_190 - size)
}

#[test]
fn every_file_imports_and_keeps_to_what_architect_can_use() {
    let names: Vec<_> = files().into_keys().collect();
    let all =
        ["find-customer", "get-attribute", "get-attributes", "set-attribute", "set-attributes"];
    assert_eq!(names, all);
    for name in names {
        let action = import(&name);
        let (input, output) = (&action.contract.input, &action.contract.output);
        assert!(output.is_flat(), "{name}: Architect flattens what is nested");
        for (member, property) in input.properties.iter().chain(&output.properties) {
            assert!(property.description.is_some(), "{name}: `{member}` explains nothing");
        }
        let outputs: Vec<_> = output.properties.keys().collect();
        let response = &action.config.response;
        assert_eq!(response.map.keys().collect::<Vec<_>>(), outputs, "{name}");
        assert_eq!(response.defaults.keys().collect::<Vec<_>>(), outputs, "{name}");
    }
}

#[test]
fn every_file_escapes_its_inputs_and_sends_the_same_headers() {
    for name in files().into_keys() {
        let request = import(&name).config.request;
        assert!(request.request_url_template.starts_with(PLACEHOLDER), "{name}");
        let plain = |text: &str| Template::parse(text).expect("it was imported").unescaped();
        assert_eq!(plain(&request.request_url_template), [""; 0], "{name}");
        if request.request_type != "GET" {
            assert_eq!(plain(&request.request_template), [""; 0], "{name}");
            assert_eq!(request.headers["Content-Type"], "application/json");
        }
        assert_eq!(request.headers["Prefer"], "wait=2", "{name}");
        assert_eq!(request.headers["Accept"], "application/json", "{name}");
        assert_eq!(request.headers["Authorization"], "Bearer ${credentials.apiKey}", "{name}");
    }
}

#[test]
fn the_key_is_sent_in_a_header_and_nowhere_else() {
    let inputs = json!({"conversationId": CALL, "key": "k", "value": "v", "attributesJson": "{}"});
    for name in files().into_keys() {
        let action = import(&name);
        let known = |name: &String| action.contract.input.properties.contains_key(name);
        let mut inputs = inputs.clone();
        inputs.as_object_mut().expect("an object").retain(|name, _| known(name));
        let request = action.request(&inputs, &json!({ "apiKey": KEY })).expect("a request");
        assert_eq!(request.headers()["authorization"], format!("Bearer {KEY}"));
        assert!(!request.uri().to_string().contains(KEY), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_action_needs_its_key() {
    let app = guarded().start().await;
    let inputs = json!({"conversationId": CALL, "key": "tier", "value": "gold", "attributesJson": "{\"tier\":\"gold\"}"});
    for name in files().into_keys() {
        let action = import(&name);
        let known = |name: &String| action.contract.input.properties.contains_key(name);
        let mut inputs = inputs.clone();
        inputs.as_object_mut().expect("an object").retain(|name, _| known(name));
        let good = action.execute(&app, &inputs, &json!({ "apiKey": KEY })).await;
        assert_eq!(good.expect("it is let in")["ok"], true, "{name}");
        let calls = app.upstream_calls();
        let wrong = action.execute(&app, &inputs, &json!({ "apiKey": "wrong" })).await;
        let message = format!("{:?}", wrong.expect_err("a failure"));
        assert!(message.contains("401") && message.contains("known client"), "{name}: {message}");
        assert_eq!(app.upstream_calls(), calls, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_arrives_as_it_was_whatever_it_holds() {
    let app = guarded().start().await;
    for value in NASTY.into_iter().map(str::to_owned).chain([ten_kilobytes()]) {
        let inputs = json!({"conversationId": CALL, "key": "note", "value": value});
        let set = succeed(&app, "set-attribute", inputs).await;
        assert_eq!(set["ok"], true, "{set:#}");
        assert_eq!((&set["code"], &set["accepted"]), (&json!("verified"), &json!(true)));
        assert_eq!(
            (&set["participantId"], &set["retryAfterSeconds"]),
            (&json!(CUSTOMER), &json!(0))
        );
        assert_eq!(app.truth(CUSTOMER)["note"], value);
        let read = json!({"conversationId": CALL, "key": "note"});
        let read = succeed(&app, "get-attribute", read).await;
        assert_eq!((&read["ok"], &read["code"]), (&json!(true), &json!("ok")));
        assert_eq!((&read["value"], &read["participantId"]), (&json!(value), &json!(CUSTOMER)));
    }
    assert!(!app.logs.text().contains(KEY));
}

#[tokio::test(start_paused = true)]
async fn a_key_arrives_as_it_was_whatever_it_holds() {
    let app = guarded().start().await;
    for key in ["Numero  VIP", " a/b?c=d&e#f", "50%+20%", "a,b", "\"q\" \\ $x #y", "日本 😀", "%2F"]
    {
        let inputs = json!({"conversationId": CALL, "key": key, "value": "there"});
        assert_eq!(succeed(&app, "set-attribute", inputs).await["code"], "verified", "{key}");
        assert_eq!(app.truth(CUSTOMER)[key], "there");
        let inputs = json!({"conversationId": CALL, "key": key});
        assert_eq!(succeed(&app, "get-attribute", inputs).await["value"], "there", "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn several_attributes_go_in_and_come_out_as_one_text() {
    let app = guarded().start().await;
    let mut wanted: serde_json::Map<_, _> =
        (0..).zip(NASTY).map(|(n, value)| (format!("nasty {n}"), Value::from(value))).collect();
    let inputs =
        json!({"conversationId": CALL, "attributesJson": Value::from(wanted.clone()).to_string()});
    let set = succeed(&app, "set-attributes", inputs).await;
    assert_eq!((&set["ok"], &set["code"]), (&json!(true), &json!("verified")), "{set:#}");
    let read = succeed(&app, "get-attributes", json!({"conversationId": CALL})).await;
    wanted.extend(
        [("language", "en"), ("tier", "silver"), ("source", "web")]
            .map(|(k, v)| (k.into(), v.into())),
    );
    assert_eq!(parsed(&read["attributesJson"]), Value::from(wanted));
    assert_eq!((&read["code"], &read["participantId"]), (&json!("ok"), &json!(CUSTOMER)));
    let narrowed = json!({"conversationId": CALL, "keys": "tier,nasty 9,none"});
    let read = succeed(&app, "get-attributes", narrowed).await;
    assert_eq!(parsed(&read["attributesJson"]), json!({"tier": "silver", "nasty 9": "null"}));
}

#[tokio::test(start_paused = true)]
async fn ten_kilobytes_fit_into_a_text_of_several_attributes() {
    let app = guarded().start().await;
    let text = json!({ "note": ten_kilobytes() }).to_string();
    let inputs = json!({"conversationId": CALL, "attributesJson": text});
    assert_eq!(succeed(&app, "set-attributes", inputs).await["code"], "verified");
    assert_eq!(app.truth(CUSTOMER)["note"], ten_kilobytes());
}

#[tokio::test(start_paused = true)]
async fn empty_inputs_mean_the_customer_and_all_keys() {
    let app = guarded().start().await;
    for optional in [json!({}), json!({"participant": "", "keys": ""})] {
        let mut inputs = json!({"conversationId": CALL});
        inputs
            .as_object_mut()
            .expect("an object")
            .extend(optional.as_object().expect("too").clone());
        let read = succeed(&app, "get-attributes", inputs).await;
        assert_eq!(read["participantId"], CUSTOMER);
        let all = json!({"language": "en", "tier": "silver", "source": "web"});
        assert_eq!(parsed(&read["attributesJson"]), all);
    }
    for agent in ["agent", "agent:first", AGENT] {
        let inputs = json!({"conversationId": CALL, "key": "desk", "participant": agent});
        let read = succeed(&app, "get-attribute", inputs).await;
        assert_eq!((&read["value"], &read["participantId"]), (&json!("7"), &json!(AGENT)));
    }
    let inputs = json!({"conversationId": CALL, "attributesJson": "{\"desk\":\"8\"}", "participant": "agent"});
    assert_eq!(succeed(&app, "set-attributes", inputs).await["participantId"], AGENT);
    let inputs = json!({"conversationId": CALL, "key": "desk", "value": "", "participant": AGENT});
    assert_eq!(succeed(&app, "set-attribute", inputs).await["code"], "cleared");
    assert!(!app.truth(AGENT).contains_key("desk") || app.truth(AGENT)["desk"].is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_customer_is_found_also_before_any_queue() {
    const WAITING: &str = "5eed0000-0000-4000-8000-000000000002";
    const CALLER: &str = "e0000000-0000-4000-8000-000000000002";
    let caller = SimulatedCall::new(WAITING).external(CALLER, [("language", "nl")]);
    let app = TestApp::new().with_call(caller).start().await;
    for (conversation, customer) in [(CALL, CUSTOMER), (WAITING, CALLER)] {
        let inputs = json!({"conversationId": conversation});
        let found = succeed(&app, "find-customer", inputs).await;
        assert_eq!((&found["ok"], &found["code"]), (&json!(true), &json!("ok")), "{found:#}");
        assert_eq!(found["participantId"], customer);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_customer_a_write_does_not_guess_a_participant() {
    const OTHER: &str = "5eed0000-0000-4000-8000-000000000002";
    const SECOND: &str = "c0000000-0000-4000-8000-000000000009";
    let call = SimulatedCall::new(CALL).agent(AGENT, [("desk", "7")]);
    let two =
        SimulatedCall::new(OTHER).customer(CUSTOMER, NO_ATTRIBUTES).customer(SECOND, NO_ATTRIBUTES);
    let app = TestApp::new().without_calls().with_call(call).with_call(two).start().await;
    let found = succeed(&app, "find-customer", json!({"conversationId": CALL})).await;
    assert_eq!((&found["ok"], &found["participantId"]), (&json!(true), &json!(AGENT)));
    let inputs = json!({"conversationId": CALL, "key": "tier", "value": "gold"});
    let set = succeed(&app, "set-attribute", inputs).await;
    assert_eq!((&set["ok"], &set["code"]), (&json!(false), &json!("participant-not-found")));
    let found = succeed(&app, "find-customer", json!({"conversationId": OTHER})).await;
    assert_eq!((&found["ok"], &found["code"]), (&json!(false), &json!("ambiguous-participant")));
    assert_eq!(found["participantId"], "");
}

/// The flat form of the conversation would show the default participant of the configuration.
#[tokio::test(start_paused = true)]
async fn the_customer_is_found_whoever_is_the_default_participant() {
    let app = TestApp::new().with_env("GATEWAY__PARTICIPANTS__DEFAULT", "agent").start().await;
    let found = succeed(&app, "find-customer", json!({"conversationId": CALL})).await;
    assert_eq!(found["participantId"], CUSTOMER);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_just_written_is_read_back_at_once() {
    let app = TestApp::new().with_lag(ms(800)).start().await;
    let inputs = json!({"conversationId": CALL, "key": "tier", "value": "gold"});
    assert_eq!(succeed(&app, "set-attribute", inputs).await["ok"], true);
    let read = succeed(&app, "get-attribute", json!({"conversationId": CALL, "key": "tier"})).await;
    assert_eq!(read["value"], "gold");
}

#[tokio::test(start_paused = true)]
async fn a_key_in_a_path_needs_the_macro_for_paths() {
    let app = guarded().start().await;
    let inputs = json!({"conversationId": CALL, "key": "a b", "value": "there"});
    succeed(&app, "set-attribute", inputs.clone()).await;
    let read = json!({"conversationId": CALL, "key": "a b"});
    assert_eq!(succeed(&app, "get-attribute", read.clone()).await["value"], "there");
    // The same with the macro for forms, as a file may not have it: `a+b` is another key.
    let text = files()["get-attribute"].replace("$esc.uriEncode", "$esc.url");
    let wrong = super::action::Action::import(&text).expect("it is sound otherwise");
    let missed = wrong.execute(&app, &read, &json!({ "apiKey": KEY })).await.expect("it answers");
    assert_eq!((&missed["ok"], &missed["value"]), (&json!(false), &json!("")));
}

/// What Terraform takes out of the files is there, in each of them.
#[test]
fn terraform_takes_out_of_the_files_what_is_in_them() {
    let terraform =
        std::fs::read_to_string(folder().join("terraform/main.tf")).expect("it is there");
    assert!(terraform.contains(&format!("\"{}\"", PLACEHOLDER.trim_end_matches('/'))));
    let paths: Vec<_> = terraform.split("each.value.").skip(1).collect();
    assert_eq!(paths.len(), 11);
    for (name, text) in files() {
        let file: Value = serde_json::from_str(&text).expect("JSON");
        for path in &paths {
            let path = path.split(|c: char| !c.is_alphanumeric() && c != '.').next().expect("one");
            let pointer = format!("/{}", path.replace('.', "/"));
            assert!(file.pointer(&pointer).is_some(), "{name} has no {path}");
        }
    }
    let fields = terraform.contains("fields               = { apiKey = var.api_key }");
    assert!(fields, "the credential has the field that the headers name");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_conversation_or_no_object_is_a_failure() {
    let app = guarded().start().await;
    for (name, inputs, status) in [
        ("get-attributes", json!({"conversationId": "no id"}), 400),
        ("find-customer", json!({"conversationId": "../livez"}), 400),
        ("get-attribute", json!({"conversationId": CALL, "key": "k", "participant": "a b"}), 400),
        ("set-attributes", json!({"conversationId": CALL, "attributesJson": "[1]"}), 422),
        ("set-attributes", json!({"conversationId": CALL, "attributesJson": "{\"a\":1}"}), 422),
        ("set-attribute", json!({"conversationId": CALL, "key": "", "value": "x"}), 422),
    ] {
        let failure = run(&app, name, inputs).await.expect_err(name);
        let super::action::Failure::RemoteEndpoint { status: got, body } = failure else {
            panic!("{name}: {failure:?}");
        };
        assert_eq!(got, status, "{name}: {body}");
        assert!(body.contains("\"message\""), "{name}: {body}");
    }
    assert_eq!(app.upstream_calls(), 0);
}
