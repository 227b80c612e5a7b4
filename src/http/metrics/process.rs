//! pollbal's own process, under the names that all Prometheus clients use.

use std::fmt;
use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::families::Families;

/// What the system reports about this process; what it does not report is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// Time of its start, in seconds since 1970.
    pub(super) start: f64,
    /// Processor time.
    pub(super) cpu: Duration,
    /// Memory in use, in bytes.
    pub(super) resident: Option<u64>,
    /// Reserved address space, in bytes.
    pub(super) virtual_size: Option<u64>,
    /// Threads.
    pub(super) threads: Option<u64>,
    /// Open files and sockets.
    pub(super) open_files: Option<u64>,
    /// Maximum number of open files and sockets.
    pub(super) max_files: Option<u64>,
}

impl Process {
    /// Queries the system, which takes a moment if thousands of sockets are open.
    pub(super) fn read(start: f64) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open_files = fs::read_dir("/proc/self/fd").map(|entries| {
            // Without the descriptor that reads the directory.
            (entries.count() as u64).saturating_sub(1)
        });
        Self {
            start,
            cpu: cpu(),
            open_files: open_files.ok(),
            max_files: getrlimit(Resource::Nofile).current,
            ..Self::of(&status)
        }
    }

    /// Parses `/proc/self/status`.
    fn of(status: &str) -> Self {
        let number = |key: &str| {
            let lines = status.lines();
            let mut values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let words = values.next()?.split_whitespace();
            words.take(1).find_map(|word| word.parse::<u64>().ok())
        };
        Self {
            resident: number("VmRSS").map(|kilobytes| kilobytes * 1_024),
            virtual_size: number("VmSize").map(|kilobytes| kilobytes * 1_024),
            threads: number("Threads"),
            ..Self::default()
        }
    }

    pub(super) fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "process_start_time_seconds",
            "Time of the start of pollbal, in seconds since 1970.",
            self.start,
        )?;
        families.counter(
            "process_cpu_seconds_total",
            "Processor time of pollbal.",
            self.cpu.as_secs_f64(),
        )?;
        let mut optional = |name, help, value: Option<u64>| {
            families.gauges(name, help, value.map(|value| ([], value)))
        };
        optional(
            "process_resident_memory_bytes",
            "Memory in use by pollbal.",
            self.resident,
        )?;
        optional(
            "process_virtual_memory_bytes",
            "Address space reserved by pollbal.",
            self.virtual_size,
        )?;
        optional("process_threads", "Threads of pollbal.", self.threads)?;
        optional(
            "process_open_fds",
            "Open files and sockets of pollbal.",
            self.open_files,
        )?;
        optional(
            "process_max_fds",
            "Maximum number of open files and sockets of pollbal.",
            self.max_files,
        )
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_file_has_memory_and_threads() {
        let status =
            "Name:\tpollbal\nVmPeak:\t   9 kB\nVmSize:\t  2048 kB\nVmRSS:\t  12 kB\nThreads:\t5\n";
        let process = Process::of(status);
        assert_eq!(process.virtual_size, Some(2_097_152));
        assert_eq!(process.resident, Some(12_288));
        assert_eq!(process.threads, Some(5));
        assert_eq!(Process::of(""), Process::default());
    }

    #[test]
    fn the_system_tells_all_of_this_process() {
        let process = Process::read(1.5);
        assert!(
            process.cpu > Duration::ZERO && process.resident > Some(100_000),
            "{process:?}"
        );
        assert!(process.threads >= Some(1) && process.virtual_size >= process.resident);
        let open = process.open_files.unwrap();
        assert!(open >= 3 && Some(open) <= process.max_files, "{process:?}");
    }
}
