//! The two text formats: `OpenMetrics` 1.0, which is what is written, and Prometheus' own 0.0.4, to
//! which that is converted for clients that do not request the former: `curl`, promtool, and older
//! scrapers.

use std::fmt::Write;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text format 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header requests; Prometheus' format if it names neither.
    pub(super) fn of_accept(accept: &str) -> Self {
        let open = weight(accept, "application/openmetrics-text");
        let plain = weight(accept, "text/plain");
        if open > 0.0 && open >= plain {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The `Content-Type` header.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The greatest weight at which an `Accept` header names a type; 0 if it does not.
fn weight(accept: &str, name: &str) -> f32 {
    let offers = accept.split(',').filter_map(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let is_name = parts.next()?.eq_ignore_ascii_case(name);
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight = weight.map_or(Some(1.0), |weight| weight.parse().ok())?;
        is_name.then_some(weight)
    });
    offers.fold(0.0, f32::max)
}

/// Converts `OpenMetrics`, as far as it is written here, to Prometheus' text format: there a
/// counter's family has the name of its samples, and there are neither units nor an end marker.
pub(super) fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The help comes before the type, on which its name depends.
    let mut help = None;
    for line in open_metrics.split_inclusive('\n') {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = described(line) {
            let total = if kind == "counter\n" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                // Writing to a text never fails.
                _ = write!(text, "# HELP {name}{total} {help}");
            }
            _ = write!(text, "# TYPE {name}{total} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
        }
    }
    text
}

/// Name and kind of a family, if the line has them.
fn described(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/vnd.google.protobuf;\
            proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
            application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for accept in [prometheus_2, prometheus_3, "Application/OpenMetrics-Text"] {
            assert_eq!(Format::of_accept(accept), Format::OpenMetrics, "{accept}");
        }
        let plain_first = "text/plain;version=0.0.4, application/openmetrics-text; q=0.9";
        let not_at_all = "application/openmetrics-text;q=0";
        for accept in [
            "",
            "*/*",
            "text/html",
            plain_first,
            not_at_all,
            "application/openmetrics-text;q=x",
        ] {
            assert_eq!(Format::of_accept(accept), Format::Prometheus, "{accept}");
        }
    }

    #[test]
    fn prometheus_names_a_counter_as_its_samples_and_has_no_units() {
        let open_metrics = "\
            # HELP a_seconds Time, all of it.\n\
            # TYPE a_seconds counter\n\
            # UNIT a_seconds seconds\n\
            a_seconds_total{mode=\"# TYPE a counter\"} 0.5\n\
            # HELP b State.\n\
            # TYPE b gauge\n\
            b{why=\"\\n# EOF\"} 1\n\
            # EOF\n";
        let prometheus = "\
            # HELP a_seconds_total Time, all of it.\n\
            # TYPE a_seconds_total counter\n\
            a_seconds_total{mode=\"# TYPE a counter\"} 0.5\n\
            # HELP b State.\n\
            # TYPE b gauge\n\
            b{why=\"\\n# EOF\"} 1\n";
        assert_eq!(to_prometheus(open_metrics), prometheus);
    }
}
