use axum::http::{HeaderMap, Response as HttpResponse};
use http_body_util::BodyExt;

use super::*;
use crate::domain::{
    AttributeKey, AttributeValue, KeyOutcome, ParticipantSummary, SelectionRule,
    VerificationStatus, VerificationSummary, WriteReport,
};

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
async fn every_code_has_the_members_of_a_problem() {
    for code in ErrorCode::ALL {
        let (status, headers, json) = written(&Problem::new(code, "what went wrong")).await;
        assert_eq!(headers[CONTENT_TYPE], PROBLEM_JSON);
        let expected = serde_json::json!({
            "type": format!("/problems/{}", code.as_str()),
            "title": code.title(),
            "status": status.as_u16(),
            "detail": "what went wrong",
            "instance": about().instance,
            "code": code.as_str(),
            "message": "what went wrong",
            "requestId": "req-1",
            "correlationId": "corr-1",
            "retryable": code.retryable(),
            "effect": "notApplied",
            "hint": code.hint(),
        });
        assert_eq!(json, expected);
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

fn superseded() -> Problem {
    let key = AttributeKey::existing("loyalty_tier");
    let report = WriteReport {
        conversation: "8e0f1a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b".parse().expect("id"),
        participant: ParticipantSummary {
            id: "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0".parse().expect("id"),
            purpose: "customer".into(),
            state: Some("connected".into()),
        },
        chosen_by: SelectionRule::Purpose,
        attributes: [(key.clone(), AttributeValue::new("silver"))].into_iter().collect(),
        fresh: false,
        outcomes: [(key, KeyOutcome::Superseded)].into(),
        verification: VerificationSummary {
            status: VerificationStatus::Superseded,
            reads: 3,
            elapsed_ms: 1_240,
        },
        warnings: Vec::new(),
        dry_run: false,
        resulting: None,
    };
    let error = Error::Superseded(Box::new(report));
    Problem::from(RequestFailure { error, effect: Effect::Applied })
}

#[tokio::test]
async fn a_superseded_write_has_the_members_of_its_answer_too() {
    let (status, headers, json) = written(&superseded()).await;
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
