//! pollbal's own process, under the names that every Prometheus client uses.

use std::fmt;
use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::families::Families;

/// What the system tells of this process. What it does not tell is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// When it was started, in seconds since 1970.
    pub(super) start: f64,
    /// Time on processors.
    pub(super) cpu: Duration,
    /// Memory that is in use, in bytes.
    pub(super) resident: Option<u64>,
    /// Address space that is reserved, in bytes.
    pub(super) virtual_size: Option<u64>,
    /// Threads.
    pub(super) threads: Option<u64>,
    /// Files and sockets that are open.
    pub(super) open_files: Option<u64>,
    /// So many may be.
    pub(super) max_files: Option<u64>,
}

impl Process {
    /// Asks the system; that takes a moment where thousands of sockets are open.
    pub(super) fn read(start: f64) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open_files = fs::read_dir("/proc/self/fd").map(|entries| {
            // The one by which the directory is read is none of ours.
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

    /// What `/proc/self/status` tells.
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
            "When pollbal was started, in seconds since 1970.",
            self.start,
        )?;
        families.counter(
            "process_cpu_seconds_total",
            "Time that pollbal spent on processors.",
            self.cpu.as_secs_f64(),
        )?;
        let mut optional = |name, help, value: Option<u64>| {
            families.gauges(name, help, value.map(|value| ([], value)))
        };
        optional(
            "process_resident_memory_bytes",
            "Memory that pollbal has in use.",
            self.resident,
        )?;
        optional(
            "process_virtual_memory_bytes",
            "Address space that pollbal has reserved.",
            self.virtual_size,
        )?;
        optional("process_threads", "Threads of pollbal.", self.threads)?;
        optional(
            "process_open_fds",
            "Files and sockets that pollbal has open.",
            self.open_files,
        )?;
        optional(
            "process_max_fds",
            "So many files and sockets pollbal may have open.",
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
    fn the_status_file_tells_memory_and_threads() {
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
