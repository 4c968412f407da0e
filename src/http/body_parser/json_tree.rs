//! A JSON document as a tree that keeps duplicate members, which `serde_json::Value` would drop.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use smol_str::SmolStr;

use crate::domain::MarkedJson;

/// A JSON value. The API reads the members of objects only, so an array keeps no elements.
pub(in crate::http) enum JsonTree {
    Null,
    Bool(bool),
    Number(Number),
    Text(JsonText),
    Array,
    Object(Vec<JsonMember>),
}

pub(in crate::http) type JsonMember = (JsonText, JsonTree);

/// A string. Half of a surrogate pair, which Unicode text cannot contain, stays an escape: `\ud83d`.
pub(in crate::http) struct JsonText {
    pub text: SmolStr,
    pub has_half: bool,
}

/// Why a text is not JSON.
pub(in crate::http) struct SyntaxError {
    /// Names of the members whose value has the mistake, outermost first. Empty for a mistake between
    /// members, which is one of the document.
    pub path: Vec<SmolStr>,
    /// The mistake and its position. It quotes nothing.
    pub detail: String,
}

impl JsonTree {
    /// Parses a document. Nesting deeper than 128 levels is an error, which protects the stack.
    pub(super) fn parse(json: &str) -> Result<Self, SyntaxError> {
        let marked = MarkedJson::new(json);
        let (mut path, mut is_between) = (Vec::new(), false);
        let text = marked.as_ref().map_or(json, MarkedJson::text);
        let mut json = serde_json::Deserializer::from_str(text);
        let tree =
            TreeSeed { marked: marked.as_ref(), path: &mut path, is_between: &mut is_between };
        let tree = tree.deserialize(&mut json);
        if is_between {
            path.clear();
        }
        // A tree accepts every type, so the error is one of syntax, for which `serde_json` has fixed texts.
        tree.and_then(|tree| json.end().map(|()| tree))
            .map_err(|error| SyntaxError { path, detail: error.to_string() })
    }

    pub(in crate::http) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// The value, with empty arrays and objects.
impl From<JsonTree> for Value {
    fn from(tree: JsonTree) -> Self {
        match tree {
            JsonTree::Null => Self::Null,
            JsonTree::Bool(value) => Self::Bool(value),
            JsonTree::Number(value) => Self::Number(value),
            JsonTree::Text(value) => Self::String(value.text.into()),
            JsonTree::Array => Self::Array(Vec::new()),
            JsonTree::Object(_) => Self::Object(serde_json::Map::new()),
        }
    }
}

struct TreeSeed<'a> {
    marked: Option<&'a MarkedJson>,
    path: &'a mut Vec<SmolStr>,
    is_between: &'a mut bool,
}

impl TreeSeed<'_> {
    fn text(&self, parsed: &str) -> JsonText {
        match self.marked.filter(|marked| marked.marks(parsed)) {
            Some(marked) => JsonText { text: marked.escaped(parsed).into(), has_half: true },
            None => JsonText { text: parsed.into(), has_half: false },
        }
    }

    fn child(&mut self) -> TreeSeed<'_> {
        TreeSeed { marked: self.marked, path: self.path, is_between: self.is_between }
    }
}

impl<'de> DeserializeSeed<'de> for TreeSeed<'_> {
    type Value = JsonTree;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<JsonTree, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeSeed<'_> {
    type Value = JsonTree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<JsonTree, E> {
        Ok(JsonTree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<JsonTree, E> {
        Ok(JsonTree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<JsonTree, E> {
        Ok(JsonTree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<JsonTree, E> {
        Ok(JsonTree::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<JsonTree, E> {
        Ok(Number::from_f64(value).map_or(JsonTree::Null, JsonTree::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<JsonTree, E> {
        Ok(JsonTree::Text(self.text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<JsonTree, A::Error> {
        while elements.next_element_seed(self.child())?.is_some() {}
        Ok(JsonTree::Array)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<JsonTree, A::Error> {
        let mut members = Vec::new();
        while let Some(name) =
            entries.next_key::<SmolStr>().inspect_err(|_| *self.is_between = true)?
        {
            let name = self.text(&name);
            match entries.next_value_seed(self.child()) {
                Ok(value) => members.push((name, value)),
                Err(error) => {
                    self.path.insert(0, name.text);
                    return Err(error);
                }
            }
        }
        Ok(JsonTree::Object(members))
    }
}
