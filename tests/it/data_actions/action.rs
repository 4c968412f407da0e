//! An action as its file states it, and one execution of it.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, Uri};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::contract::Contract;
use super::template::{Context, Malformed, Template};
use super::translation::Translation;
use crate::harness::TestApp;

/// Longest name of an action.
const MAX_NAME_BYTES: usize = 256;

/// A `*.custom.json` file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// How Architect lists it.
    pub name: String,
    #[serde(rename = "integrationType")]
    integration: String,
    #[serde(rename = "actionType")]
    kind: String,
    /// Request and response.
    pub config: Config,
    /// What goes in and what comes out.
    pub contract: Contracts,
    #[serde(rename = "secure")]
    _secure: bool,
}

/// How the action does its work.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is sent.
    pub request: Outgoing,
    /// What becomes of the answer.
    pub response: Translation,
}

/// The `config.request` of an action.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Outgoing {
    /// Where to.
    pub request_url_template: String,
    /// The method.
    pub request_type: String,
    /// Headers, their values templates too.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub request_template: String,
}

/// Both contracts.
#[derive(Clone, Debug)]
pub struct Contracts {
    /// Of the inputs.
    pub input: Contract,
    /// Of the outputs.
    pub output: Contract,
}

impl<'de> Deserialize<'de> for Contracts {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Both {
            input: Input,
            output: Output,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        struct Input {
            input_schema: Contract,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        struct Output {
            success_schema: Contract,
        }
        let both = Both::deserialize(from)?;
        Ok(Self { input: both.input.input_schema, output: both.output.success_schema })
    }
}

/// Why an execution did not end on the Success path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was sent: the inputs do not fit, or the request made of them is none.
    Refused(String),
    /// The service answered otherwise than with 2xx, or with something that is no JSON.
    RemoteEndpoint { status: u16, body: String },
    /// The answer could not be made into an output that fits the contract.
    Translation(String),
}

impl Action {
    /// Reads a file as an import would, and refuses what cannot work.
    pub fn import(text: &str) -> Result<Self, Malformed> {
        let action: Self =
            serde_json::from_str(text).map_err(|error| Malformed(error.to_string()))?;
        action.refused().map_or(Ok(action), |what| Err(Malformed(what)))
    }

    fn refused(&self) -> Option<String> {
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES {
            return Some("a name of 1 to 256 characters is needed".into());
        }
        if self.integration != "custom-rest-actions" || self.kind != "custom" {
            return Some("it is no custom action of a web service".into());
        }
        let Contracts { input, output } = &self.contract;
        input
            .refused_as_input()
            .or_else(|| output.refused_as_output())
            .or_else(|| self.config.request.refused(input))
            .or_else(|| self.config.response.refused())
    }

    /// Runs it with these inputs against the service, as if that were at the URL of the file.
    pub async fn execute(
        &self,
        app: &TestApp,
        inputs: &Value,
        credentials: &Value,
    ) -> Result<Value, Failure> {
        let refused = |Malformed(what)| Failure::Refused(what);
        let request = self.request(inputs, credentials).map_err(refused)?;
        let answer = app.send(request).await;
        self.output(answer.status, answer.text)
    }

    /// What is sent for these inputs.
    pub fn request(&self, inputs: &Value, credentials: &Value) -> Result<Request<Body>, Malformed> {
        let members = inputs.as_object().ok_or(Malformed("inputs are an object".into()))?;
        if let Some(what) = self.contract.input.mismatch(members) {
            return Err(Malformed(what));
        }
        self.config.request.made_of(members, credentials)
    }

    fn output(&self, status: u16, body: String) -> Result<Value, Failure> {
        let answer: Value = match serde_json::from_str(&body) {
            Ok(answer) if (200..300).contains(&status) => answer,
            _ => return Err(Failure::RemoteEndpoint { status, body }),
        };
        let translation = |Malformed(what)| Failure::Translation(what);
        let output = self.config.response.apply(&answer).map_err(translation)?;
        let none = Map::new();
        match self.contract.output.mismatch(output.as_object().unwrap_or(&none)) {
            Some(what) => Err(Failure::Translation(what)),
            None => Ok(output),
        }
    }
}

impl Outgoing {
    fn refused(&self, inputs: &Contract) -> Option<String> {
        if !["GET", "PUT", "POST", "PATCH", "DELETE"].contains(&self.request_type.as_str()) {
            return Some(format!("`{}` is no method of an action", self.request_type));
        }
        if self.request_type == "GET" && self.request_template != "${input.rawRequest}" {
            return Some("a GET sends no body; its template stays `${input.rawRequest}`".into());
        }
        if !self.request_url_template.starts_with("https://") {
            return Some("the URL has to start with `https://`".into());
        }
        let accept = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("accept"));
        if accept.is_some_and(|(_, kind)| !kind.ends_with("json")) {
            return Some("`Accept` has to be a JSON type".into());
        }
        let templates = [&self.request_url_template, &self.request_template];
        templates.into_iter().chain(self.headers.values()).find_map(|text| strays(text, inputs))
    }

    fn made_of(
        &self,
        inputs: &Map<String, Value>,
        credentials: &Value,
    ) -> Result<Request<Body>, Malformed> {
        let mut input = inputs.clone();
        input.insert("rawRequest".into(), json!(inputs).to_string().into());
        let context = Context::from([
            ("input".into(), input.into()),
            ("credentials".into(), credentials.clone()),
        ]);
        let render = |text: &str| Ok(Template::parse(text)?.render(&context));
        let url = render(&self.request_url_template)?;
        let uri: Uri = url.parse().map_err(|_| Malformed(format!("`{url}` is no URL")))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(self.request_type.as_str()).uri(path);
        for (name, template) in &self.headers {
            let value = render(template)?;
            let bad = || Malformed(format!("the header `{name}` cannot be sent"));
            let value = HeaderValue::from_str(&value).map_err(|_| bad())?;
            request = request.header(HeaderName::try_from(name).map_err(|_| bad())?, value);
        }
        let body = if self.request_type == "GET" {
            Body::empty()
        } else {
            // The platform sends in chunks by default, so without a length.
            request = request.header("transfer-encoding", "chunked");
            Body::from(render(&self.request_template)?)
        };
        request.body(body).map_err(|error| Malformed(error.to_string()))
    }
}

/// A mistake in a template of a request: it is none, or names what is not there.
fn strays(text: &str, inputs: &Contract) -> Option<String> {
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(Malformed(what)) => return Some(what),
    };
    template.variables().into_iter().find_map(|name| match name.split_once('.') {
        Some(("credentials", _) | ("input", "rawRequest")) => None,
        Some(("input", input)) if inputs.properties.contains_key(input) => None,
        _ => Some(format!("`{name}` is no input")),
    })
}
