//! The files of `deploy/data-actions`, read at run time as an organisation would import them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::action::{Action, Failure};
use crate::harness::{Builder, TestApp, client};

/// The host in the files, which users replace after the import.
pub const PLACEHOLDER: &str = "https://attributes.example.com/";
/// The API key that the actions send in the tests.
pub const KEY: &str = "ak-0123456789";

/// A gateway that knows only the client with this key.
pub fn guarded() -> Builder {
    TestApp::new().with_clients(&[client("architect", KEY, "")])
}

/// Where the files are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/data-actions")
}

/// The text of each file, by its name without the ending.
pub fn files() -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder()).expect("the folder is there");
    let named = entries.filter_map(|entry| {
        let path = entry.expect("readable").path();
        let name = path.file_name()?.to_str()?.strip_suffix(".custom.json")?.to_owned();
        Some((name, std::fs::read_to_string(&path).expect("text")))
    });
    named.collect()
}

/// Imports one of the files.
#[track_caller]
pub fn import(name: &str) -> Action {
    let files = files();
    let text = files.get(name).unwrap_or_else(|| panic!("there is no {name}.custom.json"));
    Action::import(text).unwrap_or_else(|wrong| panic!("{name}: {wrong}"))
}

/// Runs an action with these inputs; what it ends with.
pub async fn run(app: &TestApp, name: &str, inputs: Value) -> Result<Value, Failure> {
    import(name).execute(app, &inputs, &json!({ "apiKey": KEY })).await
}

/// Runs an action that has to end on the Success path; its output.
pub async fn succeed(app: &TestApp, name: &str, inputs: Value) -> Value {
    run(app, name, inputs).await.unwrap_or_else(|failure| panic!("{name}: {failure:?}"))
}
