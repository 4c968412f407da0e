//! The standard process metrics, with the names that all Prometheus client libraries use. Their source
//! is `/proc`, so they exist only on Linux.

use prometheus_client::registry::Registry;

/// A registry of its own, because these metrics have no prefix.
pub(super) fn registry() -> Registry {
    let mut registry = Registry::default();
    #[cfg(target_os = "linux")]
    registry.register_collector(Box::new(linux::ProcessCollector));
    registry
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt;

    use procfs::process::{LimitValue, Process};
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;

    /// Reads `/proc` at each scrape.
    #[derive(Debug)]
    pub(super) struct ProcessCollector;

    impl Collector for ProcessCollector {
        fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
            let Ok(process) = Process::myself() else { return Ok(()) };
            let mut metrics = MetricEncoder(encoder);
            if let Ok(stat) = process.stat() {
                let ticks = procfs::ticks_per_second();
                let seconds = |count: u64| exact(count) / exact(ticks);
                let used = ConstCounter::new(seconds(stat.utime + stat.stime));
                metrics.add("process_cpu_seconds", "Processor time, user and system", &used)?;
                let resident = stat.rss.saturating_mul(procfs::page_size());
                metrics.gauge("process_resident_memory_bytes", "Resident memory", resident)?;
                metrics.gauge("process_virtual_memory_bytes", "Virtual memory", stat.vsize)?;
                let threads = u64::try_from(stat.num_threads).unwrap_or_default();
                metrics.gauge("process_threads", "Threads of the process", threads)?;
                if let Ok(boot) = procfs::boot_time_secs() {
                    let started = ConstGauge::new(exact(boot) + seconds(stat.starttime));
                    let help = "When the process started, in seconds since 1970";
                    metrics.add("process_start_time_seconds", help, &started)?;
                }
            }
            if let Ok(count) = process.fd_count() {
                metrics.gauge("process_open_fds", "Open file descriptors", count as u64)?;
            }
            if let Ok(limits) = process.limits()
                && let LimitValue::Value(most) = limits.max_open_files.soft_limit
            {
                metrics.gauge("process_max_fds", "Limit of open file descriptors", most)?;
            }
            Ok(())
        }
    }

    /// Converts a count far below 2^52 without loss.
    #[expect(clippy::cast_precision_loss, reason = "no process runs for so many ticks")]
    fn exact(count: u64) -> f64 {
        count as f64
    }

    struct MetricEncoder<'a>(DescriptorEncoder<'a>);

    impl MetricEncoder<'_> {
        fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
            self.add(name, help, &ConstGauge::new(value))
        }

        fn add(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
            metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
        }
    }
}
