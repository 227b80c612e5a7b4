//! Version pools over a restart.

use serde_json::{Value, json};

use super::site::{End, Site, nobody};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::Config;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

/// A site with version pools at two versions, a node at each.
fn versions(keys: &Value) -> (Site, Vec<Node>) {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api serving v1", "api serving v2"]);
    let mut config = Config::new();
    for pool in ["api", "api__v1", "api__v2"] {
        let name = format!("on_{pool}");
        config = config.pool(pool).service(&stage, &name, pool);
    }
    let perlbal = config.start(&stage);
    let site = Site::start(stage, perlbal, keys);
    site.perlbal.wait_members("api", &addrs(&nodes));
    site.perlbal.wait_members("api__v1", &addrs(&nodes[..1]));
    site.perlbal.wait_members("api__v2", &addrs(&nodes[1..]));
    (site, nodes)
}

#[test]
fn a_version_pool_whose_only_member_left_the_services_file_over_a_restart_is_emptied() {
    for how in [End::Terminated, End::Killed] {
        let (mut site, nodes) = versions(&json!({}));
        site.lose_perlbal();
        site.end(how);
        site.stage.list(&nodes[1..]);
        site.begin();
        site.perlbal.go_on();
        site.perlbal.wait_members("api", &addrs(&nodes[1..]));
        site.perlbal.wait_members("api__v1", &nobody());
    }
}

#[test]
fn a_version_pool_whose_file_is_empty_or_gone_is_emptied_after_a_restart() {
    for grace in ["60s", "1ms"] {
        let (mut site, nodes) = versions(&json!({ "empty_pool_grace": grace }));
        site.lose_perlbal();
        nodes[0].announce("api serving v2");
        let gone = || {
            site.stage
                .lines("api.v1.pool")
                .is_none_or(|lines| lines.is_empty())
        };
        becomes(SOON, "the version's file", &true, gone);
        if grace == "1ms" {
            becomes(SOON, "the file", &None, || site.stage.lines("api.v1.pool"));
        }
        site.end(End::Killed);
        site.begin();
        site.perlbal.go_on();
        site.perlbal.wait_members("api__v2", &addrs(&nodes));
        site.perlbal.wait_members("api__v1", &nobody());
        site.leave(&nodes[0], &["api", "api__v1", "api__v2"]);
    }
}

#[test]
fn a_version_pool_that_nothing_remembers_is_never_lied_about() {
    let keys = json!({ "state_file": "", "empty_pool_grace": "1ms" });
    let (mut site, nodes) = versions(&keys);
    site.lose_perlbal();
    nodes[0].announce("");
    becomes(SOON, "the file", &None, || site.stage.lines("api.v1.pool"));
    site.end(End::Killed);
    site.begin();
    site.perlbal.go_on();
    site.perlbal.wait_members("api", &addrs(&nodes[1..]));
    let why = format!(
        "granted still a member of pool api__v1 at {}, which pollbal does not manage",
        site.perlbal.management()
    );
    becomes(SOON, "the answer", &why, || site.ask_leave(&nodes[0]));
    assert_eq!(site.explained(&nodes[0])["drained"], json!(false));
    site.perlbal.remove("api__v1", nodes[0].addr());
    site.leave(&nodes[0], &["api", "api__v1", "api__v2"]);
}
