//! `HAProxy`'s statistics as metric families. Pure.
//!
//! What it does not report, as in mode `tcp`, has no sample: a number that is not known is not 0.

use std::time::Duration;

use super::tables::{Info, Row, Table};
use crate::drivers::family::{Family, FamilyKind, Sample, Value};

/// A family with the numbers of one column of `show stat`, or of several, each with its own `kind`.
struct Definition {
    kind: FamilyKind,
    name: &'static str,
    help: &'static str,
    /// Each with the value of the label `kind`, if it has one.
    columns: Columns,
    unit: Unit,
}

/// What the numbers of a column are.
#[derive(Clone, Copy)]
enum Unit {
    Count,
    /// An average of the last requests, in milliseconds; 0 before the first one.
    Average,
}

type Columns = &'static [(&'static str, Option<&'static str>)];

const SESSIONS: Columns = &[("scur", None)];
const QUEUE: Columns = &[("qcur", None)];
const REQUESTS: Columns = &[("req_tot", None)];
const ERRORS: Columns = &[("econ", Some("connection")), ("eresp", Some("response"))];
const QUEUE_TIME: Columns = &[("qtime", None)];
const CONNECT_TIME: Columns = &[("ctime", None)];
const RESPONSE_TIME: Columns = &[("rtime", None)];
const TOTAL_TIME: Columns = &[("ttime", None)];

const BY_BACKEND: [Definition; 8] = [
    Definition {
        kind: FamilyKind::Gauge,
        name: "haproxy_backend_sessions",
        help: "Requests in progress, by backend.",
        columns: SESSIONS,
        unit: Unit::Count,
    },
    Definition {
        kind: FamilyKind::Gauge,
        name: "haproxy_backend_queue",
        help: "Requests that wait for a server, by backend.",
        columns: QUEUE,
        unit: Unit::Count,
    },
    Definition {
        kind: FamilyKind::Counter,
        name: "haproxy_backend_requests_total",
        help: "HTTP requests, by backend.",
        columns: REQUESTS,
        unit: Unit::Count,
    },
    Definition {
        kind: FamilyKind::Counter,
        name: "haproxy_backend_errors_total",
        help: "Failed connections and responses, by backend.",
        columns: ERRORS,
        unit: Unit::Count,
    },
    average(
        "haproxy_backend_queue_time_average_seconds",
        "Average time in the queue of the last 1024 requests, by backend.",
        QUEUE_TIME,
    ),
    average(
        "haproxy_backend_connect_time_average_seconds",
        "Average time of the last 1024 requests to connect, by backend.",
        CONNECT_TIME,
    ),
    average(
        "haproxy_backend_response_time_average_seconds",
        "Average time to the first byte of the last 1024 responses, by backend.",
        RESPONSE_TIME,
    ),
    average(
        "haproxy_backend_total_time_average_seconds",
        "Average time of the last 1024 requests, with queue and data, by backend.",
        TOTAL_TIME,
    ),
];

const BY_SERVER: [Definition; 8] = [
    Definition {
        kind: FamilyKind::Gauge,
        name: "haproxy_server_sessions",
        help: "Requests in progress, by server.",
        columns: SESSIONS,
        unit: Unit::Count,
    },
    Definition {
        kind: FamilyKind::Gauge,
        name: "haproxy_server_queue",
        help: "Requests that wait for this server.",
        columns: QUEUE,
        unit: Unit::Count,
    },
    Definition {
        kind: FamilyKind::Counter,
        name: "haproxy_server_requests_total",
        help: "HTTP requests, by server.",
        columns: REQUESTS,
        unit: Unit::Count,
    },
    Definition {
        kind: FamilyKind::Counter,
        name: "haproxy_server_errors_total",
        help: "Failed connections and responses, by server.",
        columns: ERRORS,
        unit: Unit::Count,
    },
    average(
        "haproxy_server_queue_time_average_seconds",
        "Average time in the queue of the last 1024 requests, by server.",
        QUEUE_TIME,
    ),
    average(
        "haproxy_server_connect_time_average_seconds",
        "Average time of the last 1024 requests to connect, by server.",
        CONNECT_TIME,
    ),
    average(
        "haproxy_server_response_time_average_seconds",
        "Average time to the first byte of the last 1024 responses, by server.",
        RESPONSE_TIME,
    ),
    average(
        "haproxy_server_total_time_average_seconds",
        "Average time of the last 1024 requests, with queue and data, by server.",
        TOTAL_TIME,
    ),
];

/// A family of averages, by the name that `HAProxy`'s own exporter has for it.
const fn average(name: &'static str, help: &'static str, columns: Columns) -> Definition {
    Definition {
        kind: FamilyKind::Gauge,
        name,
        help,
        columns,
        unit: Unit::Average,
    }
}

/// The families by backend, and by server if `per_node`; `None` if `stat` is not understood.
pub(super) fn families(info: &Info, stat: &str, per_node: bool) -> Option<Vec<Family>> {
    let table = Table::of_csv(stat)?;
    let mut by_backend = BY_BACKEND.each_ref().map(Definition::family);
    let mut by_server = BY_SERVER.each_ref().map(Definition::family);
    for row in table.rows() {
        let (definitions, families) = if row.is_backend() {
            (&BY_BACKEND, &mut by_backend)
        } else {
            (&BY_SERVER, &mut by_server)
        };
        for (definition, family) in definitions.iter().zip(families) {
            family.samples.extend(definition.samples(&row));
        }
    }
    let by_server = by_server.into_iter().filter(|_| per_node);
    let of_process = of_process(info).into_iter();
    Some(of_process.chain(by_backend).chain(by_server).collect())
}

fn of_process(info: &Info) -> [Family; 2] {
    let started = info.started.map(|time| ([], Value::Whole(time)));
    [
        Family::gauge(
            "haproxy_build_info",
            "HAProxy's version.",
            [([("version", info.version.clone())], Value::Whole(1))],
        ),
        Family::gauge(
            "haproxy_start_time_seconds",
            "When HAProxy was started or last reloaded, in seconds since 1970.",
            started,
        ),
    ]
}

impl Definition {
    /// The family, without samples.
    fn family(&self) -> Family {
        Family {
            name: self.name,
            help: self.help,
            kind: self.kind,
            samples: Vec::new(),
        }
    }

    /// A sample for each column in which the row has a number.
    fn samples(&self, row: &Row<'_, '_>) -> impl Iterator<Item = Sample> {
        self.columns.iter().filter_map(|(column, kind)| {
            let kind = kind.map(|kind| ("kind", kind.to_owned()));
            Some(Sample {
                labels: labels(row).into_iter().chain(kind).collect(),
                value: self.unit.value(row, column)?,
            })
        })
    }
}

impl Unit {
    /// The value in a column; `None` if it is not known.
    fn value(self, row: &Row<'_, '_>, column: &str) -> Option<Value> {
        let number = row.number(column)?;
        match self {
            Self::Count => Some(Value::Whole(number)),
            Self::Average => {
                let seconds = Duration::from_millis(number).as_secs_f64();
                (row.number("stot")? > 0).then_some(Value::Real(seconds))
            }
        }
    }
}

/// Whose row it is; of a server also its address, which is a node's.
fn labels(row: &Row<'_, '_>) -> Vec<(&'static str, String)> {
    let text = |column| row.text(column).unwrap_or_default().to_owned();
    let mut labels = vec![("backend", text("pxname"))];
    if !row.is_backend() {
        labels.extend([("server", text("svname")), ("node", text("addr"))]);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_not_known_has_no_sample() {
        let info = Info {
            pid: 1,
            is_stopping: false,
            version: "2.6.12".to_owned(),
            started: None,
        };
        let stat = "# pxname,svname,qcur,scur,stot,econ,eresp,type,req_tot,addr,ttime\n\
                    api,pb1,0,2,7,1,0,2,7,10.0.0.1:80,12\napi,pb2,0,0,0,0,0,2,0,,0\n\
                    api,BACKEND,3,2,7,1,0,1,,,1500\n";
        let text = |per_node| {
            let families = families(&info, stat, per_node).unwrap();
            let samples = families.iter().flat_map(|family| {
                let name = family.name;
                let samples = family.samples.iter();
                samples.map(move |sample| {
                    let labels = sample.labels.iter().map(|(_, value)| value.as_str());
                    let labels: Vec<_> = labels.collect();
                    format!("{name} {} {:?}", labels.join(","), sample.value)
                })
            });
            samples.collect::<Vec<_>>()
        };
        let by_backend = [
            "haproxy_build_info 2.6.12 Whole(1)",
            "haproxy_backend_sessions api Whole(2)",
            "haproxy_backend_queue api Whole(3)",
            "haproxy_backend_errors_total api,connection Whole(1)",
            "haproxy_backend_errors_total api,response Whole(0)",
            "haproxy_backend_total_time_average_seconds api Real(1.5)",
        ];
        assert_eq!(text(false), by_backend);
        let by_server = [
            "haproxy_server_sessions api,pb1,10.0.0.1:80 Whole(2)",
            "haproxy_server_sessions api,pb2, Whole(0)",
            "haproxy_server_queue api,pb1,10.0.0.1:80 Whole(0)",
            "haproxy_server_queue api,pb2, Whole(0)",
            "haproxy_server_requests_total api,pb1,10.0.0.1:80 Whole(7)",
            "haproxy_server_requests_total api,pb2, Whole(0)",
            "haproxy_server_errors_total api,pb1,10.0.0.1:80,connection Whole(1)",
            "haproxy_server_errors_total api,pb1,10.0.0.1:80,response Whole(0)",
            "haproxy_server_errors_total api,pb2,,connection Whole(0)",
            "haproxy_server_errors_total api,pb2,,response Whole(0)",
            // The other server had no request yet, so no average.
            "haproxy_server_total_time_average_seconds api,pb1,10.0.0.1:80 Real(0.012)",
        ];
        assert_eq!(text(true), [&by_backend[..], &by_server].concat());
    }
}
