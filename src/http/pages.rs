//! Pages for people: what this service is, and what an error code means.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::negotiate::{HTML, JSON, PLAIN_TEXT, TEXT, quality};
use super::params::FormatParam;
use super::problem::Problem;
use super::query::StrictQuery;
use super::response_format::{ResponseFormat, ToText};
use super::state::OpsState;
use super::text_table::facts;
use super::{paths, problem};
use crate::error::ErrorCode;

/// The pages load the stylesheet of this origin, and run nothing.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// What this service is, and its most important URLs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Service)]
pub(super) struct ServiceResponse {
    /// Name of the service.
    service: &'static str,
    /// Version of the service.
    version: &'static str,
    /// What the service does.
    description: &'static str,
    /// URL of the list of live conversations.
    conversations: String,
    /// URL template of the attributes of a conversation.
    attributes: String,
    /// URL of the interactive API documentation.
    docs: String,
    /// URL of the OpenAPI document.
    openapi: String,
    /// URL template of the page that explains an error code.
    problems: String,
    /// URL of the readiness check.
    readiness: String,
    /// URL of the metrics.
    metrics: String,
}

impl ServiceResponse {
    /// The URLs of a service that clients reach at `public_url`.
    fn new(public_url: &str) -> Self {
        let below = |path: &str| format!("{public_url}{path}");
        Self {
            service: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            description: env!("CARGO_PKG_DESCRIPTION"),
            conversations: below(paths::CONVERSATIONS),
            attributes: below(paths::ATTRIBUTES),
            docs: below(paths::DOCS),
            openapi: below(paths::OPENAPI_YAML),
            problems: below(paths::PROBLEM),
            readiness: below(paths::READYZ),
            metrics: below(paths::METRICS),
        }
    }

    fn links(&self) -> [(&'static str, &str); 7] {
        [
            ("API documentation", &self.docs),
            ("OpenAPI document", &self.openapi),
            ("Readiness", &self.readiness),
            ("Metrics", &self.metrics),
            ("Live conversations", &self.conversations),
            ("Attributes of a conversation", &self.attributes),
            ("Explanation of an error code", &self.problems),
        ]
    }
}

impl ToText for ServiceResponse {
    fn text(&self) -> String {
        let Self { service, version, description, .. } = self;
        format!("{service} {version}\n{description}\n\n{}", facts(self.links()))
    }
}

/// Describe the service
///
/// Name, version, and the URLs of the main resources. HTML for clients that prefer it, such as browsers.
#[utoipa::path(get, path = paths::ROOT, operation_id = "getService", tag = "documentation",
    params(FormatParam),
    responses((status = 200, description = "The service and its URLs", content(
        (ServiceResponse = "application/json"), (String = "text/plain"), (String = "text/html"),
    ))))]
pub(super) async fn root(
    State(ops): State<Arc<OpsState>>,
    headers: HeaderMap,
    StrictQuery(asked): StrictQuery<FormatParam>,
) -> Result<Response, Problem> {
    let public_url = ops.documents.public_url();
    let service = ServiceResponse::new(public_url);
    let prefers_html =
        quality(&headers, HTML) > quality(&headers, JSON).max(quality(&headers, TEXT));
    if asked.format.is_none() && prefers_html {
        return Ok(html(landing_page(&service, public_url)));
    }
    Ok(ResponseFormat::negotiate(asked.format, &headers)?.respond(&service))
}

/// Explain a problem code
///
/// The `type` of each problem links to this page. HTML for clients that prefer it, otherwise text.
#[utoipa::path(get, path = paths::PROBLEM, operation_id = "getProblemPage", tag = "documentation",
    params(("code" = String, Path, description = "A problem code", example = "write-superseded")),
    responses((status = 200, description = "What the code means, and what to do", content(
        (String = "text/plain"), (String = "text/html"),
    ))))]
pub(super) async fn problem_page(
    State(ops): State<Arc<OpsState>>,
    headers: HeaderMap,
    code: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let code = code
        .ok()
        .and_then(|Path(code)| ErrorCode::parse(&code))
        .ok_or_else(|| Problem::new(ErrorCode::NotFound, "there is no such problem code"))?;
    if quality(&headers, HTML) > quality(&headers, TEXT) {
        return Ok(html(page_in_html(code, ops.documents.public_url())));
    }
    Ok(([(CONTENT_TYPE, PLAIN_TEXT)], page(code)).into_response())
}

fn html(page: String) -> Response {
    ([(CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(page)).into_response()
}

fn retryable(code: ErrorCode) -> &'static str {
    if code.retryable() {
        "yes: the same request can succeed if you repeat it"
    } else {
        "no: first change the request, or what caused the problem"
    }
}

fn page(code: ErrorCode) -> String {
    let facts = facts([
        ("code:", code.as_str()),
        ("status:", &problem::status(code).to_string()),
        ("retryable:", retryable(code)),
    ]);
    let (title, cause, hint) = (code.title(), code.cause(), code.hint());
    format!("{title}\n\n{facts}\nWhat happened: {cause}\n\nWhat to do: {hint}\n")
}

fn page_in_html(code: ErrorCode, public_url: &str) -> String {
    let [title, cause, hint, retryable] =
        [code.title(), code.cause(), code.hint(), retryable(code)].map(escaped);
    let (home, status) = (escaped(&format!("{public_url}{}", paths::ROOT)), problem::status(code));
    let body = format!(
        "<nav><a href=\"{home}\">Attribute gateway</a></nav>\n\
         <h1>{title}</h1>\n<p><code>{code}</code>, status {status}</p>\n\
         <h2>What happened</h2>\n<p>{cause}</p>\n<h2>What to do</h2>\n<p>{hint}</p>\n\
         <h2>Can I repeat the request?</h2>\n<p>{retryable}</p>",
        code = code.as_str(),
    );
    document(&title, &body, public_url)
}

/// The landing page: what the service is, and its links.
fn landing_page(service: &ServiceResponse, public_url: &str) -> String {
    let links = service.links().map(|(what, url)| {
        let url = escaped(url);
        // A template is not a link.
        let is_link = !url.contains('{');
        let what = if is_link { format!("<a href=\"{url}\">{what}</a>") } else { what.to_owned() };
        format!("<dt>{what}</dt>\n<dd><code>{url}</code></dd>\n")
    });
    let body = format!(
        "<h1>Attribute gateway</h1>\n<p>{description}.</p>\n<dl>\n{links}</dl>\n\
         <p>Version {version}. Metrics and the API need a key where clients are configured.</p>",
        description = escaped(service.description),
        links = links.concat(),
        version = service.version,
    );
    document("Attribute gateway", &body, public_url)
}

/// A page with the stylesheet of the service. `title` and `body` are HTML.
fn document(title: &str, body: &str, public_url: &str) -> String {
    let style = escaped(&format!("{public_url}{}", paths::STYLESHEET));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><link rel=\"stylesheet\" href=\"{style}\"></head>\n\
         <body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
}

/// Text with HTML characters escaped, also for attributes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_in_both_forms() {
        for code in ErrorCode::ALL {
            let text = page(code);
            assert!(text.starts_with(code.title()), "{text}");
            assert!(text.contains(code.hint()) && text.contains(code.cause()), "{text}");
            let html = page_in_html(code, "");
            for part in [code.title(), code.hint(), code.cause()] {
                assert!(html.contains(&escaped(part)), "{html}");
            }
        }
    }

    #[test]
    fn a_cause_is_more_than_the_title_and_not_the_remedy() {
        for code in ErrorCode::ALL {
            let cause = code.cause();
            assert!(cause.len() > code.title().len() && cause.ends_with('.'), "{cause}");
            assert!(cause != code.hint(), "{cause}");
        }
    }
}
