use super::*;
use crate::model::change::Ending;
use crate::model::overrides::Note;

fn text(change: &Change) -> String {
    EventText::from_change(change).text
}

#[test]
fn a_node_that_other_reasons_keep_out_is_not_reported_as_re_enabled() {
    let node = || Arc::new(Node::new("10.0.0.1:80".parse().unwrap(), "web-1"));
    let enabled = |how, remaining: &[&str]| {
        let remaining = remaining.iter().map(|name| name.parse().unwrap());
        let name = "kernel".parse().unwrap();
        text(&Change::Enabled(node(), name, how, remaining.collect()))
    };
    assert_eq!(
        enabled(Ending::Removed(Note::new("bob")), &[]),
        "web-1 re-enabled (kernel removed by bob)"
    );
    assert_eq!(
        enabled(Ending::Expired, &["disk", "net"]),
        "web-1 still disabled for disk, net (kernel expired)"
    );
}

#[test]
fn a_removed_member_is_reported_with_pool_version_and_reason() {
    let node = Arc::new(Node::new("10.0.0.1:80".parse().unwrap(), "web-1"));
    let place = Assignment {
        pool: "api".parse().unwrap(),
        version: Some("v23".parse().unwrap()),
    };
    let why = OutReason::Failed(Failure::Status(500));
    assert_eq!(
        text(&Change::Left(node, place, why)),
        "web-1 removed from api (v23): failed: HTTP 500, expected 200"
    );
}
