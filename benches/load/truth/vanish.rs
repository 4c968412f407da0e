//! Keys of others that vanish: an answer has to name them, and the gateway must not write them back.

use serde_json::{Value, json};

use super::exchange::{Ask, ClientAnswer};
use super::stack::{Stack, conversation};

/// Keys of others, in each call.
const OTHERS: [&str; 5] = ["flow_a", "flow_b", "flow_c", "flow_d", "flow_e"];
const CALLS: usize = 20;

fn write(number: usize, value: &str) -> Ask {
    Ask::put(&conversation(number), vec![("k".to_owned(), value.to_owned())])
}

/// Which of these keys the warnings do not name.
fn unnamed<'a>(answer: &ClientAnswer, gone: &[&'a str]) -> Vec<&'a str> {
    let warnings = answer.body["warnings"].to_string();
    gone.iter().copied().filter(|key| !warnings.contains(key)).collect()
}

async fn start(program: &str) -> anyhow::Result<Stack> {
    let variables = [("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "600000")];
    let settings = json!({"latency": "5ms", "lag": "30ms"});
    let stack = Stack::start(program, &variables, settings).await?;
    for number in 0..CALLS {
        let map: serde_json::Map<String, Value> =
            OTHERS.iter().map(|key| ((*key).to_owned(), json!("theirs"))).collect();
        stack.add(&conversation(number), &Value::from(map)).await?;
    }
    Ok(stack)
}

/// Two ways in which keys go: the platform replaces the map, or another writer removes them.
pub async fn run(program: &str) -> anyhow::Result<bool> {
    let stack = start(program).await?;
    let (mut silent, mut examples) = (0, Vec::new());
    for number in 0..CALLS {
        // The first write shows the gateway what there is, and that the platform merges.
        write(number, "first").send(&stack).await;
        let replaced = number.is_multiple_of(2);
        let gone: &[&str] = if replaced { &OTHERS } else { &OTHERS[..2] };
        if replaced {
            stack.set(json!({"semantics": "replace"})).await?;
        } else {
            let removed = json!({"flow_a": null, "flow_b": null});
            stack.foreign(&conversation(number), &removed, 0).await?;
        }
        let answer = write(number, "second").send(&stack).await;
        stack.set(json!({"semantics": "merge"})).await?;
        let missing = unnamed(&answer, gone);
        if !missing.is_empty() {
            silent += 1;
            let how = if replaced { "replaced" } else { "removed by another writer" };
            examples.push(format!("{how}, not named {missing:?}: {}", answer.describe()));
        }
    }
    let ledger = stack.ledger().await?;
    let restored = |entry: &&Value| {
        let written = |key: &str| entry["changes"][key].is_string();
        entry["writer"] == "gateway" && OTHERS.iter().any(|key| written(key))
    };
    let restored = ledger.iter().filter(restored).count();
    println!(
        "vanish: of {CALLS} writes during which keys of others went, {silent} did not name them; keys of \
         others were written {restored} times"
    );
    if let Some(example) = examples.first() {
        println!("  FALSE {example}");
    }
    Ok(silent == 0 && restored == 0)
}
