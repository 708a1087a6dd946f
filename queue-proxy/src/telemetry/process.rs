//! The process itself for Prometheus: `process_*` as the Go client names them, read from `/proc/self` when scraped.
//! Go's own families (`go_*`, `promhttp_*`) have no meaning here.

use std::{collections::HashMap, fs};

use prometheus::{
    core::{Collector, Desc},
    proto::{Counter, Gauge, Metric, MetricFamily, MetricType},
};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

const CPU: (&str, &str) = (
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
);

/// Reads `/proc/self`.
pub(super) struct Process {
    /// Bytes of a page of memory.
    page: f64,
    /// Units of processor time in a second.
    ticks: f64,
    /// What the registry knows this collector by.
    desc: Option<Desc>,
}

impl Process {
    pub(super) fn new() -> Self {
        let float = |number: u64| u32::try_from(number).map_or(1.0, f64::from);
        Self {
            page: float(page_size() as u64),
            ticks: float(clock_ticks_per_second()),
            desc: Desc::new(CPU.0.to_owned(), CPU.1.to_owned(), Vec::new(), HashMap::new()).ok(),
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.desc.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                let mut metric = Metric::default();
                metric.set_gauge(gauge);
                families.push(family(name, help, MetricType::GAUGE, metric));
            }
        };
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let field = |number| stat_field(&stat, number);
        let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        gauge(
            "process_open_fds",
            "Number of open file descriptors.",
            open.and_then(|count| u32::try_from(count).ok()).map(f64::from),
        );
        gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            most_descriptors(),
        );
        gauge(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            field(23),
        );
        gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            field(24).map(|pages| pages * self.page),
        );
        gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            field(22)
                .zip(boot_time())
                .map(|(ticks, boot)| boot + ticks / self.ticks),
        );
        if let Some((user, system)) = field(14).zip(field(15)) {
            let mut counter = Counter::default();
            counter.set_value((user + system) / self.ticks);
            let mut metric = Metric::default();
            metric.set_counter(counter);
            families.push(family(CPU.0, CPU.1, MetricType::COUNTER, metric));
        }
        families
    }
}

fn family(name: &str, help: &str, kind: MetricType, metric: Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}

/// Field `number` of `/proc/self/stat`, counted from 1; the second is a name that may hold anything.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn most_descriptors() -> Option<f64> {
    let limit = getrlimit(Resource::Nofile).current?;
    limit.to_string().parse().ok()
}

fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_them_all() {
        let families = Process::new().collect();
        let names: Vec<&str> = families.iter().map(MetricFamily::name).collect();
        assert_eq!(
            names,
            [
                "process_open_fds",
                "process_max_fds",
                "process_virtual_memory_bytes",
                "process_resident_memory_bytes",
                "process_start_time_seconds",
                "process_cpu_seconds_total",
            ]
        );
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
        let started = families[4].get_metric()[0].get_gauge().get_value();
        assert!(
            started <= now + 2.0 && started > now - 86_400.0,
            "{started} is not before {now}"
        );
    }

    #[test]
    fn a_name_with_brackets_and_blanks_is_skipped() {
        assert_eq!(stat_field("1 (a) b) S 7 8", 3), None);
        assert_eq!(stat_field("1 (a) b) S 7 8", 4), Some(7.0));
        assert_eq!(stat_field("", 4), None);
    }
}
