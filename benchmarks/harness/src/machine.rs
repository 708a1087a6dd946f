//! What the numbers were measured on. A number without this means nothing.

use std::{fmt, fs, num::NonZero, thread::available_parallelism};

use serde::{Deserialize, Serialize};

/// Facts about this machine; what the system does not tell is `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Model of the processor.
    pub(crate) cpu: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
    /// Release of the kernel.
    pub(crate) kernel: String,
}

impl Machine {
    /// Reads the facts from `/proc`.
    pub(crate) fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: known(field(&cpuinfo, "model name")),
            cores: available_parallelism().map_or(1, NonZero::get),
            memory_bytes: kibibytes(field(&meminfo, "MemTotal")),
            kernel: known(Some(kernel.trim())),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory_bytes as f64 / f64::from(1 << 30);
        write!(
            f,
            "{}, {} cores, {memory:.1} GiB memory, Linux {}",
            self.cpu, self.cores, self.kernel
        )
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn kibibytes(value: Option<&str>) -> u64 {
    let number = value.and_then(|value| value.split_whitespace().next());
    number
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or_default()
        .saturating_mul(1024)
}

fn known(value: Option<&str>) -> String {
    value.filter(|value| !value.is_empty()).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_missing_ones_said_to_be() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n";
        assert_eq!(known(field(text, "model name")), "Some CPU @ 2 GHz");
        assert_eq!(known(field(text, "bogomips")), "unknown");
        assert_eq!(kibibytes(field("MemTotal:  2048 kB\n", "MemTotal")), 2 << 20);
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        let machine = Machine::read();
        assert!(machine.cores > 0 && machine.memory_bytes > 0);
    }
}
