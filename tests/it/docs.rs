//! `/docs`: the page, what it is allowed, and that it has all it needs.

use std::io::Read as _;

use axum::body::Body;
use http_body_util::BodyExt as _;

use crate::harness::{TestApp, request};

/// The `Referrer-Policy` and `Cache-Control` of the page and of its parts.
const GUARDS: [(&str, &str); 2] = [("no-referrer", "no-cache"), ("no-referrer", "max-age=86400")];

/// What was sent, as a browser reads it.
fn plain(sent: &[u8], encoding: &str) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        "gzip" => flate2::read::GzDecoder::new(sent).read_to_end(&mut plain).expect("gzip"),
        _ => std::io::Cursor::new(sent).read_to_end(&mut plain).expect("memory"),
    };
    plain
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

#[tokio::test(start_paused = true)]
async fn the_docs_page_is_self_hosted_under_a_strict_policy() {
    let app = TestApp::new().start().await;
    let page = app.get("/docs").await;
    page.assert_status(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("content-security-policy"), POLICY);
    assert!(!page.text.contains("://"), "nothing from elsewhere");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!((page.header("referrer-policy"), page.header("cache-control")), GUARDS[0]);
    assert_eq!(page.header("content-encoding"), "");
    // Each with words that only the real file holds.
    let parts: [(&str, &str, &str, &[u8]); 5] = [
        ("docs/swagger-ui.css", "text/css", "gzip", b".swagger-ui "),
        ("docs/index.css", "text/css", "gzip", b"box-sizing"),
        ("docs/swagger-ui-bundle.js", "text/javascript", "gzip", b"SwaggerUIBundle"),
        (
            "docs/start.js",
            "text/javascript",
            "",
            include_bytes!("../../src/http/swagger_ui/start.js"),
        ),
        ("docs/favicon-32x32.png", "image/png", "gzip", b"\x89PNG\r\n\x1a\n"),
    ];
    for (name, kind, encoding, holds) in parts {
        assert!(page.text.contains(&format!("\"{name}\"")), "{name}");
        let part = request("GET", &format!("/{name}")).body(Body::empty()).expect("a request");
        let part = tower::ServiceExt::oneshot(app.router(), part).await.expect("infallible");
        assert_eq!(part.status(), 200);
        let (head, body) = part.into_parts();
        let header = |name| head.headers.get(name).map_or("", |text| text.to_str().expect("text"));
        assert!(header("content-type").starts_with(kind), "{name}");
        assert_eq!(header("content-security-policy"), POLICY);
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!((header("referrer-policy"), header("cache-control")), GUARDS[1]);
        assert_eq!(header("content-encoding"), encoding, "{name}");
        let sent = body.collect().await.expect("a whole body").to_bytes();
        let bytes = plain(&sent, encoding);
        let found = bytes.windows(holds.len()).any(|part| part == holds);
        assert!(found, "{name} holds something else");
    }
    app.get("/docs/swagger-initializer.js").await.assert_problem(404, "not-found", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn browsers_get_pages_with_one_stylesheet_and_other_clients_do_not() {
    let app = TestApp::new().start().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for path in ["/", "/problems/write-superseded"] {
        let page = app.get_as(browser, path).await;
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        assert!(page.header("content-security-policy").contains("style-src 'self'"), "{path}");
        assert!(page.text.contains(r#"<link rel="stylesheet" href="/docs/style.css">"#), "{path}");
        assert!(page.text.contains("width=device-width"), "readable on a phone: {path}");
    }
    assert!(app.get_as(browser, "/").await.text.contains(r#"href="/docs""#));
    assert!(app.get_as("*/*", "/").await.header("content-type").starts_with("application/json"));
    let forced = app.get_as(browser, "/?format=text").await;
    assert!(forced.header("content-type").starts_with("text/plain"));
    let style = app.get("/docs/style.css").await;
    assert_eq!(style.header("content-type"), "text/css");
    let (light, dark) = style.text.split_once("prefers-color-scheme: dark").expect("dark rules");
    for colour in ["ink", "muted", "paper", "card", "line", "link"] {
        let is_set = |rules: &str| rules.contains(&format!("--{colour}: #"));
        assert!(is_set(light) && is_set(dark), "{colour}");
    }
    assert!(light.contains("color-scheme: light dark"), "also form controls and scrollbars");
}
