//! `pollbal check`: what the configuration and the services file mean, or every error.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use humantime::format_duration;

use crate::config::Config;
use crate::config::doors::DoorSettings;
use crate::load::{LoadErrors, Loaded, load};
use crate::logging::count;
use crate::pleas;

/// What was understood, for people; or all errors.
pub fn check(path: &Path) -> Result<String, LoadErrors> {
    let loaded = load(path)?;
    let Loaded { config, nodes, .. } = &loaded;
    let mut text = String::new();
    _ = writeln!(text, "{}: in order", path.display());
    _ = writeln!(
        text,
        "{}: {}",
        config.services_file.display(),
        count(nodes.len(), "node")
    );
    for node in nodes {
        _ = writeln!(text, "  {} # {}", node.addr, node.name);
    }
    let poll = &config.poll;
    _ = writeln!(
        text,
        "polls: GET {} every {}, given up after {}",
        poll.path,
        format_duration(poll.interval),
        format_duration(poll.timeout)
    );
    _ = writeln!(text, "pool files: {}", config.pool_directory.display());
    _ = writeln!(text, "doors: {}", describe_doors(&config.doors));
    describe_pools(&mut text, config);
    for perlbal in &config.perlbals {
        let create = if perlbal.create_pools {
            "missing pools are made"
        } else {
            "missing pools are not made"
        };
        let every = format_duration(perlbal.resync_interval);
        _ = writeln!(
            text,
            "perlbal {}: compared every {every}, {create}",
            perlbal.address
        );
    }
    if config.perlbals.is_empty() {
        _ = writeln!(text, "perlbal: none, files only");
    }
    describe_alerts(&mut text, config);
    if config.metrics_per_node {
        _ = writeln!(text, "metrics: some series for each node");
    }
    for warning in loaded.warnings() {
        _ = writeln!(text, "warning: {warning}");
    }
    if nodes.is_empty() {
        _ = writeln!(text, "warning: without a node nothing is done");
    }
    Ok(text)
}

/// Where each door is.
fn describe_doors(doors: &DoorSettings) -> String {
    let off = || "off".to_owned();
    let socket = doors.admin_socket.as_ref();
    let address = |address: Option<SocketAddr>| address.map_or_else(off, |at| at.to_string());
    format!(
        "admin {}, status {}, nodes {}",
        socket.map_or_else(off, |path| path.display().to_string()),
        address(doors.status_listen),
        address(doors.node_listen)
    )
}

fn describe_alerts(text: &mut String, config: &Config) {
    let alerts = &config.alerts;
    if alerts.on {
        let interval = format_duration(alerts.interval);
        _ = writeln!(
            text,
            "alerts: {} at most in {interval}, each once, at {}",
            alerts.limit, alerts.hours
        );
    }
    if config.pool_please_dont_go {
        _ = writeln!(
            text,
            "members of a pool at its min_members are asked to stay: POST {}",
            pleas::PATH
        );
    }
}

fn describe_pools(text: &mut String, config: &Config) {
    for (pool, rules) in &config.rules.declared {
        let name = config
            .perlbal_names
            .get(pool)
            .map(|name| format!(" (in Perlbal: {name})"));
        let only = if rules.nodes.is_some() {
            ", listed nodes only"
        } else {
            ""
        };
        let sorry = rules.sorry.iter().map(|sorry| sorry.addr.to_string());
        let sorry = sorry.collect::<Vec<_>>().join(", ");
        let sorry = if sorry.is_empty() {
            sorry
        } else {
            format!(", sorry server {sorry}")
        };
        _ = writeln!(
            text,
            "pool {pool}{}: rise {}, fall {}, at least {}{only}{sorry}",
            name.unwrap_or_default(),
            rules.rise,
            rules.fall,
            count(rules.min_members, "member")
        );
    }
    if config.rules.accept_undeclared {
        let rules = &config.rules.undeclared;
        _ = writeln!(
            text,
            "other pools: rise {}, fall {}, {} of them at most",
            rules.rise, rules.fall, config.rules.max_undeclared
        );
    } else {
        _ = writeln!(text, "other pools: refused");
    }
}
