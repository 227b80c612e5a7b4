//! A site whose pollbal is restarted while Perlbal cannot be reached.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use serde_json::{Value, json};

use crate::common::http::{ask_from, get};
use crate::common::nodes::Node;
use crate::common::perlbal::Perlbal;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, overlay};

/// How pollbal ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Terminated,
    Killed,
}

/// A site whose pollbal is started again and again.
pub(crate) struct Site {
    pub(crate) listener: SocketAddrV4,
    pub(crate) config: Value,
    pub(crate) pollbal: Option<Pollbal>,
    pub(crate) perlbal: Perlbal,
    pub(crate) stage: Stage,
}

impl Site {
    /// Starts pollbal with these keys beside this Perlbal.
    pub(crate) fn start(stage: Stage, perlbal: Perlbal, keys: &Value) -> Self {
        let listener = stage.free_addr();
        let mut config = json!({
            // A short timeout, so that a Perlbal that stands still is soon lost.
            "perlbal": {
                "address": perlbal.management(), "timeout": "500ms", "resync_interval": "500ms",
            },
            "node_listen": listener,
            "service_timeout": "5s",
        });
        overlay(&mut config, keys);
        let mut site = Self {
            listener,
            config,
            pollbal: None,
            perlbal,
            stage,
        };
        site.begin();
        site
    }

    pub(crate) fn begin(&mut self) {
        let pollbal = Pollbal::start(&self.stage, &self.config);
        pollbal.wait_log(&["first round done"]);
        self.pollbal = Some(pollbal);
    }

    pub(crate) fn end(&mut self, how: End) {
        let mut pollbal = self.pollbal.take().expect("it runs");
        match how {
            End::Terminated => _ = pollbal.terminate(),
            End::Killed => pollbal.kill(),
        }
    }

    pub(crate) fn pollbal(&self) -> &Pollbal {
        self.pollbal.as_ref().expect("it runs")
    }

    /// Perlbal stands still, and pollbal has noticed.
    pub(crate) fn lose_perlbal(&mut self) {
        let mark = self.pollbal().mark();
        self.perlbal.pause();
        self.pollbal()
            .wait_log_after(mark, &["cannot reach Perlbal"]);
    }

    /// Waits until what is expected is in Perlbal, and read back.
    #[track_caller]
    pub(crate) fn wait_in_sync(&self) {
        becomes(SOON, "in sync", &json!(true), || {
            get(&self.stage, "/v1/status").json()["load_balancers"][0]["in_sync"].clone()
        });
    }

    /// Waits until the pool file is there and empty.
    #[track_caller]
    pub(crate) fn wait_empty(&self, file: &str) {
        becomes(SOON, file, &Some(Vec::new()), || self.stage.lines(file));
    }

    /// Waits until the state file has something of that name.
    #[track_caller]
    pub(crate) fn wait_kept(&self, name: &str) {
        eventually(SOON, name, || {
            let text = std::fs::read_to_string(self.stage.path("state.json")).ok()?;
            text.contains(name).then_some(())
        });
    }

    /// Asks to leave until it is gone, and then looks whether Perlbal has it in one of these pools.
    #[track_caller]
    pub(crate) fn leave(&self, node: &Node, pools: &[&str]) {
        becomes(SOON, "the answer", &"gone".to_owned(), || {
            self.ask_leave(node)
        });
        for pool in pools {
            let members = self.perlbal.members(pool).expect("the pool is there");
            assert!(!members.contains(&node.addr()), "gone, but in {pool}");
        }
    }

    /// Asks to leave, as often as that is answered.
    #[track_caller]
    pub(crate) fn ask_leave(&self, node: &Node) -> String {
        let reply = eventually(SOON, "an answer", || {
            let reply = ask_from(*node.addr().ip(), self.listener, "POST", "/leave");
            (reply.status != 429).then_some(reply)
        });
        reply.ok().to_owned()
    }

    /// The text of the only Perlbal in what is explained of a node.
    pub(crate) fn explained(&self, node: &Node) -> Value {
        let path = format!("/v1/explain?node={}", node.name());
        get(&self.stage, &path).json()["load_balancers"][0].clone()
    }
}

pub(crate) fn nobody() -> BTreeSet<SocketAddrV4> {
    BTreeSet::new()
}
