use std::time::Instant;

use super::*;
use crate::drivers::family::Sample;
use crate::drivers::perlbal::statistics::Process;

fn statistics() -> Statistics {
    let waiting = |count, seconds| Waiting {
        count,
        oldest: Duration::from_secs(seconds),
    };
    let queues = Queues {
        normal: waiting(4, 2),
        ..Queues::default()
    };
    let node = NodeStatistics {
        connections: 3,
        requests: 41,
        attempts: 5,
        ..NodeStatistics::default()
    };
    let web = || "web".parse().unwrap();
    let addr = || "10.0.0.1:80".parse().unwrap();
    Statistics {
        at: Instant::now(),
        start: Some(1_700_000_000),
        uptime: Some(Duration::from_secs(60)),
        version: Some("1.80".to_owned()),
        process: Process {
            pid: Some(7),
            user_time: Some(Duration::from_millis(1_500)),
            system_time: Some(Duration::from_millis(250)),
            requests: Some(42),
        },
        queues: [(web(), queues)].into(),
        pending: [(web(), waiting(1, 0))].into(),
        failed_verifications: [(addr(), Duration::from_secs(9))].into(),
        sockets: [(("BackendHTTP".to_owned(), "bored".to_owned()), 3)].into(),
        nodes: Nodes::Known([(addr(), node)].into()),
    }
}

/// A line per sample: `name label=value … value`.
fn lines(families: &[Family]) -> Vec<String> {
    let line = |name: &str, Sample { labels, value }: &Sample| {
        let labels = labels.iter().map(|(key, value)| format!(" {key}={value}"));
        let labels = labels.collect::<Vec<_>>().concat();
        match value {
            Value::Whole(value) => format!("{name}{labels} {value}"),
            Value::Real(value) => format!("{name}{labels} {value}"),
        }
    };
    let each = families.iter();
    each.flat_map(|family| {
        family
            .samples
            .iter()
            .map(move |sample| line(family.name, sample))
    })
    .collect()
}

#[test]
fn all_that_perlbal_tells_has_a_sample() {
    let expected = "\
perlbal_build_info version=1.80 1
perlbal_start_time_seconds 1700000000
perlbal_cpu_seconds_total mode=user 1.5
perlbal_cpu_seconds_total mode=system 0.25
perlbal_requests_total 42
perlbal_queue_clients service=web priority=normal 4
perlbal_queue_clients service=web priority=high 0
perlbal_queue_clients service=web priority=low 0
perlbal_queue_oldest_seconds service=web priority=normal 2
perlbal_queue_oldest_seconds service=web priority=high 0
perlbal_queue_oldest_seconds service=web priority=low 0
perlbal_pending_connections service=web 1
perlbal_pending_oldest_seconds service=web 0
perlbal_failed_verifications 1
perlbal_sockets kind=BackendHTTP state=bored 3
perlbal_node_connections node=10.0.0.1:80 3
perlbal_node_requests_total node=10.0.0.1:80 41
perlbal_node_connection_attempts_total node=10.0.0.1:80 5";
    assert_eq!(lines(&families(&statistics())).join("\n"), expected);
}

#[test]
fn what_perlbal_does_not_tell_has_no_sample() {
    let nothing = Statistics {
        start: None,
        version: None,
        process: Process::default(),
        queues: [].into(),
        pending: [].into(),
        failed_verifications: [].into(),
        sockets: [].into(),
        nodes: Nodes::NotRequested,
        ..statistics()
    };
    assert_eq!(
        lines(&families(&nothing)),
        ["perlbal_failed_verifications 0"]
    );
}
