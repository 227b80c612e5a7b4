//! What the system knows of a process: its memory, its children, its limits.

use std::fs;

use rustix::process::{Pid, Signal};

/// The most memory that it ever had, in KiB.
pub(crate) fn peak_memory(pid: Pid) -> u64 {
    let status = read(pid, "status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = peak.and_then(|peak| peak.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("the process tells its memory")
}

/// The soft and the hard limit of open files.
pub(crate) fn open_files(pid: Pid) -> (String, String) {
    let limits = read(pid, "limits");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line
        .expect("the process has limits")
        .split_whitespace()
        .map(str::to_owned);
    let mut word = || words.next().expect("a limit");
    (word(), word())
}

/// How many files it has open.
pub(crate) fn files(pid: Pid) -> u64 {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("failed to list open files");
    entries.count() as u64
}

/// Whether it has a handler for the signal, so that it does not end by it at once.
pub(crate) fn catches(pid: Pid, signal: Signal) -> bool {
    let status = read(pid, "status");
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .expect("the process tells which signals it catches");
    caught >> (signal.as_raw() - 1) & 1 == 1
}

/// Whether one of its threads waits for this descriptor, as in a write to a full pipe.
pub(crate) fn waits_for(pid: Pid, descriptor: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let descriptor = format!("{descriptor:#x}");
    threads.flatten().any(|thread| {
        // The number of the system call in which it sleeps, and its arguments.
        let call = fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
        call.split(' ').nth(1) == Some(&descriptor)
    })
}

/// The processes whose parent it is; zombies too.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").expect("failed to list processes");
    let pids = entries.filter_map(|entry| {
        let number = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Pid::from_raw(number)
    });
    pids.filter(|child| {
        stat(*child).is_some_and(|(_, parent)| parent == pid.as_raw_nonzero().get())
    })
    .collect()
}

/// The time that it has worked, in hundredths of a second.
pub(crate) fn cpu_ticks(pid: Pid) -> u64 {
    let text = read(pid, "stat");
    let words = text.rsplit_once(')').map(|(_, words)| words);
    let mut words = words.unwrap_or_default().split_whitespace().skip(11);
    let mut number = || {
        let word = words.next().and_then(|word| word.parse::<u64>().ok());
        word.expect("the process tells its time")
    };
    // For itself, and for the system.
    number() + number()
}

/// Whether it runs: it exists, and is no zombie.
pub(crate) fn runs(pid: Pid) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// Its state, as in `/proc/PID/stat`; none when it is gone.
pub(crate) fn state(pid: Pid) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

/// State and parent.
fn stat(pid: Pid) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses and may hold some itself.
    let mut words = text.rsplit_once(')')?.1.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

fn read(pid: Pid, file: &str) -> String {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("failed to read {path}: {why}"))
}
