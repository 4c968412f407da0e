//! Parts of the metrics. Labels come from closed sets, so that no client can create time series.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use prometheus_client::encoding::{
    EncodeLabelValue, EncodeMetric, LabelValueEncoder, MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use smol_str::SmolStr;

/// Bucket bounds in seconds, up to the longest deadline (60 s). They are dense where writes and the
/// visibility lag usually are, and hold the bounds that matter: 3 s, which is all the time of a data
/// action, and the default deadline of 5 s.
const SECONDS: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0,
    10.0, 60.0,
];

/// Durations in seconds.
#[derive(Clone, Debug)]
pub struct DurationHistogram(Histogram);

impl DurationHistogram {
    pub fn observe(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }
}

impl Default for DurationHistogram {
    fn default() -> Self {
        Self(Histogram::new(SECONDS))
    }
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

/// A gauge of seconds.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// A gauge that is absent until it is set.
pub type OptionalGauge = MetricFamily<0, Gauge>;

/// The value of a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LabelValue {
    Word(SmolStr),
    Status(u16),
}

impl From<&'static str> for LabelValue {
    fn from(word: &'static str) -> Self {
        Self::Word(SmolStr::new_static(word))
    }
}

impl EncodeLabelValue for LabelValue {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => encoder.write_str(word),
            Self::Status(status) => write!(encoder, "{status}"),
        }
    }
}

/// A metric with labels. Unlike `Family` of the library, it hashes only the values, and quickly.
#[derive(Clone, Debug)]
pub struct MetricFamily<const N: usize, M> {
    labels: [&'static str; N],
    series: Arc<RwLock<HashMap<[LabelValue; N], M, RandomState>>>,
}

impl<const N: usize, M: Default> MetricFamily<N, M> {
    /// The metric with these labels, which appears with its first use.
    pub fn with(&self, labels: &[LabelValue; N]) -> MappedRwLockReadGuard<'_, M> {
        match RwLockReadGuard::try_map(self.series.read(), |series| series.get(labels)) {
            Ok(known) => return known,
            Err(unknown) => drop(unknown),
        }
        self.series.write().entry(labels.clone()).or_default();
        RwLockReadGuard::map(self.series.read(), |series| &series[labels])
    }
}

impl<M: Default> MetricFamily<1, M> {
    /// Shows these series before their first use.
    pub fn starting_with<const C: usize>(self, values: [&'static str; C]) -> Self {
        for value in values {
            drop(self.with(&[value.into()]));
        }
        self
    }
}

impl<const N: usize, M> EncodeMetric for MetricFamily<N, M>
where
    M: EncodeMetric + Default,
{
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let series = self.series.read();
        if let ([], Some(metric)) = (&self.labels[..], series.values().next()) {
            return metric.encode(encoder);
        }
        for (values, metric) in &*series {
            let mut values = values.iter().cloned();
            let label = |name| (name, values.next().unwrap_or_else(|| "".into()));
            metric.encode(encoder.encode_family(&self.labels.map(label))?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::default().metric_type()
    }

    fn is_empty(&self) -> bool {
        self.series.read().is_empty()
    }
}

/// Creates metrics and registers them.
#[derive(Default)]
pub struct MetricRegistry(pub Registry);

impl MetricRegistry {
    pub fn metric<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.add(name, help, M::default())
    }

    pub fn family<const N: usize, M: Metric + Clone + Default>(
        &mut self,
        labels: [&'static str; N],
        name: &str,
        help: &str,
    ) -> MetricFamily<N, M> {
        self.add(name, help, MetricFamily { labels, series: Arc::default() })
    }

    pub fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}
