//! `top`: shows the live view of a running service in a terminal.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::say;
use super::simulate::reachable;
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

/// Shows the state until the process is ended. Connects again if the connection is lost.
///
/// # Errors
/// If the service refuses the request; with `--once`, also if it cannot be reached.
pub async fn top(source: &config::ConfigSource, args: TopArgs) -> anyhow::Result<()> {
    let base = if let Some(url) = args.url {
        url
    } else {
        let server = config::load(source)?.config.server;
        let scheme = if server.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", reachable(server.bind))
    };
    let key = match args.key_file {
        Some(file) => Some(
            std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?,
        ),
        None => source.env.get(KEY_VARIABLE).cloned(),
    };
    let (url, key) = (live_events_url(&base), key.as_deref().map(str::trim));
    loop {
        let Some(lost) = watch(&url, key, args.once).await? else { return Ok(()) };
        if args.once {
            return Err(lost);
        }
        say(&format!("disconnected, retrying: {lost:#}"));
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Shows events until the connection is lost; returns the reason. `None` if one event was wanted.
async fn watch(url: &str, key: Option<&str>, once: bool) -> anyhow::Result<Option<anyhow::Error>> {
    let mut stream = match LiveStream::open(url, key).await? {
        Ok(stream) => stream,
        Err(lost) => return Ok(Some(lost)),
    };
    loop {
        match stream.next().await {
            Ok(event) => {
                let clear = if once { "" } else { CLEAR };
                say(&format!("{clear}{}", table(&event)));
            }
            Err(lost) => return Ok(Some(lost)),
        }
        if once {
            return Ok(None);
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
    row(&mut out, COLUMNS.map(|(heading, ..)| heading.to_owned()));
    for one in items(status.get("operations")) {
        row(&mut out, COLUMNS.map(|(_, member, _)| text(one.get(member))));
    }
    out
}

fn lines(status: &Value) -> [(&'static str, String); 6] {
    // Fills the members at these paths in.
    let fill = |template: &str, paths: &[&str]| {
        let fill = |line: String, path: &&str| line.replacen("{}", &text(status.pointer(path)), 1);
        paths.iter().fold(template.to_owned(), fill)
    };
    let client = |one: &Value| format!("{} {}", text(one.get("client")), one["calls"]);
    let upstream = |one: &Value| {
        let (name, state) = (text(one.get("name")), text(one.get("state")));
        format!("{name} {state} ({} of {})", one["accepts"], one["requests"])
    };
    let list = |path, show: &dyn Fn(&Value) -> String| {
        items(status.pointer(path)).map(show).collect::<Vec<_>>().join(", ")
    };
    let budget =
        "{} calls free for writes, limit {} in {} s, {} requests wait, {} calls of other programs";
    let members = ["available", "limit", "windowSeconds", "waiting", "others"];
    let members = members.map(|member| format!("/budget/{member}"));
    let token = "{}, fetched {} s ago, expires in {} s";
    [
        ("budget", fill(budget, &members.each_ref().map(String::as_str))),
        ("clients", list("/budget/clients", &client)),
        ("upstream", list("/upstream", &upstream)),
        ("token", fill(token, &["/token/state", "/token/ageSeconds", "/token/expiresInSeconds"])),
        ("writes", fill("{} in progress, {} queued", &["/writes/inFlight", "/writes/waiting"])),
        ("lag", fill("p50 {} ms, p95 {} ms", &["/visibilityLag/p50Ms", "/visibilityLag/p95Ms"])),
    ]
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

fn row(out: &mut String, cells: [String; 9]) {
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
