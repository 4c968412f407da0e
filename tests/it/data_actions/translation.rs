//! From the answer of the web service to the output of the action: a map of JSON paths, defaults for
//! what they do not find, and a template that puts the pieces together.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::template::{Context, Malformed, Template};

/// The `config.response` of an action.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Translation {
    /// Name of a variable, and where its value stands in the answer.
    #[serde(default, rename = "translationMap")]
    pub map: BTreeMap<String, String>,
    /// JSON text for a variable whose path finds nothing.
    #[serde(default, rename = "translationMapDefaults")]
    pub defaults: BTreeMap<String, String>,
    /// Makes the output of the variables.
    pub success_template: String,
}

impl Translation {
    /// What is wrong with it before any answer is there.
    pub fn refused(&self) -> Option<String> {
        let names = |name: &String| self.map.contains_key(name) || name == "rawResult";
        for (name, path) in &self.map {
            if let Err(Malformed(what)) = steps(path) {
                return Some(format!("`{name}`: {what}"));
            }
        }
        for (name, text) in &self.defaults {
            if !self.map.contains_key(name) {
                return Some(format!("a default for `{name}`, which is not translated"));
            }
            if serde_json::from_str::<Value>(text).is_err() {
                return Some(format!("the default of `{name}` is no JSON"));
            }
        }
        match Template::parse(&self.success_template) {
            Err(Malformed(what)) => Some(what),
            Ok(template) => {
                let stray = template.variables().into_iter().find(|name| !names(name));
                stray.map(|name| format!("`{name}` is not translated"))
            }
        }
    }

    /// The output that it makes of an answer, or what went wrong.
    pub fn apply(&self, answer: &Value) -> Result<Value, Malformed> {
        let mut context = Context::from([("rawResult".into(), answer.to_string().into())]);
        for (name, path) in &self.map {
            let found = steps(path)?.iter().try_fold(answer, |value, step| value.get(step));
            // What is found as null is null: it does not fall back to the default.
            let text = match found {
                Some(Value::Null) => Value::Null,
                Some(value) => value.to_string().into(),
                None => self.defaults.get(name).cloned().into(),
            };
            context.insert(name.clone(), text);
        }
        let output = Template::parse(&self.success_template)?.render(&context);
        serde_json::from_str(&output)
            .map_err(|error| Malformed(format!("the success template made no JSON: {error}")))
    }
}

/// The members that a path goes through: `$.a.b` or `$['a']`. Indexes and filters are not emulated.
fn steps(path: &str) -> Result<Vec<String>, Malformed> {
    let unknown = || Malformed(format!("`{path}` is no path known here"));
    let mut rest = path.strip_prefix('$').ok_or_else(unknown)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, behind) = if let Some(quoted) = rest.strip_prefix("['") {
            quoted.split_once("']").ok_or_else(unknown)?
        } else {
            let named = rest.strip_prefix('.').ok_or_else(unknown)?;
            named.split_at(named.find(['.', '[']).unwrap_or(named.len()))
        };
        let plain = |c: char| c.is_alphanumeric() || " _-".contains(c);
        if step.is_empty() || !step.chars().all(plain) {
            return Err(unknown());
        }
        steps.push(step.to_owned());
        rest = behind;
    }
    Ok(steps)
}
