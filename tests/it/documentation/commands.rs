//! The curl commands of the documentation, run against `demo` in the order of each page.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use super::{blocks, pages, text_of};
use crate::harness::{Demo, Process};

/// Where the documentation expects the gateway and the simulator.
const GATEWAY: &str = "http://127.0.0.1:8080";
const SIMULATOR: &str = "http://127.0.0.1:8090";

/// Members of an answer that depend on the moment.
const VOLATILE: [&str; 2] = ["verification", "upstreamCalls"];

/// A command with the output that the page shows for it.
#[derive(Debug, Default)]
struct Shown {
    command: String,
    output: String,
}

#[tokio::test]
async fn the_curl_commands_of_each_page_work_as_shown() {
    if Command::new("curl").arg("--version").output().await.is_err() {
        return; // `make test` has installed it; a bare `cargo test` may do without
    }
    let mut tried = 0;
    for page in pages() {
        let shown = shown_in(&text_of(&page));
        if shown.is_empty() {
            continue;
        }
        let demo = Process::demo(&[], &[]).await;
        for each in shown {
            tried += 1;
            try_one(&page, &each, &demo).await;
        }
    }
    assert!(tried > 15, "only {tried} commands were found: the search is broken");
}

async fn try_one(page: &Path, shown: &Shown, demo: &Demo) {
    let command = shown.command.replace(GATEWAY, &demo.gateway).replace(SIMULATOR, &demo.simulator);
    let output =
        Command::new("sh").args(["-c", &format!("{command} -sS --fail-with-body")]).output();
    let output = output.await.expect("a shell");
    let at = format!("{}: {}", page.display(), shown.command);
    let got = String::from_utf8(output.stdout).expect("text");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{at}\n{got}\n{complaint}");
    let wanted = shown.output.trim();
    if wanted.is_empty() {
        return;
    }
    match serde_json::from_str::<Value>(wanted) {
        Ok(wanted) if wanted.is_object() => {
            let got = serde_json::from_str(&got).expect(&at);
            assert_eq!(steady(got), steady(wanted), "{at}");
        }
        _ => assert_eq!(got.trim(), wanted, "{at}"),
    }
}

fn steady(mut answer: Value) -> Value {
    for name in VOLATILE {
        let _ = answer.as_object_mut().and_then(|members| members.remove(name));
    }
    answer
}

/// The commands that begin with `$ curl`, with the lines below each. A block of JSON that follows is the
/// output of the last command before it. Commands with `…` are only sketched.
fn shown_in(text: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for block in blocks(text) {
        match block.language {
            "console" => shown.extend(commands_in(&block.lines)),
            "json" => {
                if let Some(last) = shown.last_mut().filter(|last| last.output.is_empty()) {
                    last.output = block.lines.join("\n");
                }
            }
            _ => {}
        }
    }
    shown.retain(|each| each.command.starts_with("curl ") && !each.command.contains('…'));
    shown
}

fn commands_in(lines: &[&str]) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let mut continued = false;
    for line in lines {
        if let Some(command) = line.trim_start().strip_prefix("$ ") {
            shown.push(Shown { command: command.to_owned(), output: String::new() });
        } else if let Some(last) = shown.last_mut() {
            let part = if continued { &mut last.command } else { &mut last.output };
            part.push_str(if continued { " " } else { "\n" });
            part.push_str(line);
        }
        continued =
            shown.last().is_some_and(|last| last.output.is_empty() && last.command.ends_with('\\'));
        if continued {
            let last = shown.last_mut().expect("it was just looked at");
            last.command.pop();
        }
    }
    shown
}
