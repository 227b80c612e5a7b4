use super::super::settings::TagPattern;
use super::super::tests::{address, member};
use super::*;

fn members(set: impl FnOnce(&mut SerfSettings)) -> Members {
    let mut settings = SerfSettings::new(address());
    set(&mut settings);
    Members::new(settings)
}

fn take(members: &mut Members, list: Vec<Member>) -> Update {
    let mut roster = Roster::default();
    let time = (Instant::now(), Duration::ZERO);
    members.take(&mut roster, list, time).unwrap()
}

fn nodes(members: &Members) -> Vec<String> {
    let nodes = members.nodes.iter();
    nodes
        .map(|node| format!("{} {}", node.addr, node.name))
        .collect()
}

fn rejected(members: &Members) -> Vec<String> {
    members.rejected().iter().map(ToString::to_string).collect()
}

const PORT: (&str, &str) = ("port", "8080");

#[test]
fn members_with_a_port_are_nodes_and_others_only_with_a_port_for_all() {
    let list = || {
        vec![
            member("web2", 2, "alive", &[PORT]),
            member("web1", 1, "failed", &[PORT]),
            member("lb", 3, "alive", &[("role", "lb")]),
        ]
    };
    let mut by_tag = members(|_| {});
    take(&mut by_tag, list());
    assert_eq!(nodes(&by_tag), ["10.0.0.1:8080 web1", "10.0.0.2:8080 web2"]);
    assert_eq!((by_tag.others(), by_tag.rejected().len()), (1, 0));
    let mut for_all = members(|settings| settings.port = parse_port("80").ok());
    take(&mut for_all, list());
    assert_eq!(nodes(&for_all)[0], "10.0.0.3:80 lb");
    let mut webs = members(|settings| {
        let pattern = TagPattern::new("web|api").unwrap();
        settings.tags.insert("role".to_owned(), pattern);
    });
    let web = |name, host, tags| member(name, host, "alive", tags);
    let list = vec![
        web("web", 1, &[("role", "web"), PORT]),
        web("webs", 2, &[("role", "webs"), PORT]),
        web("api", 3, &[("role", "api")]),
    ];
    take(&mut webs, list);
    assert_eq!(nodes(&webs), ["10.0.0.1:8080 web"]);
    assert_eq!(
        rejected(&webs),
        ["\"api\": it has no tag port, and `serf.port` is not set"]
    );
}

#[test]
fn names_and_ports_that_are_none_are_rejected_and_shown_escaped() {
    let mut members = members(|_| {});
    let names = [
        "a b;$(id) \"q\"",
        "x/y\nz",
        "10.0.0.9:80",
        "-all",
        "",
        "\u{202e}web",
    ];
    let names = names.iter().zip(1..);
    let mut list: Vec<_> = names
        .map(|(name, host)| member(name, host, "alive", &[PORT]))
        .collect();
    let long = "x".repeat(1_000);
    list.push(member(&long, 7, "alive", &[PORT]));
    for (port, host) in ["0", "65536", "80;x", "\u{1b}[2J", "+80", ""]
        .iter()
        .zip(10..)
    {
        list.push(member(
            &format!("port{host}"),
            host,
            "alive",
            &[("port", port)],
        ));
    }
    list.push(member("web", 30, "alive", &[PORT]));
    take(&mut members, list);
    assert_eq!(nodes(&members), ["10.0.0.30:8080 web"]);
    let shown = rejected(&members);
    assert_eq!(shown.len(), 13, "{shown:?}");
    let is_plain = |text: &String| text.is_ascii() && !text.contains(char::is_control);
    assert!(shown.iter().all(is_plain), "{shown:?}");
    assert!(shown.iter().all(|text| text.len() < 300), "{shown:?}");
}

#[test]
fn of_two_at_one_address_the_one_that_is_alive_or_was_there_before_is_the_node() {
    let mut members = members(|_| {});
    let first = member("m", 1, "alive", &[PORT]);
    take(&mut members, vec![first.clone()]);
    for other in ["a", "z"] {
        let other = member(other, 1, "alive", &[PORT]);
        take(&mut members, vec![first.clone(), other]);
        assert_eq!(nodes(&members), ["10.0.0.1:8080 m"]);
        assert_eq!(members.rejected().len(), 1);
        assert!(rejected(&members)[0].contains("member m has the same address"));
    }
    let failed = member("m", 1, "failed", &[PORT]);
    take(&mut members, vec![failed, member("n", 1, "alive", &[PORT])]);
    assert_eq!(nodes(&members), ["10.0.0.1:8080 n"]);
    assert_eq!(rejected(&members), [""; 0]);
}

#[test]
fn with_polls_serf_speaks_only_of_leaves_and_a_failure_is_polled_at_once() {
    let mut members = members(|_| {});
    let web = |status| vec![member("web", 1, status, &[PORT])];
    let addr: NodeAddr = "10.0.0.1:8080".parse().unwrap();
    let origins = |update: Update| update.nodes.map(|nodes| nodes.nodes[0].origin);
    assert_eq!(
        origins(take(&mut members, web("alive"))),
        Some(Origin::Serf)
    );
    assert_eq!(take(&mut members, web("alive")), Update::default());
    let failed = take(&mut members, web("failed"));
    assert_eq!((failed.nodes, failed.poll_now), (None, vec![addr]));
    assert_eq!(take(&mut members, web("failed")).poll_now, []);
    assert_eq!(take(&mut members, web("alive")).poll_now, [addr]);
    for status in ["leaving", "left"] {
        let update = take(&mut members, web(status));
        assert_eq!(update.reports[0].said, Said::Leaves);
        let is_new = status == "leaving";
        assert_eq!(origins(update), is_new.then_some(Origin::SerfReported));
    }
    assert_eq!(
        origins(take(&mut members, web("alive"))),
        Some(Origin::Serf)
    );
}

#[test]
fn without_polls_the_tags_are_the_announcement() {
    let mut members = members(|settings| settings.poll = false);
    let mut said = |status, tags: &[(&str, &str)]| {
        let tags = [&[PORT], tags].concat();
        let update = take(&mut members, vec![member("web", 1, status, &tags)]);
        update.reports[0].said.clone()
    };
    let parsed = |body: &str| {
        let announcement = Announcement::parse(body.as_bytes()).unwrap().unwrap();
        Said::Observed(Observation::Announced(announcement))
    };
    let web = ("role", "web");
    assert_eq!(said("alive", &[web]), parsed("web"));
    assert_eq!(
        said("alive", &[web, ("status", "leaving")]),
        parsed("web leaving")
    );
    let tags = [web, ("version", "v7"), ("weight", "50")];
    assert_eq!(said("alive", &tags), parsed("web ok v7 weight=50"));
    assert_eq!(said("alive", &[]), Said::Observed(Observation::Nothing));
    assert_eq!(said("left", &[web]), Said::Leaves);
    let failed = Observation::Failed(Failure::Reported);
    assert_eq!(said("failed", &[web]), Said::Observed(failed));
    // No value is two words, whatever is in it.
    for tags in [
        [("role", "web ok"), ("weight", "")],
        [web, ("version", "v7 weight=1")],
        [web, ("status", "gone\n\u{1b}[2J")],
        [web, ("weight", "257")],
        [("role", "../x"), ("status", "")],
    ] {
        let Said::Observed(Observation::Failed(failure)) = said("alive", &tags) else {
            panic!("{tags:?}");
        };
        let text = failure.to_string();
        assert!(
            text.contains("tags") && !text.contains(char::is_control),
            "{text}"
        );
    }
}
