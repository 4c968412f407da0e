//! Parts of the metrics. Labels come from closed sets, so that no client can create time series.

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Bucket bounds in seconds, from a read of a stub nearby (0.5 ms) to the longest deadline (60 s).
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// One label: its name and its value.
pub(super) type Label = [(&'static str, &'static str); 1];

/// A counter with one label.
pub(super) type LabelledCounter = Family<Label, Counter>;

/// Durations with these labels.
pub(super) type Durations<L = Label> = Family<L, Histogram, fn() -> Histogram>;

/// A histogram of durations in seconds.
pub(super) fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Creates metrics and registers them.
pub(super) struct MetricRegistry(pub Registry);

impl MetricRegistry {
    pub(super) fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    pub(super) fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.add(name, help, Counter::default())
    }

    pub(super) fn labelled(&mut self, name: &str, help: &str) -> LabelledCounter {
        self.add(name, help, Family::default())
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.add(name, help, Gauge::default())
    }

    pub(super) fn durations<L>(&mut self, name: &str, help: &str) -> Durations<L>
    where
        L: Clone + Debug + Hash + Eq + EncodeLabelSet + Send + Sync + 'static,
    {
        self.add(name, help, Family::new_with_constructor(seconds as fn() -> Histogram))
    }
}

/// Converts a count for a gauge, which is signed.
pub(super) fn clamp_to_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A time in seconds since 1970. The metric is absent until the time is known, because 0 would look
/// like 1970.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeGauge(Arc<AtomicI64>);

impl TimeGauge {
    pub(super) fn set(&self, time: i64) {
        self.0.store(time, Ordering::Relaxed);
    }

    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl EncodeMetric for TimeGauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.get() == 0
    }
}
