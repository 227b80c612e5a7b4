//! Perlbal's statistics as metric families. Pure.
//!
//! What a Perlbal does not report, as another version may not, has no sample: a number that is not
//! known is not 0.

use std::time::Duration;

use super::statistics::{NodeStatistics, Nodes, Queues, Statistics, Waiting};
use crate::drivers::family::{Family, Value};

/// The families of one Perlbal.
pub(super) fn families(statistics: &Statistics) -> Vec<Family> {
    let mut families = of_process(statistics);
    families.extend(of_queues(statistics));
    families.extend(of_connections(statistics));
    families.extend(of_nodes(&statistics.nodes));
    families
}

fn of_process(statistics: &Statistics) -> Vec<Family> {
    let process = &statistics.process;
    let version = statistics.version.iter();
    let modes = [("user", process.user_time), ("system", process.system_time)];
    let cpu = modes.into_iter().filter_map(|(mode, time)| {
        let time = Value::Real(time?.as_secs_f64());
        Some(([("mode", mode.to_owned())], time))
    });
    vec![
        Family::gauge(
            "perlbal_build_info",
            "Perlbal's version.",
            version.map(|version| ([("version", version.clone())], Value::Whole(1))),
        ),
        Family::gauge(
            "perlbal_start_time_seconds",
            "When Perlbal was started, in seconds since 1970.",
            statistics.start.map(unlabelled),
        ),
        Family::counter(
            "perlbal_cpu_seconds_total",
            "Time that Perlbal spent on processors.",
            cpu,
        ),
        Family::counter(
            "perlbal_requests_total",
            "Requests of clients, of all services of Perlbal.",
            process.requests.map(unlabelled),
        ),
    ]
}

fn of_queues(statistics: &Statistics) -> [Family; 2] {
    let samples = |value: fn(Waiting) -> u64| {
        statistics.queues.iter().flat_map(move |(service, queues)| {
            by_priority(*queues).map(move |(priority, waiting)| {
                let labels = [
                    ("service", service.to_string()),
                    ("priority", priority.to_owned()),
                ];
                (labels, Value::Whole(value(waiting)))
            })
        })
    };
    [
        Family::gauge(
            "perlbal_queue_clients",
            "Clients that wait for a connection to a node, by service and priority.",
            samples(|waiting| waiting.count),
        ),
        Family::gauge(
            "perlbal_queue_oldest_seconds",
            "For how long the first of them has waited.",
            samples(|waiting| whole_seconds(waiting.oldest)),
        ),
    ]
}

fn of_connections(statistics: &Statistics) -> [Family; 4] {
    let pending = |value: fn(&Waiting) -> u64| {
        statistics.pending.iter().map(move |(service, waiting)| {
            let labels = [("service", service.to_string())];
            (labels, Value::Whole(value(waiting)))
        })
    };
    let sockets = statistics.sockets.iter().map(|((kind, state), count)| {
        let labels = [("kind", kind.clone()), ("state", state.clone())];
        (labels, Value::Whole(*count))
    });
    [
        Family::gauge(
            "perlbal_pending_connections",
            "Connections to nodes that are being made, by service.",
            pending(|waiting| waiting.count),
        ),
        Family::gauge(
            "perlbal_pending_oldest_seconds",
            "For how long the first of them is being made.",
            pending(|waiting| whole_seconds(waiting.oldest)),
        ),
        Family::gauge(
            "perlbal_failed_verifications",
            "Nodes that failed verification recently (`verify_backend`).",
            [unlabelled(statistics.failed_verifications.len() as u64)],
        ),
        Family::gauge(
            "perlbal_sockets",
            "Perlbal's sockets, by kind and state.",
            sockets,
        ),
    ]
}

fn of_nodes(nodes: &Nodes) -> Vec<Family> {
    let Nodes::Known(nodes) = nodes else {
        return Vec::new();
    };
    let samples = |value: fn(&NodeStatistics) -> u64| {
        nodes.iter().map(move |(addr, counted)| {
            let labels = [("node", addr.to_string())];
            (labels, Value::Whole(value(counted)))
        })
    };
    vec![
        Family::gauge(
            "perlbal_node_connections",
            "Perlbal's open connections to a node.",
            samples(|node| node.connections),
        ),
        Family::counter(
            "perlbal_node_requests_total",
            "Requests that a node answered on connections that could then be used again.",
            samples(|node| node.requests),
        ),
        Family::counter(
            "perlbal_node_connection_attempts_total",
            "Connections to a node that Perlbal began.",
            samples(|node| node.attempts),
        ),
    ]
}

fn by_priority(queues: Queues) -> impl Iterator<Item = (&'static str, Waiting)> {
    let priorities = [
        ("normal", queues.normal),
        ("high", queues.high_priority),
        ("low", queues.low_priority),
    ];
    priorities.into_iter()
}

fn unlabelled(value: u64) -> ([(&'static str, String); 0], Value) {
    ([], Value::Whole(value))
}

/// Perlbal reports whole seconds.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs()
}

#[cfg(test)]
mod tests;
