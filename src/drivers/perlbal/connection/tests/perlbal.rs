//! A model of Perlbal in memory: what its management socket makes of commands, and which nodes get its clients'
//! requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A Perlbal that runs one command after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Perlbal {
    pub(super) started: u64,
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) services: BTreeMap<String, Service>,
    /// The nodefiles, by path.
    pub(super) files: BTreeMap<String, BTreeSet<String>>,
    /// Nodes that are busy with a request over each of their connections.
    pub(super) busy: BTreeSet<String>,
    /// Connections that are being made, by service and address.
    pub(super) pending: Vec<(String, String)>,
    /// Commands that it answers with an error, until that is taken back.
    pub(super) rejects: BTreeSet<String>,
    /// Every command that it ran.
    pub(super) ran: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    pub(super) members: BTreeSet<String>,
    pub(super) nodefile: Option<String>,
    /// Nodes whose use it counts: a connection to such a node passes for valid (Pool.pm, `mark_node_used`).
    used: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    pub(super) pool: Option<String>,
    pub(super) connect_ahead: u64,
    generation: u64,
    /// Its kept connections: the node of each, and the generation at which it was last verified.
    pub(super) connections: BTreeMap<String, u64>,
}

impl Perlbal {
    /// Pools with these members, each used by a service of its own that is named `<pool>_service`.
    pub(super) fn with(pools: &[(&str, &[&str])]) -> Self {
        let mut perlbal = Self {
            started: 1,
            ..Self::default()
        };
        for (name, members) in pools {
            let pool = Pool {
                members: members.iter().map(ToString::to_string).collect(),
                ..Pool::default()
            };
            perlbal.pools.insert((*name).to_owned(), pool);
            let service = Service {
                pool: Some((*name).to_owned()),
                ..Service::default()
            };
            perlbal.services.insert(format!("{name}_service"), service);
        }
        perlbal
    }

    pub(super) fn members(&self, pool: &str) -> Vec<&str> {
        let pool = self.pools.get(pool).expect("the pool exists");
        pool.members.iter().map(String::as_str).collect()
    }

    /// Runs the commands of one write, and returns what it prints.
    pub(super) fn run(&mut self, batch: &str) -> String {
        batch.lines().map(|line| self.run_line(line)).collect()
    }

    fn run_line(&mut self, line: &str) -> String {
        let line = line.trim_end();
        self.ran.push(line.to_owned());
        if self.rejects.contains(line) {
            return "ERROR: rejected\r\n".to_owned();
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["VERBOSE", "on"] => "OK\r\n".to_owned(),
            ["UPTIME"] => printed(&format!(
                "starttime {}\nuptime 1\nversion 1.80",
                self.started
            )),
            ["DUMPCONFIG"] => self.dump() + "OK\r\n",
            ["BACKENDS"] => {
                let open = self.connections().into_iter();
                printed(
                    &open
                        .map(|node| format!("{node} 1"))
                        .collect::<Vec<_>>()
                        .join("\n"),
                )
            }
            ["SOCKS"] => printed(&self.sockets()),
            ["NODES", _] => printed(""),
            ["PENDING"] => {
                let lines = self
                    .pending
                    .iter()
                    .map(|(service, addr)| format!("{service} {addr} 1"));
                printed(&lines.collect::<Vec<_>>().join("\n"))
            }
            ["SHOW", "POOL"] => printed(&self.users()),
            ["SHOW", "POOL", name] => match self.pools.get(name) {
                Some(pool) => {
                    let lines = pool.members.iter().map(|member| format!("{member} 0"));
                    printed(&lines.collect::<Vec<_>>().join("\n"))
                }
                None => format!("ERROR: pool '{name}' does not exist\r\n"),
            },
            ["SHOW", "SERVICE", name] => match self.services.get(name) {
                Some(service) => printed(&format!(
                    "SERVICE {name}\n          role: reverse_proxy\n connect-ahead: 0/{}{}",
                    service.connect_ahead,
                    service
                        .pool
                        .as_ref()
                        .map_or_else(String::new, |pool| format!("\n          pool: {pool}")),
                )),
                None => "ERROR: service does not exist\r\n".to_owned(),
            },
            ["CREATE", "POOL", name] => {
                self.pools.insert(name.to_owned(), Pool::default());
                "OK\r\n".to_owned()
            }
            ["POOL", name, verb, member] => self.change_pool(name, verb, member),
            ["SET", name, "nodefile", "=", path] => self.reload(name, path),
            ["SET", name, "pool", "=", pool] => {
                self.switch(name, pool);
                "OK\r\n".to_owned()
            }
            ["SET", name, "connect_ahead", "=", number] => match self.services.get_mut(name) {
                Some(service) => {
                    service.connect_ahead = number.parse().expect("a number");
                    "OK\r\n".to_owned()
                }
                None => "ERROR: no such service\r\n".to_owned(),
            },
            _ => format!("ERROR: unknown command '{line}'\r\n"),
        }
    }

    fn change_pool(&mut self, name: &str, verb: &str, member: &str) -> String {
        let Some(pool) = self.pools.get_mut(name) else {
            return format!("ERROR: Pool '{name}' not found\r\n");
        };
        if verb == "ADD" {
            pool.members.insert(member.to_owned());
        } else {
            pool.members.remove(member);
            pool.used.remove(member);
        }
        "OK\r\n".to_owned()
    }

    fn reload(&mut self, name: &str, path: &str) -> String {
        let (Some(pool), Some(members)) = (self.pools.get_mut(name), self.files.get(path)) else {
            return "ERROR: File not found\r\n".to_owned();
        };
        pool.members.clone_from(members);
        pool.used.retain(|node| members.contains(node));
        "OK\r\n".to_owned()
    }

    /// Gives a service a pool, be it the one that it has: its connections are verified at their next use.
    pub(super) fn switch(&mut self, service: &str, pool: &str) {
        if let Some(service) = self.services.get_mut(service) {
            service.pool = Some(pool.to_owned());
            service.generation += 1;
        }
    }

    /// A request over each kept connection, and over a new one to each member (Service.pm, `verify_generation`).
    pub(super) fn serve_clients(&mut self) {
        for service in self.services.values_mut() {
            let Some(pool) = service
                .pool
                .as_ref()
                .and_then(|name| self.pools.get_mut(name))
            else {
                continue;
            };
            let generation = service.generation;
            service.connections.retain(|node, verified| {
                let is_valid = *verified == generation
                    || pool.members.contains(node)
                    || pool.used.contains(node);
                *verified = generation;
                is_valid
            });
            for node in &pool.members {
                service.connections.insert(node.clone(), generation);
            }
            pool.used.extend(service.connections.keys().cloned());
        }
    }

    /// The nodes to which connections are open.
    fn connections(&self) -> BTreeSet<String> {
        let services = self.services.values();
        services
            .flat_map(|service| service.connections.keys().cloned())
            .chain(self.busy.iter().cloned())
            .collect()
    }

    fn sockets(&self) -> String {
        let mut text = String::new();
        for node in self.connections() {
            let state = if self.busy.contains(&node) {
                "wait_res"
            } else {
                "bored"
            };
            _ = writeln!(
                text,
                "  9  3s Perlbal::BackendHTTP(R): open to {node}: localport=1; uses=1; {state}"
            );
        }
        text
    }

    fn users(&self) -> String {
        let mut text = String::new();
        for (name, pool) in &self.pools {
            let has_it = |service: &&Service| service.pool.as_ref() == Some(name);
            let users = self.services.values().filter(has_it).count();
            _ = writeln!(text, "{name} nodes {}", pool.members.len());
            _ = writeln!(text, "{name} services {users}");
        }
        text
    }

    fn dump(&self) -> String {
        let mut text = String::new();
        for (name, pool) in &self.pools {
            _ = write!(text, "CREATE POOL {name}\r\n");
            match &pool.nodefile {
                Some(path) => _ = write!(text, "  SET nodefile = {path}\r\n"),
                None => {
                    for member in &pool.members {
                        _ = write!(text, "  POOL ADD {name} {member}\r\n");
                    }
                }
            }
            text.push_str("\r\n");
        }
        for (name, service) in &self.services {
            _ = write!(
                text,
                "CREATE SERVICE {name}\r\n  SET role = reverse_proxy\r\n"
            );
            if let Some(pool) = &service.pool {
                _ = write!(text, "  SET pool = {pool}\r\n");
            }
            if service.connect_ahead > 0 {
                _ = write!(text, "  SET connect_ahead = {}\r\n", service.connect_ahead);
            }
            _ = write!(text, "ENABLE {name}\r\n\r\n");
        }
        text
    }
}

/// Lines as Perlbal prints them, ended by a dot.
fn printed(text: &str) -> String {
    let lines = text.lines().map(|line| format!("{line}\r\n"));
    lines.collect::<String>() + ".\r\n"
}
