//! Pages made from the code: the error catalogue and the settings. `make docs` rewrites them.

use std::fmt::Write as _;
use std::path::Path;

use attribute_gateway::error::ErrorCode;

use super::{ROOT, text_of};
use crate::harness::{CALL, TestApp};
use crate::problems::ROWS;

const DEFAULTS: &str = include_str!("../../../config/default.toml");

/// Columns of a line.
const WIDTH: usize = 120;

#[test]
fn the_page_of_errors_equals_the_catalogue() {
    assert_current("docs/errors.md", &errors());
}

#[test]
fn the_page_of_settings_equals_the_defaults() {
    assert_current("docs/configuration.md", &configuration());
}

#[tokio::test(start_paused = true)]
async fn every_metric_is_explained() {
    let app = TestApp::new().start().await;
    app.write(CALL, "", serde_json::json!({"tier": "gold"})).await.assert_status(200);
    let metrics = app.get("/metrics").await.text;
    let page = text_of(Path::new("docs/operations.md"));
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let missing: Vec<_> = names
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with("attribute_gateway_") && !page.contains(name))
        .collect();
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:?}");
}

/// The page is what it would be if it were written now; with `UPDATE_DOCS` it is.
fn assert_current(page: &str, wanted: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(Path::new(ROOT).join(page), wanted).expect("the page can be written");
    }
    assert!(text_of(Path::new(page)) == wanted, "{page} is out of date: run `make docs`");
}

const ERRORS: &str = "\
# Errors

<!-- Generated from the error catalogue by `make docs`. Do not edit. -->

Every error is `application/problem+json` (RFC 9457), also for unknown paths and malformed requests:

| member | meaning |
| --- | --- |
| `type` | `/problems/{code}`; the gateway serves a page there |
| `title`, `status` | the same for every occurrence of a code |
| `detail`, `message` | what happened this time, for people |
| `code` | the stable name of the error; switch on this |
| `hint` | what to do next |
| `effect` | whether anything was changed: `notApplied`, `applied` or `unknown` |
| `retryable` | whether the same request can succeed later |
| `retryAfterSeconds` | when; also in the `Retry-After` header |
| `requestId`, `correlationId` | ids for the gateway's log, and for Genesys support |
| `errors` | for bad input: every mistake, with a JSON pointer |

If the effect is `unknown`, a write was sent and its result is not known. Repeating the same write is safe.
Malformed HTTP and heads that are too large (431) are refused before they become requests, with an empty body.

";

fn errors() -> String {
    let mut page =
        format!("{ERRORS}| status | code | retryable | meaning |\n| --- | --- | --- | --- |\n");
    let mut codes = ErrorCode::ALL.map(|code| (status(code), code));
    codes.sort_by_key(|(status, _)| *status);
    for (status, code) in codes {
        let (name, repeat) = (code.as_str(), if code.retryable() { "yes" } else { "no" });
        let title = code.title();
        let _ = writeln!(page, "| {status} | [`{name}`](#{name}) | {repeat} | {title} |");
    }
    for (status, code) in codes {
        let _ = writeln!(page, "\n## {}\n\n{status}: {}.", code.as_str(), code.title());
        let _ = writeln!(page, "\n{}", wrapped(code.cause()));
        let _ = writeln!(page, "\n{}", wrapped(&format!("**What to do:** {}", code.hint())));
    }
    page
}

fn status(code: ErrorCode) -> u16 {
    ROWS.iter().find(|row| row.0 == code).expect("every code has a row").1
}

const CONFIGURATION: &str = "\
# Configuration

<!-- Generated from config/default.toml by `make docs`. Do not edit. -->

Settings come from these sources. Later ones win:

1. the defaults on this page, compiled in from [config/default.toml](../config/default.toml)
2. the TOML file of `--config FILE`, which needs only the settings that differ
3. `GENESYS_CLIENT_ID`, `GENESYS_CLIENT_SECRET` and `GENESYS_ENVIRONMENT`
4. environment variables: `server.tls.key` is `GATEWAY__SERVER__TLS__KEY`
5. `RUST_LOG`, in place of `log.level`

- Durations have a unit (`\"250ms\"`, `\"5s\"`, `\"1m 30s\"`). Sizes are bytes or have a unit (`\"64 KiB\"`).
- A default of `\"\"` means \"not set\", and so does an empty environment variable.
- Secrets can come from files: `GENESYS_CLIENT_SECRET_FILE` holds the path of a file with the secret. This works for
  `genesys.client_id`, `genesys.client_secret`, `genesys.proxy`, `audit.key` and `tracing.headers`.
- Unknown settings are errors. `attribute-gateway check-config` validates, and `attribute-gateway print-config` shows the
  values in force, without secrets, and where each comes from.
";

fn configuration() -> String {
    let mut page = CONFIGURATION.to_owned();
    let (mut section, mut comment) = ("", Vec::new());
    for line in DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.strip_prefix(' ').unwrap_or(text));
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            let _ = writeln!(page, "\n## {section}");
            explain(&mut page, &comment);
            comment.clear();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let _ = writeln!(page, "\n### {section}.{key}\n\nDefault: `{value}`");
            explain(
                &mut page,
                if comment.is_empty() { &["See the setting above."] } else { &comment },
            );
            comment.clear();
        } else {
            assert!(line.is_empty(), "a line that this page cannot show: {line}");
            comment.clear();
        }
    }
    page
}

/// The comment of a setting as paragraphs; indented lines are an example.
fn explain(page: &mut String, comment: &[&str]) {
    for lines in comment.chunk_by(|one, other| is_example(one) == is_example(other)) {
        if is_example(lines[0]) {
            let _ = writeln!(
                page,
                "\n```text\n{}\n```",
                lines.join("\n").replace("\n  ", "\n").trim_start()
            );
        } else {
            let _ = writeln!(page, "\n{}", wrapped(&lines.join(" ")));
        }
    }
}

fn is_example(line: &str) -> bool {
    line.starts_with("  ")
}

/// The text in lines of the usual width.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one");
        if !line.is_empty() && line.chars().count() + word.chars().count() >= WIDTH {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.join("\n")
}
