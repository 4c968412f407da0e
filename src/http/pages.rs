//! Pages for people: what this service is, what an error code means, and the runbooks of the alerts. Each
//! is Markdown, which browsers get as HTML.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::negotiate::{HTML, JSON, PLAIN_TEXT, ResponseFormat, TEXT, quality};
use super::params::FormatParam;
use super::problem::Problem;
use super::query::StrictQuery;
use super::state::AppState;
use super::text_table::ToText;
use super::{paths, problem};
use crate::error::ErrorCode;

/// The pages load the stylesheet of this origin, and run nothing.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const TITLE: &str = "Attribute gateway";

/// The name of each alert of `deploy/observability`, and its page.
macro_rules! runbooks {
    ($($alert:literal)*) => {
        &[$(($alert, include_str!(concat!("../../docs/runbooks/", $alert, ".md")))),*]
    };
}

const RUNBOOKS: &[(&str, &str)] = runbooks![
    "AttributeGatewayAuditLost"
    "AttributeGatewayCallBudgetDegraded"
    "AttributeGatewayCallBudgetNearLimit"
    "AttributeGatewayCertificateExpiresSoon"
    "AttributeGatewayClientStarved"
    "AttributeGatewayClientsFileInvalid"
    "AttributeGatewayCredentialsRefused"
    "AttributeGatewayDown"
    "AttributeGatewayErrorBudgetBurnFast"
    "AttributeGatewayErrorBudgetBurnSlow"
    "AttributeGatewayKeysLost"
    "AttributeGatewayLogLinesLost"
    "AttributeGatewayNotReady"
    "AttributeGatewayOperationsBacklog"
    "AttributeGatewayOperationsExpired"
    "AttributeGatewayOperationsLate"
    "AttributeGatewayStoreUnreachable"
    "AttributeGatewaySupersededSpike"
    "AttributeGatewayTlsReloadFailing"
    "AttributeGatewayTokenRenewalFailing"
    "AttributeGatewayUpstreamThrottled"
    "AttributeGatewayUpstreamUnavailable"
    "AttributeGatewayWritesUnverified"
];

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
}

impl ToText for ServiceResponse {
    fn text(&self) -> String {
        let Self { service, version, description, .. } = self;
        let links = [
            ("API documentation", &self.docs),
            ("OpenAPI document", &self.openapi),
            ("Readiness", &self.readiness),
            ("Metrics", &self.metrics),
            ("Live conversations", &self.conversations),
            ("Attributes of a conversation", &self.attributes),
            ("Explanation of an error code", &self.problems),
        ];
        // A template is not a link.
        let links = links.map(|(name, url)| {
            if url.contains('{') {
                format!("- {name}: `{url}`\n")
            } else {
                format!("- [{name}]({url})\n")
            }
        });
        format!("{service} {version}\n\n{description}.\n\n{}", links.concat())
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
    State(AppState { ops, .. }): State<AppState>,
    headers: HeaderMap,
    StrictQuery(asked): StrictQuery<FormatParam>,
) -> Result<Response, Problem> {
    let public_url = ops.documents.public_url();
    let service = ServiceResponse::new(public_url);
    let prefers_html =
        quality(&headers, HTML) > quality(&headers, JSON).max(quality(&headers, TEXT));
    if asked.format.is_none() && prefers_html {
        return Ok(html(TITLE, &format!("# {TITLE}\n\n{}", service.text()), public_url));
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
    State(state): State<AppState>,
    headers: HeaderMap,
    code: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let code = code.ok().and_then(|Path(code)| ErrorCode::parse(&code));
    let code =
        code.ok_or_else(|| Problem::new(ErrorCode::NotFound, "there is no such problem code"))?;
    Ok(page(code.title(), &explanation(code), &headers, &state))
}

/// Get the runbook of an alert
///
/// What the alert means, and what to do. HTML for clients that prefer it, otherwise text.
#[utoipa::path(get, path = paths::RUNBOOK, operation_id = "getRunbook", tag = "documentation",
    params(("alert" = String, Path, description = "Name of an alert", example = "AttributeGatewayNotReady")),
    responses((status = 200, description = "Meaning, impact, diagnosis and mitigation", content(
        (String = "text/plain"), (String = "text/html"),
    ))))]
pub(super) async fn runbook(
    State(state): State<AppState>,
    headers: HeaderMap,
    alert: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let found = alert.ok().and_then(|Path(alert)| RUNBOOKS.iter().find(|(name, _)| *name == alert));
    let (alert, markdown) = found
        .ok_or_else(|| Problem::new(ErrorCode::NotFound, "there is no runbook for this alert"))?;
    Ok(page(alert, markdown, &headers, &state))
}

fn explanation(code: ErrorCode) -> String {
    let (title, cause, hint) = (code.title(), code.cause(), code.hint());
    let (name, status) = (code.as_str(), problem::status(code));
    let repeat = if code.retryable() {
        "Yes: the same request can succeed if you repeat it."
    } else {
        "No: first change the request, or what caused the problem."
    };
    format!(
        "# {title}\n\n`{name}`, status {status}\n\n## What happened\n\n{cause}\n\n## What to do\n\n{hint}\n\n\
         ## Can I repeat the request?\n\n{repeat}\n"
    )
}

fn page(title: &str, markdown: &str, headers: &HeaderMap, state: &AppState) -> Response {
    if quality(headers, HTML) > quality(headers, TEXT) {
        return html(title, markdown, state.ops.documents.public_url());
    }
    ([(CONTENT_TYPE, PLAIN_TEXT)], markdown.to_owned()).into_response()
}

fn html(title: &str, markdown: &str, public_url: &str) -> Response {
    let url = |path: &str| escaped(&format!("{public_url}{path}"));
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><link rel=\"stylesheet\" href=\"{style}\"></head>\n\
         <body>\n<main>\n<nav><a href=\"{home}\">{TITLE}</a></nav>\n{body}</main>\n</body>\n</html>\n",
        title = escaped(title),
        style = url(paths::STYLESHEET),
        home = url(paths::ROOT),
        body = rendered(markdown),
    );
    ([(CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(page)).into_response()
}

/// The Markdown that the pages use, as HTML: headings, paragraphs, lists, and what is in a line.
fn rendered(markdown: &str) -> String {
    let mut text = String::new();
    let mut list = "";
    for line in markdown.lines().filter(|line| !line.is_empty()) {
        let numbered = line.split_once(". ").filter(|(number, _)| number.parse::<u8>().is_ok());
        let (kind, tag, content) = match (line.split_once(' '), numbered) {
            (_, Some((_, item))) => ("ol", "li", item),
            (Some(("-", item)), _) => ("ul", "li", item),
            (Some(("#", title)), _) => ("", "h1", title),
            (Some(("##", title)), _) => ("", "h2", title),
            _ => ("", "p", line),
        };
        if kind != list {
            text += &tag_line("/", list);
            text += &tag_line("", kind);
            list = kind;
        }
        text += &["<", tag, ">", &inline(content), "</", tag, ">\n"].concat();
    }
    text + &tag_line("/", list)
}

fn tag_line(slash: &str, name: &str) -> String {
    if name.is_empty() { String::new() } else { ["<", slash, name, ">\n"].concat() }
}

/// A line with its code and its links. A link to another runbook stays within `/docs/runbooks`; other
/// pages of the repository are not served, so only the text of such a link is shown.
fn inline(line: &str) -> String {
    let parts = line.split('`').enumerate().map(|(position, part)| {
        if position % 2 == 1 { format!("<code>{}</code>", escaped(part)) } else { linked(part) }
    });
    parts.collect()
}

fn linked(text: &str) -> String {
    let link = || {
        let (before, rest) = text.split_once('[')?;
        let (name, rest) = rest.split_once("](")?;
        let (target, rest) = rest.split_once(')')?;
        Some((before, name, target, rest))
    };
    let Some((before, name, target, rest)) = link() else { return escaped(text) };
    let target = match target.split_once(".md") {
        None => Some(target),
        Some((page, _)) => Some(page).filter(|page| !page.contains('/')),
    };
    let link = |target| format!("<a href=\"{}\">{}</a>", escaped(target), escaped(name));
    let shown = target.map_or_else(|| escaped(name), link);
    escaped(before) + &shown + &linked(rest)
}

/// Text with HTML characters escaped, also for attributes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_cause_is_more_than_the_title_and_not_the_remedy() {
        for code in ErrorCode::ALL {
            let cause = code.cause();
            assert!(cause.len() > code.title().len() && cause.ends_with('.'), "{cause}");
            assert!(cause != code.hint(), "{cause}");
        }
    }

    #[test]
    fn every_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks");
        let files = std::fs::read_dir(folder).expect("the folder").map(|file| {
            let name = file.expect("readable").file_name();
            name.to_string_lossy().trim_end_matches(".md").to_owned()
        });
        let served = RUNBOOKS.iter().map(|(alert, _)| (*alert).to_owned());
        assert_eq!(served.collect::<BTreeSet<_>>(), files.collect());
    }

    #[test]
    fn the_markdown_of_a_page_becomes_html() {
        let page = "# A & B\n\nSee `x<y` and [C](C.md), or [D](../d.md#e).\n\n## Steps\n\n\
                    1. One.\n2. Two.\n\n- A.\n\nEnd.\n";
        assert_eq!(
            rendered(page),
            "<h1>A &amp; B</h1>\n\
             <p>See <code>x&lt;y</code> and <a href=\"C\">C</a>, or D.</p>\n\
             <h2>Steps</h2>\n<ol>\n<li>One.</li>\n<li>Two.</li>\n</ol>\n<ul>\n<li>A.</li>\n</ul>\n\
             <p>End.</p>\n"
        );
    }

    #[test]
    fn no_page_uses_markdown_that_is_not_rendered() {
        for (alert, markdown) in RUNBOOKS {
            let html = rendered(markdown);
            for left in ["](", "**", "```", "###", "|--"] {
                assert!(!html.contains(left), "{alert}: {left}");
            }
            assert_eq!(html.matches("<h2>").count(), 4, "{alert}");
        }
    }
}
