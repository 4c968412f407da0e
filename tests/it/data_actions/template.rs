//! The templates of data actions: as much of the Velocity language as the vendor documents for them,
//! and nothing else. Where Velocity would print a mistake as it stands, or where its versions
//! differ, this refuses: a file that passes here leaves nothing to the mood of the platform.
//!
//! What is as in Velocity: an unresolved `${x}` prints itself, `$!{x}` prints nothing, and what a
//! variable holds is never read as a template again.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::macros::Macro;
use super::parser::Parser;

/// What is wrong with a template, for its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The variables of a template, by their first name.
pub type Context = BTreeMap<String, Value>;

/// A template that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub(super) Vec<Node>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Printed as it stands.
    Text(String),
    /// `${…}`, `$!{…}`, `$tool.method(…)`.
    Reference(Reference),
    /// `#if(…) … #else … #end`.
    If { condition: Condition, then: Vec<Node>, otherwise: Vec<Node> },
}

/// A variable or a call, with the text that stands for it if it has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// As it stands in the template.
    pub source: String,
    /// `$!`: prints nothing instead of its source.
    pub silent: bool,
    /// What it names.
    pub target: Target,
}

/// What a reference names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `input.key`
    Path(Vec<String>),
    /// `esc.url(${input.key})`
    Call(Macro, Box<Argument>),
}

/// What stands between the parentheses of a macro.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// `${input.key}`
    Reference(Reference),
    /// `"… ${input.key} …"` or `'…'`, in which nothing is replaced.
    Text(Vec<Node>),
}

/// `"…" == "…"` or `!=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Left side.
    pub left: Vec<Node>,
    /// Whether the sides are to be equal.
    pub equal: bool,
    /// Right side.
    pub right: Vec<Node>,
}

impl Template {
    /// Parses a template, or returns what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        Parser::new(text).whole().map(Self)
    }

    /// The text that it makes of these variables.
    pub fn render(&self, context: &Context) -> String {
        print(&self.0, context)
    }

    /// The variables that it names, also those within macros and conditions.
    pub fn variables(&self) -> Vec<String> {
        let mut found = Vec::new();
        for node in &self.0 {
            node.collect(&mut found);
        }
        found
    }

    /// The variables that are printed without a macro around them.
    pub fn unescaped(&self) -> Vec<String> {
        let mut found = Vec::new();
        printed_plainly(&self.0, &mut found);
        found
    }
}

fn print(nodes: &[Node], context: &Context) -> String {
    nodes.iter().map(|node| node.print(context)).collect()
}

fn printed_plainly(nodes: &[Node], found: &mut Vec<String>) {
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Reference(reference) => {
                if let Target::Path(path) = &reference.target {
                    found.push(path.join("."));
                }
            }
            Node::If { then, otherwise, .. } => {
                printed_plainly(then, found);
                printed_plainly(otherwise, found);
            }
        }
    }
}

impl Node {
    fn print(&self, context: &Context) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Reference(reference) => reference.print(context),
            Self::If { condition, then, otherwise } => {
                let same = print(&condition.left, context) == print(&condition.right, context);
                print(if same == condition.equal { then } else { otherwise }, context)
            }
        }
    }

    fn collect(&self, found: &mut Vec<String>) {
        match self {
            Self::Text(_) => {}
            Self::Reference(reference) => reference.collect(found),
            Self::If { condition, then, otherwise } => {
                let parts = [&condition.left, &condition.right, then, otherwise];
                parts.into_iter().flatten().for_each(|node| node.collect(found));
            }
        }
    }
}

impl Reference {
    fn print(&self, context: &Context) -> String {
        let unresolved = || if self.silent { String::new() } else { self.source.clone() };
        self.value(context).unwrap_or_else(unresolved)
    }

    /// Its value as text; a macro of nothing is nothing.
    fn value(&self, context: &Context) -> Option<String> {
        match &self.target {
            Target::Path(path) => looked_up(path, context),
            Target::Call(called, argument) => {
                let text = match argument.as_ref() {
                    Argument::Reference(reference) => reference.value(context)?,
                    Argument::Text(nodes) => print(nodes, context),
                };
                Some(called.apply(&text))
            }
        }
    }

    fn collect(&self, found: &mut Vec<String>) {
        match &self.target {
            Target::Path(path) => found.push(path.join(".")),
            Target::Call(_, argument) => match argument.as_ref() {
                Argument::Reference(reference) => reference.collect(found),
                Argument::Text(nodes) => nodes.iter().for_each(|node| node.collect(found)),
            },
        }
    }
}

fn looked_up(path: &[String], context: &Context) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let found = rest.iter().try_fold(context.get(first)?, |value, name| value.get(name))?;
    match found {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
