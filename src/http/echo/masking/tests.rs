use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Names that mean a secret everywhere, only in a query or form, and nowhere.
const NAMES: [&str; 3] = [
    "authorization cookie x-api-key X-ApiKey access_token clientSecret new-password userPwd \
     passPhrase passphrase x-credential SessionId x-hub-signature-256 cf-access-jwt-assertion \
     saml_assertion x-amzn-oidc-data x-forwarded-client-cert ssl_client_cert aws-access-key-id \
     x-ms-client-principal ocp-apim-subscription-key x-functions-key private_key encryptionKey",
    "sig key code KEY x-sig grant.code",
    "content-type Idempotency-Key x-idempotency_key keys monkey host accept-encoding design \
     x-request-id postcode passenger",
];

/// The masked body; it must not be `None`.
fn text_of(text: &str, is_form: bool) -> String {
    body(text, is_form).expect("it is shown")
}

#[test]
fn names_of_secrets_are_recognised() {
    for (names, expected) in NAMES.iter().zip([[true, true], [false, true], [false, false]]) {
        for name in names.split(' ').filter(|name| !name.is_empty()) {
            let found = [is_secret(name, false), is_secret(name, true)];
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[test]
fn a_known_scheme_stays_visible_in_authorization() {
    assert_eq!(header("authorization", "Bearer abc.def"), "Bearer [masked, 7 bytes]");
    assert_eq!(header("proxy-authorization", "bAsIc eA=="), "bAsIc [masked, 4 bytes]");
    assert_eq!(header("authorization", "correct horse"), "[masked, 13 bytes]");
    assert_eq!(header("x-auth-token", "Bearer abc"), "[masked, 10 bytes]");
    assert_eq!(header("cookie", "canary"), "[masked, 6 bytes]");
}

#[test]
fn parameters_are_masked_in_urls_and_forms() {
    for (value, shown) in [
        ("/a?b=1&token=canary&c=2", "/a?b=1&token=[masked, 6 bytes]&c=2"),
        ("https://x/#access_token=canary", "https://x/#access_token=[masked, 6 bytes]"),
        ("/a?%74oken=canary", "/a?%74oken=[masked, 6 bytes]"),
        ("/a?%zz=canary;b", "/a?%zz=[masked, 8 bytes]"),
        ("/a?b=1;sig=canary", "/a?b=1;sig=[masked, 6 bytes]"),
        ("/?next=%2Fb%3Fcode%3Dcanary", "/?next=/b?code=[masked, 6 bytes]"),
        ("<https://x/?key=canary>; rel=next", "<https://x/?key=[masked, 6 bytes]>; rel=next"),
        ("a=1,session=canary", "a=[masked, 16 bytes]"),
        ("text/html;q=0.5, */*;q=0.1", "text/html;q=0.5, */*;q=0.1"),
        ("/v1?participant=agent+1&q=%20", "/v1?participant=agent+1&q=%20"),
    ] {
        let masked = header("x-original-uri", value);
        if value.starts_with("a=1") {
            assert!(!masked.contains("canary"), "{masked}");
        } else {
            assert_eq!(masked, shown);
        }
    }
    let deep = "/?a=".repeat(5000) + "canary";
    assert!(!header("referer", &deep).contains("canary"));
    assert!(!parameter(Some("a"), &"a=".repeat(9000)).is_empty());
    assert_eq!(parameter(None, "canary"), "[masked, 6 bytes]");
    assert_eq!(parameter(Some("next"), "/?token=x"), "/?token=[masked, 1 bytes]");
}

#[test]
fn forms_are_masked_for_every_content_type() {
    let shown = "grant_type=x&code=[masked, 6 bytes]&client_secret=[masked, 6 bytes]";
    let form = "grant_type=x&code=canary&client_secret=canary";
    assert_eq!((text_of(form, true), text_of(form, false)), (shown.into(), shown.into()));
    assert_eq!(text_of("a=1\n", false), "a=1\n");
    assert_eq!(text_of("token=can ary", true), "token=[masked, 7 bytes]");
    let json = "{\"token\": \"canary\", \"a\": \"x=1&code=2\"}";
    let masked = "{\"token\": \"[masked, 6 bytes]\", \"a\": \"x=1&code=2\"}";
    assert_eq!(text_of(json, true), masked, "curl declares a form by default");
}

#[test]
fn members_are_masked_and_the_rest_is_unchanged() {
    for (text, shown) in [
        (r#"{ "pwd" : "canary", "a":1}"#, r#"{ "pwd" : "[masked, 6 bytes]", "a":1}"#),
        (r#"{"token":12345,"a":[1]}"#, r#"{"token":"[masked, 5 bytes]","a":[1]}"#),
        (r#"{"secrets":{"a":["]}",1]},"b":2}"#, r#"{"secrets":"[masked, 14 bytes]","b":2}"#),
        (
            r#"{"token":null,"pass\u0077d":"ab"}"#,
            r#"{"token":null,"pass\u0077d":"[masked, 2 bytes]"}"#,
        ),
        (r#"{"jwt":"a\"canary\\","b":"c"}"#, r#"{"jwt":"[masked, 9 bytes]","b":"c"}"#),
        (
            r#"{"attributesJson":"{\"apiKey\":\"canary\",\"tier\":\"gold\"}"}"#,
            r#"{"attributesJson":"{\"apiKey\":\"[masked, 6 bytes]\",\"tier\":\"gold\"}"}"#,
        ),
        (r#"{"key":"tier","value":"x"}"#, r#"{"key":"tier","value":"x"}"#),
    ] {
        assert_eq!(members(text), shown);
        assert!(serde_json::from_str::<Value>(shown).is_ok(), "{shown}");
    }
}

#[test]
fn secrets_in_broken_json_are_masked() {
    for text in [
        r#"{"password":"ca"canary", "a":1}"#,
        r#"{"a":"x"y","password":"canary"}"#,
        r#"{"password":"canary"#,
        r#"{"password": canary canary, "a":1}"#,
        r#"{"secrets":{"a":"canary""#,
        r#""password":"canary""#,
    ] {
        assert!(!text_of(text, false).contains("canary"), "{}", text_of(text, false));
    }
    let text = r#"{"token":${input.x}, "a":${input.y}}"#;
    assert!(text_of(text, false).ends_with(r#""a":${input.y}}"#), "{}", text_of(text, false));
}

#[test]
fn a_body_of_unknown_format_is_not_shown() {
    for text in [
        "<login><password>canary</password></login>",
        "--x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\ncanary\r\n--x--",
        "password: canary",
        "password = canary",
        "--password canary",
        "a=1\npassword=canary",
        "a=<password>canary</password>",
        r#"{"url":"https://me:canary\u0040host/"}"#,
    ] {
        assert_eq!(body(text, false), None, "{text}");
        let declared = body(text, true);
        assert!(declared.is_none_or(|shown| !shown.contains("canary")), "{text}");
    }
    for text in ["", "gold", "CRM-998877", " gold and silver\r\n", "caf\u{e9} 7/8"] {
        assert_eq!(body(text, false).as_deref(), Some(text));
    }
}

#[test]
fn passwords_in_urls_are_masked() {
    let shown = "https://[masked, 9 bytes]@crm.example/a";
    assert_eq!(header("referer", "https://me:canary@crm.example/a"), shown);
    assert_eq!(parameter(Some("next"), "https://me:canary@crm.example/a"), shown);
    let form = "next=https%3A%2F%2Fme%3Acanary%40crm.example%2Fa";
    assert_eq!(text_of(form, true), format!("next={shown}"));
    for json in [
        r#"{"url":"https://me:canary@crm.example/a"}"#,
        r#"{"url":"https:\/\/me:canary@crm.example\/a"}"#,
        r#"{"text":"{\"url\":\"https:\\/\\/me:canary@crm.example\"}"}"#,
        r#"{"url":"https://me:canary@crm.example/a"#,
    ] {
        assert!(!text_of(json, false).contains("canary"), "{}", text_of(json, false));
    }
}

#[test]
fn unterminated_secrets_are_masked_to_the_end() {
    for piece in [r#""token":{,"#, r#""token":","#, "\"token\":{\n", r#""token":{"a":"b",x,"#] {
        let text = piece.repeat(60 * 1024 / piece.len());
        let masked = members(&text);
        let (masks, longest) =
            masked.split("[masked, ").skip(1).fold((0, 0), |(count, most), rest| {
                let bytes = rest.split(' ').next().and_then(|number| number.parse::<usize>().ok());
                (count + 1, most.max(bytes.expect("a number")))
            });
        // One mask per search that the budget allows, and one for the rest.
        assert!(masks <= MAX_ROUNDS + 2 && longest > text.len() / 2, "{masks} {longest}");
    }
}

proptest! {
    #[test]
    fn masked_json_stays_valid_json_without_the_secret(
        secret in "canary.{0,12}", other in ".{0,12}", depth in 0_usize..3,
    ) {
        prop_assume!(!other.contains("canary"));
        let mut inner = json!({"before": other, "refreshToken": secret, "then": 1});
        for _ in 0..depth {
            inner = json!({"text": inner.to_string(), "other": other});
        }
        let mut shown: Value = serde_json::from_str(&text_of(&inner.to_string(), true)).expect("JSON");
        prop_assert!(!shown.to_string().contains("canary"));
        for _ in 0..depth {
            prop_assert_eq!(&shown["other"], &json!(other));
            shown = serde_json::from_str(shown["text"].as_str().expect("text")).expect("JSON");
        }
        prop_assert_eq!((&shown["before"], &shown["then"]), (&json!(other), &json!(1)));
    }

    #[test]
    fn no_text_panics(
        text in "(.{0,3}|[\"\\\\:{}\\[\\],=&;?#%n]{0,4}|\"token\":|pwd=){0,12}", name in ".{0,8}",
    ) {
        let _ = (body(&text, true), body(&text, false), header(&name, &text));
        let _ = parameter(Some(&name), &text);
    }
}
