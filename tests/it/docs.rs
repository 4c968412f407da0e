//! `/docs`: the page, what it is allowed, and that it has all it needs.

use axum::body::Body;

use crate::harness::{TestApp, request};

#[tokio::test(start_paused = true)]
async fn the_page_and_its_parts_come_from_the_gateway_under_a_strict_policy() {
    let app = TestApp::new().start().await;
    let page = app.get("/docs").await;
    page.assert_status(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let expected = "default-src 'none'; script-src 'self'; style-src 'self'; \
                    img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                    form-action 'none'; frame-ancestors 'none'";
    assert_eq!(page.header("content-security-policy"), expected);
    assert!(!page.text.contains("://"), "nothing from elsewhere");
    let kinds = [
        ("docs/swagger-ui.css", "text/css"),
        ("docs/index.css", "text/css"),
        ("docs/swagger-ui-bundle.js", "text/javascript"),
        ("docs/start.js", "text/javascript"),
        ("docs/favicon-32x32.png", "image/png"),
    ];
    for (name, kind) in kinds {
        assert!(page.text.contains(&format!("\"{name}\"")), "{name}");
        let part = request("GET", &format!("/{name}")).body(Body::empty()).expect("a request");
        let part = tower::ServiceExt::oneshot(app.router(), part).await.expect("infallible");
        assert_eq!(part.status(), 200);
        let header = |name: &str| part.headers()[name].to_str().expect("text").to_owned();
        assert!(header("content-type").starts_with(kind), "{name}");
        assert_eq!(header("content-security-policy"), expected);
        assert_eq!(header("x-content-type-options"), "nosniff");
    }
    app.get("/docs/swagger-initializer.js").await.assert_problem(404, "not-found", "notApplied");
}
