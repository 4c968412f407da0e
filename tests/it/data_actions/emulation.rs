//! The emulation itself: what it makes of sound templates, contracts and translations, and that it
//! refuses those that the platform would choke on, at import or while a client waits.

use serde_json::{Value, json};

use super::action::{Action, Failure};
use super::template::{Context, Malformed, Template};
use super::translation::Translation;
use crate::harness::{CALL, TestApp};

fn context() -> Context {
    let input = json!({
        "text": "say \"hi\"\n$5 #1 ${input.other}", "empty": "", "nothing": null, "number": 7, "yes": true,
        "template": "${input.number}"
    });
    Context::from([("input".into(), input)])
}

#[track_caller]
fn rendered(template: &str) -> String {
    Template::parse(template).expect("a sound template").render(&context())
}

#[track_caller]
fn refused(template: &str) -> String {
    let Err(Malformed(what)) = Template::parse(template) else {
        panic!("`{template}` was understood");
    };
    what
}

#[test]
fn variables_are_never_expanded_as_templates_again() {
    assert_eq!(rendered("[${input.text}]"), "[say \"hi\"\n$5 #1 ${input.other}]");
    assert_eq!(rendered("[${input.template}]"), "[${input.number}]");
    assert_eq!(rendered("$input.number/${input.yes}, $input.number."), "7/true, 7.");
    assert_eq!(rendered("[${input.empty}][$!{input.empty}]"), "[][]");
    assert_eq!(rendered("C# \\n # 1"), "C# \\n # 1");
}

#[test]
fn a_variable_without_a_value_prints_itself_unless_it_is_silent() {
    assert_eq!(rendered("[${input.none}][$input.none]"), "[${input.none}][$input.none]");
    assert_eq!(rendered("[$!{input.none}][$!input.nothing]"), "[][]");
    assert_eq!(rendered("[$esc.url(${input.nothing})]"), "[$esc.url(${input.nothing})]");
    assert_eq!(rendered("[$!esc.url(${input.nothing})]"), "[]");
    // Within a text the variable prints itself first, and is then escaped.
    assert_eq!(rendered(r#"[$esc.url("$!{input.none}")]"#), "[]");
    assert_eq!(rendered("[$esc.url('${input.text}')]"), "[%24%7Binput.text%7D]");
}

#[test]
fn macros_work_on_variables_and_texts() {
    let json = rendered(r#"{"value": "$esc.jsonString(${input.text})"}"#);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["value"], "say \"hi\"\n$5 #1 ${input.other}");
    assert_eq!(rendered(r#"${esc.url("a b/$input.number")}"#), "a+b%2F7");
    assert_eq!(rendered("$esc.uriEncode('a b')?x"), "a%20b?x");
}

#[test]
fn conditions_compare_texts() {
    let optional =
        r#"?a#if("$!{input.text}" != "")&b=${input.number}#end#if("$!{input.none}" != "")&c#end"#;
    assert_eq!(rendered(optional), "?a&b=7");
    assert_eq!(rendered(r#"#if('x' == "$input.yes")a#{else}b#{end}c"#), "bc");
    let nested = r#"#if("1" == "1")#if("1" == "2")a#else b#end #else c#end"#;
    assert_eq!(rendered(nested), " b ");
}

#[test]
fn malformed_templates_are_refused() {
    for (template, what) in [
        ("${input.text", "is not closed by `}`"),
        ("${}", "begins no variable"),
        ("${1}", "begins no variable"),
        ("costs $ 5", "begins no variable"),
        ("$", "begins no variable"),
        ("$$input.x", "begins no variable"),
        ("${input.x|'default'}", "is not closed by `}`"),
        ("$esc.jsonStrin(${input.x})", "`esc.jsonStrin` is no macro"),
        ("$input.text.replace('a', 'b')", "`input.text.replace` is no macro"),
        ("$esc.url(${input.x}).replace('+', '%20')", "methods of results"),
        ("$esc.url(${input.x}", "is not closed after its one argument"),
        ("$esc.url(${input.x}, 2)", "is not closed after its one argument"),
        ("$esc.url()", "takes a variable or a text"),
        ("$esc.url(input.x)", "takes a variable or a text"),
        ("$esc.url(\"a)", "a text in quotes is not closed"),
        ("$esc.url(\"${input.x\")", "is not closed by `}`"),
        ("#if(\"a\" == \"b\")x", "`#if` without `#end`"),
        ("x#end", "`#end` without `#if`"),
        ("x#else y", "`#else` without `#if`"),
        ("#if('a' == 'b')x#else y#else z#end", "a second `#else`"),
        ("#if('a' == 'b')x#end2", "runs into the text behind it"),
        ("#if('a' == 'b')x#elsey#end", "runs into the text behind it"),
        ("#if(${input.x})x#end", "compares texts in quotes"),
        ("#if('a' = 'b')x#end", "compares two texts"),
        ("#if('a' == 'b' && 'c' == 'd')x#end", "a condition is not closed"),
        ("#set($x = 1)", "no directive"),
        ("#foreach($x in $y)#end", "no directive"),
        ("a ## comment", "no directive"),
        ("a #* comment *#", "no directive"),
        ("tail#", "no directive"),
        ("\\${input.x}", "escapes with `\\`"),
    ] {
        let said = refused(template);
        assert!(said.contains(what), "`{template}`: {said}");
    }
}

/// A sound file, but for these members.
fn action(changes: &[(&str, Value)]) -> Result<Action, Malformed> {
    let mut file = json!({
        "name": "Look", "integrationType": "custom-rest-actions", "actionType": "custom",
        "config": {
            "request": {
                "requestUrlTemplate": "https://gateway.example/v1/conversations/${input.id}/attributes",
                "requestType": "GET",
                "headers": {"Authorization": "Bearer ${credentials.key}"},
                "requestTemplate": "${input.rawRequest}"
            },
            "response": {
                "translationMap": {"who": "$.participant.purpose", "gone": "$.gone"},
                "translationMapDefaults": {"gone": "\"-\""},
                "successTemplate": "{\"who\": ${who}, \"gone\": ${gone}}"
            }
        },
        "contract": {
            "input": {"inputSchema": {
                "type": "object", "required": ["id"], "additionalProperties": false,
                "properties": {"id": {"type": "string"}, "count": {"type": "integer"}}
            }},
            "output": {"successSchema": {
                "type": "object", "required": ["who"],
                "properties": {"who": {"type": "string"}, "gone": {"type": "string"}}
            }}
        },
        "secure": false
    });
    for (path, value) in changes {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        file.pointer_mut(parent).expect("it is there")[name] = value.clone();
    }
    Action::import(&file.to_string())
}

const REQUEST: &str = "/config/request";
const RESPONSE: &str = "/config/response";
const INPUT: &str = "/contract/input/inputSchema";
const OUTPUT: &str = "/contract/output/successSchema";

#[track_caller]
fn refused_at_import(part: &str, cases: &[(&str, Value, &str)]) {
    for (name, value, what) in cases {
        let said = action(&[(&format!("{part}/{name}"), value.clone())]).expect_err(what).0;
        assert!(said.contains(what), "{said}, not {what}");
    }
}

#[test]
fn files_that_cannot_work_are_refused_at_import() {
    assert!(action(&[]).is_ok());
    let other = json!("purecloud-data-actions");
    refused_at_import(
        "",
        &[
            ("extra", json!(1), "unknown field `extra`"),
            ("secure", json!(null), "invalid type: null"),
            ("name", json!(""), "a name of 1 to 256"),
            ("name", json!("x".repeat(257)), "a name of 1 to 256"),
            ("integrationType", other, "no custom action"),
        ],
    );
    let url = "requestUrlTemplate";
    refused_at_import(
        REQUEST,
        &[
            ("requestType", json!("HEAD"), "`HEAD` is no method"),
            ("requestTemplate", json!("{}"), "a GET sends no body"),
            (url, json!("/v1"), "start with `https://`"),
            (url, json!("https://x/${input.ids}"), "`input.ids` is no input"),
            (url, json!("https://x/$id"), "`id` is no input"),
            ("headers", json!({"Accept": "text/plain"}), "`Accept` has to be"),
            ("headers", json!({"X": "${input.id"}), "is not closed"),
        ],
    );
}

#[test]
fn broken_translations_and_contracts_are_refused_at_import() {
    refused_at_import(
        RESPONSE,
        &[
            ("translationMap", json!({"who": "$.a[0]"}), "no path known here"),
            ("translationMap", json!({"who": "a"}), "no path known here"),
            ("translationMapDefaults", json!({"x": "1"}), "which is not translated"),
            ("translationMapDefaults", json!({"who": "plain"}), "is no JSON"),
            ("successTemplate", json!("{\"who\": ${whom}}"), "`whom` is not translated"),
        ],
    );
    refused_at_import(
        INPUT,
        &[
            ("properties", json!({"1st": {"type": "string"}}), "no name for an input"),
            ("properties", json!({"orgId": {"type": "string"}}), "`orgId` is reserved"),
            ("properties", json!({"id": {"type": "object"}}), "`id` is of type `object`"),
            ("properties", json!({"id": {"$ref": "#/x"}}), "unknown field `$ref`"),
            ("required", json!(["x"]), "`x` is required but not described"),
            ("type", json!("array"), "a contract of type `array`"),
        ],
    );
    let array = json!({"type": "array", "items": {"type": "string"}});
    let nested = json!({"type": "array", "items": {"type": "object", "properties": {"y": array}}});
    refused_at_import(OUTPUT, &[("properties", json!({"x": nested}), "an array in an array")]);
    let single = json!({"x": array, "who": {"type": "string"}});
    assert!(action(&[(&format!("{OUTPUT}/properties"), single)]).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_execution_sends_translates_and_ends_on_its_path() {
    let app = TestApp::new().start().await;
    let key = json!({"key": "k"});
    let sound = action(&[]).expect("sound");
    let done = sound.execute(&app, &json!({"id": CALL, "count": 1}), &key).await;
    assert_eq!(done, Ok(json!({"who": "customer", "gone": "-"})));
    let refused = async |inputs: Value| sound.execute(&app, &inputs, &key).await;
    let said = |what: &str| Err(Failure::Refused(what.to_owned()));
    assert_eq!(refused(json!({})).await, said("`id` is missing"));
    assert_eq!(refused(json!({"id": null})).await, said("`id` is no string"));
    assert_eq!(refused(json!({"id": CALL, "count": "1"})).await, said("`count` is no integer"));
    assert_eq!(refused(json!({"id": CALL, "x": 1})).await, said("`x` is not in the contract"));
    let spaced = "https://gateway.example/v1/conversations/a b/attributes";
    assert_eq!(refused(json!({"id": "a b"})).await, said(&format!("`{spaced}` is no URL")));
    let secret = json!({"key": "a\nb"});
    let header = sound.execute(&app, &json!({"id": CALL}), &secret).await;
    assert_eq!(header, said("the header `Authorization` cannot be sent"));
    let Err(Failure::RemoteEndpoint { status, .. }) = refused(json!({"id": "x"})).await else {
        panic!("400 is a failure");
    };
    assert_eq!(status, 400);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_fit_the_contract_is_a_failure() {
    let app = TestApp::new().start().await;
    let ended = async |template: &str| {
        let template = ("/config/response/successTemplate", template.into());
        let action = action(&[template]).expect("sound");
        let done = action.execute(&app, &json!({"id": CALL}), &json!({"key": "k"})).await;
        done.expect_err("a failure")
    };
    let failure = ended("{\"gone\": ${gone}}").await;
    assert_eq!(failure, Failure::Translation("`who` is missing".into()));
    let failure = ended("{\"who\": 1}").await;
    assert_eq!(failure, Failure::Translation("`who` is no string".into()));
    // A string stands in the output with its quotes; more of them are too many.
    let Failure::Translation(said) = ended("{\"who\": \"${who}\"}").await else {
        panic!("no translation failure");
    };
    assert!(said.starts_with("the success template made no JSON"), "{said}");
}

#[test]
fn a_missing_path_has_a_default_and_null_has_none() {
    let translation = |defaults: Value| -> Translation {
        serde_json::from_value(json!({
            "translationMap": {"a": "$.one['two words']", "b": "$.b"},
            "translationMapDefaults": defaults,
            "successTemplate": "{\"a\": ${a}, \"b\": ${b}}"
        }))
        .expect("a translation")
    };
    let whole = translation(json!({"a": "0", "b": "\"{}\""}));
    let answer = json!({"one": {"two words": "$x #if \"q\""}});
    assert_eq!(whole.apply(&answer), Ok(json!({"a": "$x #if \"q\"", "b": "{}"})));
    assert_eq!(whole.apply(&json!({})), Ok(json!({"a": 0, "b": "{}"})));
    assert!(whole.apply(&json!({"b": null})).is_err());
    assert!(translation(json!({"a": "0"})).apply(&json!({})).is_err());
    let raw: Translation =
        serde_json::from_value(json!({"successTemplate": "${rawResult}"})).expect("a translation");
    assert_eq!(raw.apply(&answer), Ok(answer));
}
