//! `pollbal check`: prints the effective settings, or every error.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use humantime::format_duration;

use crate::config::Config;
use crate::config::listeners::ListenerSettings;
use crate::config::poll::{Headers, PollSettings};
use crate::load::{LoadErrors, Loaded, load};
use crate::logging::count;
use crate::model::node::Node;
use crate::model::problems::NodesDown;
use crate::model::rules::PoolRules;
use crate::model::text::printable;
use crate::model::weight::Weight;
use crate::sources::NodeLists;
use crate::sources::resolver::Resolver;
use crate::sources::serf::SharedRoster;
use crate::stay_requests;

/// The effective settings, for people; or all errors.
pub fn check(path: &Path) -> Result<String, LoadErrors> {
    let mut loaded = load(path, Duration::ZERO, &Resolver::system())?;
    let mut text = String::new();
    _ = writeln!(text, "{}: OK", shown(path));
    let (lists, mut warnings) = describe_sources(&mut text, &mut loaded);
    let config = &loaded.config;
    let poll = &config.poll;
    _ = writeln!(
        text,
        "polls: GET {} every {}, timeout {}",
        poll.path,
        format_duration(poll.interval),
        format_duration(poll.timeout)
    );
    _ = writeln!(
        text,
        "nodes removed at once: at most {}, or one",
        config.max_removed
    );
    _ = writeln!(text, "pool files: {}", shown(&config.pool_directory));
    _ = writeln!(text, "listeners: {}", describe_listeners(&config.listeners));
    describe_pools(&mut text, config);
    for driver in &config.drivers {
        _ = writeln!(text, "{}", driver.describe());
        if let Some(lacking) = driver.capabilities().lacking() {
            _ = writeln!(text, "  {lacking}");
        }
    }
    if config.drivers.is_empty() {
        _ = writeln!(text, "load balancers: none, only pool files");
    }
    describe_headers(&mut text, &config.poll);
    describe_alerts(&mut text, config);
    if config.metrics_per_node {
        _ = writeln!(text, "metrics: some series per node");
    }
    warnings.extend(loaded.warnings());
    if lists.list().nodes.is_empty() {
        warnings.push("no nodes listed: pollbal will do nothing".to_owned());
    }
    for warning in warnings {
        _ = writeln!(text, "warning: {}", printable(&warning));
    }
    Ok(text)
}

/// The nodes of each source. Returns them all, and warnings.
fn describe_sources(text: &mut String, loaded: &mut Loaded) -> (NodeLists, Vec<String>) {
    let mut lists = NodeLists {
        file: loaded.list.clone(),
        serf: None,
    };
    if let (Some(path), Some(services)) = (&loaded.config.services_file, &loaded.services) {
        let nodes = &loaded.list.nodes;
        _ = writeln!(text, "{}: {}", shown(path), count(nodes.len(), "node"));
        describe_nodes(text, nodes);
        for (host, ips) in &services.addresses {
            let ips: Vec<_> = ips.iter().map(ToString::to_string).collect();
            _ = writeln!(text, "host name {host}: {}", ips.join(", "));
        }
    }
    let mut warnings = Vec::new();
    if let (Some(settings), Some(first)) = (&loaded.config.serf, loaded.serf.take()) {
        _ = writeln!(text, "{}", printable(&settings.describe()));
        let error = first.error();
        let error = error.map(|error| format!("{} {error}", settings.name()));
        warnings.extend(error);
        let members = first.members(settings.clone(), &SharedRoster::default());
        let serf = members.nodes();
        let others = match members.others() {
            0 => String::new(),
            others => format!(", {} of other kinds", count(others, "member")),
        };
        _ = writeln!(text, "  {}{others}", count(serf.nodes.len(), "node"));
        describe_nodes(text, &serf.nodes);
        let rejected = members.rejected().iter();
        warnings.extend(rejected.map(|rejected| format!("member {rejected}")));
        lists.serf = Some(serf);
        warnings.extend(lists.shared().iter().map(ToString::to_string));
    }
    (lists, warnings)
}

fn describe_nodes(text: &mut String, nodes: &[Node]) {
    for node in nodes {
        let weight = node.weight.map(|weight| format!(" weight={weight}"));
        let weight = weight.unwrap_or_default();
        _ = writeln!(text, "  {}{weight} # {}", node.addr, node.name);
    }
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// The address of each listener.
fn describe_listeners(listeners: &ListenerSettings) -> String {
    let off = || "off".to_owned();
    let socket = listeners.admin_socket.as_ref();
    let address = |address: Option<SocketAddr>| address.map_or_else(off, |at| at.to_string());
    format!(
        "admin {}, status {}, nodes {}",
        socket.map_or_else(off, |path| shown(path)),
        address(listeners.status_listen),
        address(listeners.node_listen)
    )
}

/// Lists the names of the headers that are sent; values may be secret.
fn describe_headers(text: &mut String, poll: &PollSettings) {
    let names = |headers: &Headers| {
        let names = headers.iter().map(|(name, _)| name);
        names.collect::<Vec<_>>().join(", ")
    };
    if poll.headers.iter().next().is_some() {
        _ = writeln!(text, "poll headers: {}", names(&poll.headers));
    }
    for (block, headers) in &poll.pool_headers {
        _ = writeln!(text, "poll headers for {block}: {}", names(headers));
    }
}

fn describe_alerts(text: &mut String, config: &Config) {
    let alerts = &config.alerts;
    if alerts.on {
        let interval = format_duration(alerts.interval);
        _ = writeln!(
            text,
            "alerts: at most {} in {interval}, each once, at {}",
            alerts.limit, alerts.hours
        );
        let NodesDown { percent, after } = config.nodes_down;
        if percent > 0 {
            let after = format_duration(after);
            _ = writeln!(
                text,
                "  nodes down: {percent}% of all nodes, or of a pool's, for {after}"
            );
        }
    }
    if config.pool_please_dont_go {
        _ = writeln!(
            text,
            "members of a pool at its min_members are asked to stay: POST {}",
            stay_requests::PATH
        );
    }
}

/// The weight of a pool's members, unless it is the default, and how they ramp up to it, if they do.
fn weight(rules: &PoolRules) -> String {
    let weight = match rules.weight {
        weight if weight == Weight::default() => String::new(),
        weight => format!(", weight {weight}"),
    };
    if rules.ramp.length.is_zero() {
        return weight;
    }
    let [length, after] = [rules.ramp.length, rules.ramp.after].map(format_duration);
    format!("{weight}, ramp {length} after {after}")
}

fn describe_pools(text: &mut String, config: &Config) {
    for (pool, rules) in &config.rules.declared {
        let given = config.rules.namings.given(pool);
        let given = given.map(|(place, name)| format!(" (in {place}: {name})"));
        let given: String = given.collect();
        let only = if rules.nodes.is_some() {
            ", only listed nodes"
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
            "pool {pool}{given}: rise {}, fall {}, at least {}{}{only}{sorry}",
            rules.rise,
            rules.fall,
            count(rules.min_members, "member"),
            weight(rules)
        );
    }
    if config.rules.accept_undeclared {
        let rules = &config.rules.undeclared;
        _ = writeln!(
            text,
            "other pools: rise {}, fall {}, at most {}{}",
            rules.rise,
            rules.fall,
            config.rules.max_undeclared,
            weight(rules)
        );
    } else {
        _ = writeln!(text, "other pools: refused");
    }
}
