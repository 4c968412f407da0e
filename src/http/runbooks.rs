//! The runbooks of the alerts, so that the link of an alert works wherever the gateway does.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::negotiate::{HTML, PLAIN_TEXT, TEXT, quality};
use super::pages::{document, escaped, html};
use super::paths;
use super::problem::Problem;
use super::state::OpsState;
use crate::error::ErrorCode;

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

/// Get the runbook of an alert
///
/// What the alert means, and what to do. HTML for clients that prefer it, otherwise text.
#[utoipa::path(get, path = paths::RUNBOOK, operation_id = "getRunbook", tag = "documentation",
    params(("alert" = String, Path, description = "Name of an alert", example = "AttributeGatewayNotReady")),
    responses((status = 200, description = "Meaning, impact, diagnosis and mitigation", content(
        (String = "text/plain"), (String = "text/html"),
    ))))]
pub(super) async fn runbook(
    State(ops): State<Arc<OpsState>>,
    headers: HeaderMap,
    alert: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (alert, markdown) = alert
        .ok()
        .and_then(|Path(alert)| RUNBOOKS.iter().find(|(name, _)| *name == alert))
        .ok_or_else(|| Problem::new(ErrorCode::NotFound, "there is no runbook for this alert"))?;
    if quality(&headers, HTML) > quality(&headers, TEXT) {
        let body = format!("<article>\n{}</article>", rendered(markdown));
        return Ok(html(document(alert, &body, ops.documents.public_url())));
    }
    Ok(([(CONTENT_TYPE, PLAIN_TEXT)], *markdown).into_response())
}

/// The Markdown that the runbooks use, as HTML: headings, paragraphs, lists, and what is in a line.
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
/// pages are not served, so only the text of such a link is shown.
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
    let shown = match target.strip_suffix(".md").filter(|alert| !alert.contains('/')) {
        Some(alert) => format!("<a href=\"{}\">{}</a>", escaped(alert), escaped(name)),
        None => escaped(name),
    };
    escaped(before) + &shown + &linked(rest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

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
