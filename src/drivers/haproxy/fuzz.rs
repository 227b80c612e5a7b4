//! Whatever a peer says, what reads it neither panics nor makes a command of it that parts others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::answers::{Expected, Outcome, judge};
use super::desired::{Desired, DesiredBackend, DesiredMember};
use super::plan::plan;
use super::settings::{Leave, ServerMode};
use super::state::Actual;
use super::statistics;
use super::tables::tests::{CONN, STAT, STATE};
use super::tables::{Info, Texts, addresses, busy_ids, busy_members, server_ids, sessions};
use crate::drivers::sync::Member;
use crate::model::node::NodeAddr;
use crate::model::weight::Weight;

const INFO: &str = "Name: HAProxy\nVersion: 2.6.12\nPid: 7\nStopping: 0\nStart_time_sec: 9\n";

/// What is said where something else belongs.
const WORDS: [&str; 14] = [
    "",
    "-1",
    "18446744073709551615",
    "99999999999999999999",
    "4294967295",
    "#",
    "# ",
    "\"",
    "a;del",
    "\\",
    "127.0.0.1",
    "::1",
    "pb18446744073709551616",
    "Proxy is disabled.",
];

/// A way to spoil an answer.
#[derive(Clone, Debug)]
enum Harm {
    Cut(Index),
    Bytes(Vec<(Index, u8)>),
    Word(Index, &'static str),
    Swap(Index, Index),
    Line(Index, String),
    Replace(String),
}

fn harms() -> impl Strategy<Value = Harm> {
    prop_oneof![
        any::<Index>().prop_map(Harm::Cut),
        vec((any::<Index>(), any::<u8>()), 1..9).prop_map(Harm::Bytes),
        (any::<Index>(), select(&WORDS[..])).prop_map(|(at, word)| Harm::Word(at, word)),
        (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Harm::Swap(one, other)),
        (any::<Index>(), ".{0,40}").prop_map(|(at, text)| Harm::Line(at, text)),
        "(?s).{0,200}".prop_map(Harm::Replace),
    ]
}

impl Harm {
    fn apply(&self, text: String) -> String {
        if text.is_empty() {
            return text;
        }
        match self {
            Self::Cut(at) => {
                let bytes = &text.as_bytes()[..at.index(text.len())];
                String::from_utf8_lossy(bytes).into_owned()
            }
            Self::Bytes(changes) => {
                let mut bytes = text.into_bytes();
                for (at, byte) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Word(at, word) => {
                let separators = [' ', ',', '\n'];
                let fields: Vec<&str> = text.split_inclusive(separators).collect();
                let at = at.index(fields.len());
                let end = fields[at].trim_start_matches(|c| !separators.contains(&c));
                let other = format!("{word}{end}");
                [&fields[..at], &[&*other], &fields[at + 1..]]
                    .concat()
                    .concat()
            }
            Self::Swap(one, other) => {
                let mut lines: Vec<&str> = text.lines().collect();
                let count = lines.len();
                lines.swap(one.index(count), other.index(count));
                lines.join("\n")
            }
            Self::Line(at, line) => {
                let mut lines: Vec<&str> = text.lines().collect();
                lines.insert(at.index(lines.len()), line);
                lines.join("\n")
            }
            Self::Replace(text) => text.clone(),
        }
    }
}

/// An answer to any command, spoiled.
fn answers() -> impl Strategy<Value = String> {
    let right = select(&[INFO, STATE, STAT, CONN, "", "New server registered.\n"][..]);
    (right, vec(harms(), 0..4)).prop_map(|(right, harms)| spoil(right, &harms))
}

/// What should answer these commands, of which each may be spoiled or that of another command.
fn tables() -> impl Strategy<Value = [String; 3]> {
    let table = |right: &'static str| {
        let spoiled = vec(harms(), 0..3).prop_map(move |harms| spoil(right, &harms));
        prop_oneof![8 => spoiled, 1 => answers()]
    };
    (table(STATE), table(STAT), table(CONN)).prop_map(|(state, stat, conn)| [state, stat, conn])
}

fn spoil(right: &str, harms: &[Harm]) -> String {
    let right = right.to_owned();
    harms.iter().fold(right, |text, harm| harm.apply(text))
}

fn node(text: &str) -> NodeAddr {
    text.parse().unwrap()
}

/// Wants one member that the tables have, and one that they have not.
fn desired(servers: ServerMode) -> Desired {
    let nodes = ["10.0.0.2:80", "10.0.0.3:80"].map(node);
    let member = |node| (node, DesiredMember::new("web", Weight::default()));
    let target = DesiredBackend {
        needed_by: Some("api".parse().unwrap()),
        members: nodes.map(member).into(),
        sorry: vec![member(node("10.0.0.9:80"))],
        is_unserved: false,
    };
    let known: BTreeSet<_> = nodes.into_iter().chain([node("10.0.0.1:80")]).collect();
    Desired {
        backends: ["api", "empty"]
            .map(|name| (name.parse().unwrap(), target.clone()))
            .into(),
        healthy: known.clone(),
        known,
        servers,
        slot_prefix: "pb".parse().unwrap(),
        leave: Leave::Drain,
        keeps_state: true,
    }
}

/// Executes plans as if each command succeeded, and checks the commands.
fn obey(desired: &Desired, mut actual: Actual) {
    for draining in [members(), BTreeSet::new()] {
        let plan = plan(desired, &actual, &draining);
        for step in plan.batches.iter().flatten() {
            for command in step.commands() {
                let text = command.text;
                let is_one = !text.contains([';', '\n', '\r', '\\', '\0']);
                let has_verb = ["set server ", "add server ", "del server "]
                    .iter()
                    .any(|verb| text.starts_with(verb));
                assert!(is_one && has_verb && text.len() < 15_000, "{text:?}");
            }
            actual.apply(step);
        }
    }
}

fn members() -> BTreeSet<Member> {
    let nodes = ["10.0.0.1:80", "[::1]:80", "127.0.0.1:1"];
    nodes.map(|text| (Arc::from("api"), node(text))).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn tables_are_understood_or_not_whatever_they_say(
        [state, stat, conn] in tables(),
        servers in select(vec![ServerMode::Slots, ServerMode::Add, ServerMode::Auto]),
    ) {
        let texts = Texts { state: &state, stat: &stat, conn: &conn };
        if let Some(actual) = texts.actual("pb") {
            prop_assert!(!actual.differs(&actual));
            obey(&desired(servers), actual);
        }
    }

    #[test]
    fn every_reader_bears_every_answer(answer in answers()) {
        let info = Info::parse(&answer);
        let info = info.or_else(|| Info::parse(INFO)).unwrap();
        let removed = members();
        let busy = busy_ids(&answer).unwrap_or_default();
        if let Some(servers) = server_ids(&answer, &removed) {
            prop_assert!(busy_members(servers, &busy).all(|member| removed.contains(&member)));
        }
        sessions(&answer);
        let there: BTreeMap<_, _> = addresses(&answer).unwrap_or_default();
        prop_assert!(there.len() <= answer.lines().count());
        statistics::families(&info, &answer, true);
    }

    #[test]
    fn only_what_is_known_as_success_is_one(answer in answers(), number in 0..5_usize) {
        let expected = [
            Expected::Nothing,
            Expected::Weight,
            Expected::Address(node("10.0.0.1:80")),
            Expected::Added,
            Expected::Deleted,
        ][number];
        let words = answer.trim_matches('\n');
        match judge(expected, &answer) {
            Outcome::Success => {
                let is_known = words.is_empty()
                    || ["New server registered.", "Server deleted.", "nothing changed"].contains(&words)
                    || words.contains("change");
                prop_assert!(is_known, "{answer:?}");
            }
            Outcome::Rejected(text) => prop_assert!(!text.is_empty() && !text.contains('\n')),
            Outcome::FixedWeights | Outcome::Stopping => {}
        }
    }
}
