//! `top`: shows the live view of a running service in a terminal.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::{own_url, say};
use crate::config;
use crate::service::{LiveStream, live_events_url};

/// The environment variable with the key.
const KEY_VARIABLE: &str = "GATEWAY_KEY";

const RETRY_DELAY: Duration = Duration::from_secs(2);

/// Clears the terminal and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// The options of the command.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// Base URL of the service, instead of the one on `server.bind`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// File with the key of a client with `operate = true`, instead of the variable `GATEWAY_KEY`.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print the state once, and end.
    #[arg(long)]
    once: bool,
}

/// Shows the state until the process is ended, and connects again meanwhile; or shows it once.
pub async fn top(source: &config::ConfigSource, args: TopArgs) -> anyhow::Result<()> {
    let url = match args.url {
        Some(base) => live_events_url(&base),
        None => live_events_url(&own_url(source)?),
    };
    let key = match args.key_file {
        Some(file) => {
            let text = std::fs::read_to_string(&file);
            Some(text.with_context(|| format!("cannot read {}", file.display()))?)
        }
        None => source.env.get(KEY_VARIABLE).cloned(),
    };
    let key = key.as_deref().map(str::trim);
    loop {
        match watch(&url, key, args.once).await {
            Err(lost) if !args.once => say(&format!("disconnected, retrying: {lost:#}")),
            ended => return ended,
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Shows one event, or all of them until the connection is lost.
async fn watch(url: &str, key: Option<&str>, once: bool) -> anyhow::Result<()> {
    let mut stream = LiveStream::open(url, key).await?;
    loop {
        let event = stream.next().await?;
        let clear = if once { "" } else { CLEAR };
        say(&format!("{clear}{}", table(&event)));
        if once {
            return Ok(());
        }
    }
}

/// The state as text.
fn table(status: &Value) -> String {
    let ready = if status["ready"] == true { "ready" } else { "not ready" };
    let mut out = format!("attribute-gateway, {ready}, {}\n\n", text(status.get("at")));
    for (name, line) in lines(status) {
        let _ = writeln!(out, "{name:<10} {line}");
    }
    if let Some(left) = status.pointer("/budget/throttledSeconds") {
        let _ = writeln!(out, "throttled  {} s more", text(Some(left)));
    }
    out.push('\n');
    row(&mut out, &COLUMNS.map(|(heading, ..)| heading.to_owned()));
    for one in items(status.get("operations")) {
        row(&mut out, &COLUMNS.map(|(_, member, _)| text(one.get(member))));
    }
    out
}

fn lines(status: &Value) -> [(&'static str, String); 6] {
    let list = |path, show: &dyn Fn(&Value) -> String| {
        items(status.pointer(path)).map(show).collect::<Vec<_>>().join(", ")
    };
    [
        (
            "budget",
            filled(
                &status["budget"],
                "{available} calls free for writes, limit {limit} in {windowSeconds} s, {waiting} \
                 requests wait, {others} calls of other programs",
            ),
        ),
        ("clients", list("/budget/clients", &|one| filled(one, "{client} {calls}"))),
        (
            "upstream",
            list("/upstream", &|one| filled(one, "{name} {state} ({accepts} of {requests})")),
        ),
        (
            "token",
            filled(
                &status["token"],
                "{state}, fetched {ageSeconds} s ago, expires in {expiresInSeconds} s",
            ),
        ),
        ("writes", filled(&status["writes"], "{inFlight} in progress, {waiting} queued")),
        ("lag", filled(&status["visibilityLag"], "p50 {p50Ms} ms, p95 {p95Ms} ms")),
    ]
}

/// A text with the members of an object in place of their names in braces.
fn filled(object: &Value, template: &str) -> String {
    let mut parts = template.split(['{', '}']);
    let mut line = parts.next().unwrap_or_default().to_owned();
    while let (Some(name), Some(rest)) = (parts.next(), parts.next()) {
        line += &text(object.get(name));
        line += rest;
    }
    line
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

/// Heading, member and width of the columns.
const COLUMNS: [(&str, &str, usize); 9] = [
    ("TIME", "at", 25),
    ("METHOD", "method", 7),
    ("CLIENT", "client", 12),
    ("CONVERSATION", "conversationId", 37),
    ("STATUS", "status", 7),
    ("CODE", "code", 24),
    ("EFFECT", "effect", 11),
    ("MS", "durationMs", 10),
    ("CALLS", "calls", 5),
];

fn row(out: &mut String, cells: &[String; 9]) {
    for (cell, (.., width)) in cells.iter().zip(COLUMNS) {
        let _ = write!(out, "{cell:<width$} ");
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
}

/// A member as text, without anything that could control the terminal.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.chars().filter(|one| !one.is_control()).collect(),
        Some(Value::Number(number)) => number.as_f64().unwrap_or_default().to_string(),
        Some(other) => other.to_string(),
    }
}
