//! The tables that `HAProxy` shows. Pure.
//!
//! Columns are found by the header, since versions have different ones, and a row may be shorter than the header.

use std::collections::{BTreeMap, BTreeSet};

use super::name::HaproxyName;
use super::state::{Actual, ActualBackend, Admin, Kind, Server};
use crate::drivers::sync::Member;
use crate::model::node::NodeAddr;

/// `show info`, as far as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) pid: u32,
    /// It serves the requests that are in progress, and no others.
    pub(super) is_stopping: bool,
    pub(super) version: String,
    /// When it was started, in seconds since 1970.
    pub(super) started: Option<u64>,
}

impl Info {
    /// `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        };
        Some(Self {
            pid: value("Pid")?.parse().ok()?,
            is_stopping: value("Stopping") == Some("1"),
            version: value("Version")?.to_owned(),
            started: value("Start_time_sec").and_then(|time| time.parse().ok()),
        })
    }
}

/// Maximum number of rows: some 100,000 servers, and their backends.
const MAX_ROWS: usize = 200_000;

/// Maximum number of columns that are read; `show stat` has about 100.
const MAX_COLUMNS: usize = 1_000;

/// A table with a header. Only one of its rows at a time is in parts.
pub(super) struct Table<'a> {
    columns: BTreeMap<&'a str, usize>,
    /// What is behind the header.
    body: &'a str,
    split: Split<'a>,
}

/// The fields of a line.
type Split<'a> = fn(&'a str) -> Vec<&'a str>;

/// A row of a table.
pub(super) struct Row<'t, 'a> {
    columns: &'t BTreeMap<&'a str, usize>,
    fields: Vec<&'a str>,
}

impl<'a> Table<'a> {
    /// Fields that are separated by spaces: `show servers state`, `show servers conn`.
    pub(super) fn of_words(text: &'a str) -> Option<Self> {
        Self::parse(text, split_words)
    }

    /// Fields that are separated by commas: `show stat`.
    pub(super) fn of_csv(text: &'a str) -> Option<Self> {
        Self::parse(text, split_csv)
    }

    /// The header is the line that begins with `# `; what is before it is the version of the format.
    fn parse(text: &'a str, split: Split<'a>) -> Option<Self> {
        let mut rest = text;
        let header = loop {
            let (line, behind) = rest.split_once('\n').unwrap_or((rest, ""));
            if let Some(header) = line.strip_prefix("# ") {
                rest = behind;
                break header;
            }
            if behind.is_empty() {
                return None;
            }
            rest = behind;
        };
        let columns = split(header).into_iter().enumerate();
        let table = Self {
            columns: columns.map(|(index, name)| (name, index)).collect(),
            body: rest,
            split,
        };
        (table.lines().count() <= MAX_ROWS).then_some(table)
    }

    fn lines(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.body.lines().filter(|line| !line.is_empty())
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_, 'a>> {
        self.lines().map(|line| Row {
            columns: &self.columns,
            fields: (self.split)(line),
        })
    }
}

impl<'a> Row<'_, 'a> {
    pub(super) fn text(&self, column: &str) -> Option<&'a str> {
        self.fields.get(*self.columns.get(column)?).copied()
    }

    pub(super) fn number(&self, column: &str) -> Option<u64> {
        self.text(column)?.parse().ok()
    }

    fn name(&self, column: &str) -> Option<HaproxyName> {
        self.text(column)?.parse().ok()
    }

    /// Whether a row of `show stat` is a backend, and no server.
    pub(super) fn is_backend(&self) -> bool {
        self.text("type") == Some("1")
    }

    /// Requests in progress or queued, by `show stat`. (`used_cur` of `show servers conn` does not count those over
    /// connections that are bound to a client.)
    fn sessions(&self) -> Option<u64> {
        Some(self.number("scur")?.saturating_add(self.number("qcur")?))
    }

    /// The address by `show servers state`.
    fn node(&self) -> Option<NodeAddr> {
        NodeAddr::parse(self.text("srv_addr")?, self.text("srv_port")?).ok()
    }
}

fn split_words(line: &str) -> Vec<&str> {
    line.split(' ').take(MAX_COLUMNS).collect()
}

/// Fields with a comma are in quotes.
fn split_csv(line: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let is_separator = move |c: char| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    };
    line.split(is_separator).take(MAX_COLUMNS).collect()
}

/// What `show servers state`, `show stat -1 6 -1` and `show servers conn` say.
pub(super) struct Texts<'a> {
    pub(super) state: &'a str,
    pub(super) stat: &'a str,
    pub(super) conn: &'a str,
}

/// What `show stat` says of a server.
struct Load {
    is_backup: bool,
    sessions: u64,
}

impl Texts<'_> {
    /// The state that these tables show; slots have names with this prefix. `None` if they are not understood.
    pub(super) fn actual(&self, slot_prefix: &str) -> Option<Actual> {
        let stat = Table::of_csv(self.stat)?;
        let mut actual = Actual::default();
        for row in stat.rows().filter(Row::is_backend) {
            let backend = ActualBackend::default();
            actual.backends.insert(row.name("pxname")?, backend);
        }
        let loads = loads(&stat)?;
        let idle = idle_connections(self.conn)?;
        for row in Table::of_words(self.state)?.rows() {
            let (backend, name) = (row.name("be_name")?, row.name("srv_name")?);
            let load = loads.get(&(row.text("be_name")?, row.text("srv_name")?));
            let admin = Admin::of_mask(row.text("srv_admin_state")?.parse().ok()?);
            let place = format!("{backend}/{name}");
            let is_idle = idle.get(place.as_str()) == Some(&0);
            let is_at_rest = load.is_some_and(|load| load.sessions == 0) && is_idle;
            let server = Server {
                // One that was added between two commands is read again soon.
                kind: kind(&name, load.is_none_or(|load| load.is_backup), slot_prefix),
                node: row.node(),
                admin,
                weight: row.text("srv_uweight")?.parse().ok()?,
                is_quiet: admin == Admin::Maint && is_at_rest,
            };
            let backend = actual.backends.entry(backend).or_default();
            let has_host_name = row.text("srv_fqdn").is_some_and(|name| name != "-");
            let is_slot = matches!(server.kind, Kind::Slot(_));
            backend.forgets_addresses |= is_slot && !has_host_name;
            backend.servers.insert(name, server);
        }
        Some(actual)
    }
}

fn kind(name: &HaproxyName, is_backup: bool, slot_prefix: &str) -> Kind {
    if is_backup {
        name.sorry_for().map_or(Kind::Backup, Kind::Sorry)
    } else if let Some(number) = name.slot_number(slot_prefix) {
        Kind::Slot(number)
    } else if let Some(node) = name.added_for() {
        Kind::Added(node)
    } else {
        Kind::Declared
    }
}

/// By backend and server.
fn loads<'a>(stat: &Table<'a>) -> Option<BTreeMap<(&'a str, &'a str), Load>> {
    let rows = stat.rows().filter(|row| !row.is_backend());
    let loads = rows.map(|row| {
        let load = Load {
            is_backup: row.text("bck")? != "0",
            sessions: row.sessions()?,
        };
        Some(((row.text("pxname")?, row.text("svname")?), load))
    });
    loads.collect()
}

/// Number of idle connections by `backend/server`.
fn idle_connections(conn: &str) -> Option<BTreeMap<&str, u64>> {
    let table = Table::of_words(conn)?;
    let rows = table.rows();
    let idle = rows.map(|row| Some((row.text("bkname/svname")?, row.number("idle_cur")?)));
    idle.collect()
}

/// The servers of a backend that have one of these addresses, by `show servers state`: their ids.
pub(super) fn server_ids(state: &str, removed: &BTreeSet<Member>) -> Option<Vec<ServerOf>> {
    let table = Table::of_words(state)?;
    let mut found = Vec::new();
    for row in table.rows() {
        let backend = row.text("be_name")?;
        let Some(node) = row.node() else {
            continue;
        };
        let member: Member = (backend.into(), node);
        if removed.contains(&member) {
            let id = row.text("srv_id")?.parse().ok()?;
            found.push(ServerOf { member, id });
        }
    }
    Some(found)
}

/// The server of a member.
pub(super) struct ServerOf {
    pub(super) member: Member,
    pub(super) id: u32,
}

/// The members whose servers have requests in progress, by what [`busy_ids`] has found.
pub(super) fn busy_members(
    servers: Vec<ServerOf>,
    busy: &BTreeSet<(&str, u32)>,
) -> impl Iterator<Item = Member> {
    let is_busy = |server: &ServerOf| busy.contains(&(&*server.member.0, server.id));
    let servers = servers.into_iter().filter(is_busy);
    servers.map(|server| server.member)
}

/// Number of requests in progress of all servers that a `show stat` lists; `None` if it is not understood.
pub(super) fn sessions(stat: &str) -> Option<u64> {
    let table = Table::of_csv(stat)?;
    let mut servers = table.rows().filter(|row| !row.is_backend());
    servers.try_fold(0, |sum: u64, row| Some(sum.saturating_add(row.sessions()?)))
}

/// The ids, by backend, of the servers that have requests in progress, by `show stat`.
pub(super) fn busy_ids(stat: &str) -> Option<BTreeSet<(&str, u32)>> {
    let table = Table::of_csv(stat)?;
    let mut busy = BTreeSet::new();
    for row in table.rows().filter(|row| !row.is_backend()) {
        if row.sessions()? > 0 {
            busy.insert((row.text("pxname")?, row.text("sid")?.parse().ok()?));
        }
    }
    Some(busy)
}

/// The addresses of servers by name, by a `show servers state` of one backend.
pub(super) fn addresses(state: &str) -> Option<BTreeMap<&str, NodeAddr>> {
    let table = Table::of_words(state)?;
    let rows = table.rows();
    let addresses = rows.filter_map(|row| Some((row.text("srv_name")?, row.node()?)));
    Some(addresses.collect())
}

#[cfg(test)]
pub(super) mod tests;
