use axum::http::{HeaderMap, Response as HttpResponse};
use http_body_util::BodyExt;

use super::*;

fn about() -> ProblemContext<'static> {
    ProblemContext {
        instance: "/v1/conversations/8e0f1a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b/attributes",
        public_url: "",
        request_id: "req-1",
        correlation_id: Some("corr-1"),
        upstream_calls: 4,
        total_bytes: 10_240,
    }
}

async fn written(problem: &Problem) -> (StatusCode, HeaderMap, serde_json::Value) {
    let (mut parts, ()) = HttpResponse::new(()).into_parts();
    let body = problem.write(&about(), &mut parts);
    let bytes = body.collect().await.expect("a body").to_bytes();
    let json = serde_json::from_slice(&bytes).expect("JSON");
    (parts.status, parts.headers, json)
}

#[tokio::test]
async fn every_code_has_a_stable_body() {
    for code in ErrorCode::ALL {
        let (status, headers, json) = written(&Problem::example(code)).await;
        assert_eq!(json["status"], status.as_u16());
        assert_eq!(json["code"], code.as_str());
        assert_eq!(json["type"], format!("/problems/{}", code.as_str()));
        assert_eq!(json["message"], json["detail"]);
        assert_eq!(json["requestId"], "req-1");
        assert_eq!(json["instance"], about().instance);
        assert_eq!(headers[CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(
            headers.contains_key(RETRY_AFTER),
            matches!(status.as_u16(), 429 | 503),
            "{}",
            code.as_str()
        );
        insta::with_settings!({snapshot_path => "../snapshots", prepend_module_to_snapshot => false}, {
            insta::assert_json_snapshot!(format!("problem_{}", code.as_str()), json);
        });
    }
}

#[tokio::test]
async fn retry_after_is_whole_seconds_rounded_up_and_at_least_one() {
    for (wait, seconds) in [(0, 1), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (61_500, 62)] {
        let problem = Problem::from(RequestFailure::harmless(Error::UpstreamRateLimited {
            reason: "throttled",
            retry_after: Duration::from_millis(wait),
        }));
        let (_, headers, json) = written(&problem).await;
        assert_eq!(headers[RETRY_AFTER], seconds.to_string());
        assert_eq!(json["retryAfterSeconds"], seconds);
    }
}

#[tokio::test]
async fn a_superseded_write_has_the_members_of_its_answer_too() {
    let (status, headers, json) = written(&Problem::example(ErrorCode::WriteSuperseded)).await;
    assert_eq!(status, 409);
    assert!(!headers.contains_key("etag"));
    assert_eq!(json["retryable"], false);
    assert_eq!(json["effect"], "applied");
    assert_eq!(json["outcomes"]["loyalty_tier"], "superseded");
    assert_eq!(json["upstreamCalls"], 4);
    assert_eq!(json["size"]["limitBytes"], 10_240);
}

#[tokio::test]
async fn an_internal_cause_is_logged_with_the_request_and_not_shown() {
    use crate::telemetry::{LogLineFormat, LogOutput, TelemetryOutput};
    let (output, captured) = LogOutput::captured();
    let telemetry = TelemetryOutput::new(output, LogLineFormat::Json, "info").expect("a filter");
    let guard = tracing::dispatcher::set_default(telemetry.dispatch());
    let (status, _, json) = written(&Problem::internal("the cause")).await;
    drop(guard);
    assert_eq!(status, 500);
    assert!(!json.to_string().contains("the cause"));
    let log = captured.text();
    assert!(log.contains("the cause") && log.contains("\"request.id\":\"req-1\""), "{log}");
}
