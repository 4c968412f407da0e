//! Distributed tracing: the trace that a request belongs to, and where its spans go.
//!
//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): a client's `traceparent` is passed
//! on to upstream. Where spans are exported, the gateway's own spans stand between the two.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::{AttemptOutcome, PlatformOperation};

/// Correlation ids are UUIDs; longer ones are cut, since they go into logs and answers.
pub(super) const MAX_CORRELATION_ID_BYTES: usize = 64;

const SAMPLED: u8 = 1;

/// Receives exchanges with upstream that have ended. Never blocks.
pub trait TraceExporter: Send + Sync + fmt::Debug {
    fn attempt(&self, span: &TraceSpan, attempt: &UpstreamAttempt);
}

/// The content of a `traceparent`: a trace, and one span in it. Neither id is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: u128,
    pub span: u64,
    flags: u8,
}

impl TraceContext {
    pub fn begin(sampled: bool) -> Self {
        let trace = u128::from(fastrand::u64(1..)) << 64 | u128::from(fastrand::u64(..));
        Self { trace, span: fastrand::u64(1..), flags: u8::from(sampled) }
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self { span: fastrand::u64(1..), ..self }
    }

    /// Parses a `traceparent`. Of a later version only the parts known here are kept.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut hex = |length: usize| {
            let part = parts.next()?;
            let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            (part.len() == length && part.bytes().all(lower))
                .then(|| u128::from_str_radix(part, 16).ok())?
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        // Only later versions may append parts of their own.
        let complete = parts.next().is_none() || version != 0;
        let valid = version != 0xff && trace != 0 && span != 0 && complete;
        let (span, flags) = (u64::try_from(span).ok()?, u8::try_from(flags).ok()?);
        valid.then_some(Self { trace, span, flags })
    }

    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// One step of a trace. Without an exporter, it is the span of the client, passed on unchanged.
#[derive(Clone, Debug)]
pub struct TraceSpan {
    pub context: TraceContext,
    pub parent: Option<TraceContext>,
    exporter: Option<Arc<dyn TraceExporter>>,
}

impl TraceSpan {
    pub fn new(
        context: TraceContext,
        parent: Option<TraceContext>,
        exporter: Option<Arc<dyn TraceExporter>>,
    ) -> Self {
        Self { context, parent, exporter }
    }

    /// A child span; the span itself where spans are not exported.
    #[must_use]
    pub fn step(&self) -> Self {
        if !self.is_exported() {
            return self.clone();
        }
        Self { context: self.context.next(), parent: Some(self.context), ..self.clone() }
    }

    /// Chooses the parent span of shared work: the first that is exported, otherwise the first.
    pub fn prefer(chosen: &mut Option<Self>, other: Option<&Self>) {
        let is_exported = |span: Option<&Self>| span.is_some_and(Self::is_exported);
        if chosen.is_none() || (is_exported(other) && !is_exported(chosen.as_ref())) {
            *chosen = other.cloned();
        }
    }

    pub fn is_exported(&self) -> bool {
        self.exporter.is_some()
    }
}

/// One exchange with upstream, shared by all requests that it is made for.
#[derive(Debug)]
pub struct UpstreamAttempt {
    pub operation: PlatformOperation,
    pub start: Instant,
    /// The span of the request that it was first made for.
    pub span: Option<TraceSpan>,
    end: OnceLock<AttemptEnd>,
}

#[derive(Clone, Debug)]
pub struct AttemptEnd {
    pub took: Duration,
    pub answer: AttemptOutcome,
    pub correlation_id: Option<String>,
}

impl UpstreamAttempt {
    pub(super) fn begin(operation: PlatformOperation, span: Option<TraceSpan>) -> Self {
        Self { operation, start: Instant::now(), span, end: OnceLock::new() }
    }

    /// Records how it ended; only the first call counts.
    pub fn end(&self, answer: AttemptOutcome, correlation_id: Option<&str>) {
        let correlation_id =
            correlation_id.map(|id| id.chars().take(MAX_CORRELATION_ID_BYTES).collect());
        let end = AttemptEnd { took: self.start.elapsed(), answer, correlation_id };
        // A second call would be a defect, but not one worth failing for.
        if self.end.set(end).is_ok()
            && let Some(span) = &self.span
            && let Some(exporter) = &span.exporter
        {
            exporter.attempt(span, self);
        }
    }

    pub fn ended(&self) -> Option<&AttemptEnd> {
        self.end.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn again(text: &str) -> Option<String> {
        TraceContext::read(text).map(|context| context.to_string())
    }

    #[test]
    fn only_a_valid_traceparent_is_passed_on() {
        assert_eq!(again(TRACE).as_deref(), Some(TRACE));
        let later = format!("01{}-more", &TRACE[2..]);
        assert_eq!(again(&later).as_deref(), Some(TRACE), "in the version that we speak");
        for bad in [
            "",
            &TRACE.to_uppercase(),
            &format!("ff{}", &TRACE[2..]),
            &format!("{TRACE}-more"),
            &TRACE[..TRACE.len() - 3],
            &TRACE.replace("b7", "+7"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert_eq!(again(bad), None, "{bad}");
        }
    }

    #[test]
    fn zeroes_in_front_of_ids_are_kept() {
        let small = "00-00000000000000000000000000000001-0000000000000002-00";
        assert_eq!(again(small).as_deref(), Some(small));
        let context = TraceContext::read(small).expect("valid");
        assert_eq!((context.trace, context.span), (1, 2));
        assert!(!context.is_sampled());
    }

    #[test]
    fn what_is_begun_here_can_be_read_again() {
        for sampled in [true, false] {
            let begun = TraceContext::begin(sampled);
            assert_eq!(TraceContext::read(&begun.to_string()), Some(begun));
            assert_eq!(begun.is_sampled(), sampled);
            let next = begun.next();
            assert_eq!(next.trace, begun.trace);
            assert_ne!(next.span, begun.span);
        }
    }

    #[derive(Debug)]
    struct Nowhere;

    impl TraceExporter for Nowhere {
        fn attempt(&self, _: &TraceSpan, _: &UpstreamAttempt) {}
    }

    #[test]
    fn shared_work_stands_below_the_first_that_is_exported() {
        let passed_on = [1, 2].map(|_| TraceSpan::new(TraceContext::begin(true), None, None));
        let exported = [1, 2]
            .map(|_| TraceSpan::new(TraceContext::begin(true), None, Some(Arc::new(Nowhere))));
        let chosen = |spans: [Option<&TraceSpan>; 4]| {
            let mut chosen = None;
            for span in spans {
                TraceSpan::prefer(&mut chosen, span);
            }
            chosen.map(|span| span.context)
        };
        let ([first, second], [third, fourth]) = (&passed_on, &exported);
        let mixed = chosen([None, Some(first), Some(third), Some(fourth)]);
        assert_eq!(mixed, Some(third.context));
        let none = chosen([None, Some(first), Some(second), None]);
        assert_eq!(none, Some(first.context));
    }

    #[test]
    fn what_is_only_passed_on_has_no_steps_of_its_own() {
        let context = TraceContext::read(TRACE).expect("valid");
        assert_eq!(TraceSpan::new(context, None, None).step().context, context);
    }

    #[test]
    fn an_attempt_is_under_way_until_it_has_ended_once() {
        let attempt = UpstreamAttempt::begin(PlatformOperation::Patch, None);
        assert!(attempt.ended().is_none());
        attempt.end(AttemptOutcome::Status(202), Some(&"x".repeat(100)));
        attempt.end(AttemptOutcome::Timeout, None);
        let end = attempt.ended().expect("ended");
        assert_eq!(end.answer, AttemptOutcome::Status(202));
        assert_eq!(end.correlation_id.as_ref().map(String::len), Some(64));
    }
}
