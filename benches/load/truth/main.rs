//! Whether the service says the truth on bad days: real processes and sockets, a simulated platform that
//! fails as scripted, and a judge that trusts only the answers and the platform's own ledger.
//!
//! `make load-truth`, or `truth PATH-OF-THE-GATEWAY [faults|outage|poison|budget|lag|vanish|all|soak] [--seeds N]
//! [--first SEED] [--writes N] [--percent P] [--seconds S]`. Shares no type with the service. Ends with 1 if anything
//! false was said, an answer was late, or a measured value misses its goal.

#![expect(clippy::print_stdout, reason = "its output is what it is run for")]

#[path = "../../../tests/it/harness/authority.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod authority;
mod budget;
mod exchange;
mod faults;
mod history;
mod increments;
mod judge;
mod lag;
mod outage;
mod pace;
mod soak;
mod soak_report;
mod stack;
mod steady;
mod traffic;
mod vanish;
mod verdict;

use anyhow::Context;

const SCENARIOS: [&str; 6] = ["faults", "outage", "poison", "budget", "lag", "vanish"];
/// Not one of `all`, because it takes ten minutes.
const SOAK: &str = "soak";

fn number(args: &[String], name: &str, otherwise: u64) -> anyhow::Result<u64> {
    let Some(at) = args.iter().position(|arg| arg == name) else {
        return Ok(otherwise);
    };
    let text = args.get(at + 1).with_context(|| format!("{name} needs a number"))?;
    text.parse().with_context(|| format!("`{text}` is no number"))
}

fn plan(args: &[String]) -> anyhow::Result<faults::Plan> {
    Ok(faults::Plan {
        seeds: number(args, "--seeds", 10)?,
        first: number(args, "--first", 1)?,
        writes: usize::try_from(number(args, "--writes", 1500)?)?,
        percent: u8::try_from(number(args, "--percent", 25)?)?,
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let program = args.first().context("usage: truth PATH-OF-THE-GATEWAY [SCENARIO] [OPTIONS]")?;
    let named = args.get(1).filter(|arg| !arg.starts_with("--"));
    let scenario = named.map_or("all", String::as_str);
    anyhow::ensure!(
        ["all", SOAK].contains(&scenario) || SCENARIOS.contains(&scenario),
        "`{scenario}` is neither {SOAK} nor one of {SCENARIOS:?}"
    );
    // reqwest is built without a TLS provider of its own and wants one even for plain http.
    let provider = rustls::crypto::ring::default_provider();
    provider
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    if scenario == SOAK {
        return soak::run(program, number(&args, "--seconds", 600)?).await;
    }
    let plan = plan(&args)?;
    let mut bad = Vec::new();
    for name in SCENARIOS {
        if scenario != "all" && scenario != name {
            continue;
        }
        let good = match name {
            "faults" => faults::run(program, plan).await?,
            "outage" => outage::outage(program).await?,
            "poison" => outage::poison(program).await?,
            "budget" => budget::run(program).await?,
            "vanish" => vanish::run(program).await?,
            _ => lag::run(program).await?,
        };
        println!("{name}: {}", if good { "good" } else { "NOT as it has to be" });
        if !good {
            bad.push(name);
        }
    }
    anyhow::ensure!(bad.is_empty(), "missed its goal: {}", bad.join(", "));
    Ok(())
}
