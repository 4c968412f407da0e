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
        fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
            let mut add = |name, help, metric: &dyn EncodeMetric| {
                let kind = metric.metric_type();
                metric.encode(encoder.encode_descriptor(name, help, None, kind)?)
            };
            let Ok(process) = Process::myself() else { return Ok(()) };
            if let Ok(stat) = process.stat() {
                let seconds = |ticks| exact(ticks) / exact(procfs::ticks_per_second());
                let used = ConstCounter::new(seconds(stat.utime + stat.stime));
                add("process_cpu_seconds", "Processor time, user and system", &used)?;
                let resident = ConstGauge::new(stat.rss.saturating_mul(procfs::page_size()));
                add("process_resident_memory_bytes", "Resident memory", &resident)?;
                let virtual_memory = ConstGauge::new(stat.vsize);
                add("process_virtual_memory_bytes", "Virtual memory", &virtual_memory)?;
                let threads = ConstGauge::new(stat.num_threads);
                add("process_threads", "Threads of the process", &threads)?;
                if let Ok(boot) = procfs::boot_time_secs() {
                    let started = ConstGauge::new(exact(boot) + seconds(stat.starttime));
                    let help = "When the process started, in seconds since 1970";
                    add("process_start_time_seconds", help, &started)?;
                }
            }
            if let Ok(count) = process.fd_count() {
                let count = ConstGauge::new(count as u64);
                add("process_open_fds", "Open file descriptors", &count)?;
            }
            if let Ok(limits) = process.limits()
                && let LimitValue::Value(most) = limits.max_open_files.soft_limit
            {
                add("process_max_fds", "Limit of open file descriptors", &ConstGauge::new(most))?;
            }
            Ok(())
        }
    }

    /// Converts a count far below 2^52 without loss.
    #[expect(clippy::cast_precision_loss, reason = "no process runs for so many ticks")]
    fn exact(count: u64) -> f64 {
        count as f64
    }
}
