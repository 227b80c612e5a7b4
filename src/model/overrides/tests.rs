//! What is a valid reason, when overrides expire, and how they are saved.

use super::*;

fn reason(until: Option<u64>) -> Reason {
    Reason {
        note: Note::default(),
        by: Note::new("ann"),
        since: Timestamp::from_millis(1),
        until: until.map(Timestamp::from_millis),
    }
}

#[test]
fn a_reason_has_a_short_name_and_a_note_is_one_printable_line() {
    for good in ["kernel", "deploy-v24", "INC-7.1+b"] {
        assert!(good.parse::<ReasonName>().is_ok(), "{good}");
    }
    for bad in ["", "two words", "a/b", "x\n", &"a".repeat(65)] {
        assert_eq!(bad.parse::<ReasonName>(), Err(ReasonNameError), "{bad}");
    }
    let note = Note::new(&format!(" a\x1b[2J\nb{}", "x".repeat(1_000)));
    assert_eq!(note.as_str().chars().count(), Note::MAX_CHARS);
    assert!(!note.as_str().contains(char::is_control));
}

#[test]
fn each_override_expires_at_its_time() {
    let addr: NodeAddr = "10.0.0.1:80".parse().unwrap();
    let mut overrides = Overrides::default();
    let reasons = overrides.disabled.entry(addr).or_default();
    reasons.insert("short".parse().unwrap(), reason(Some(10)));
    reasons.insert("long".parse().unwrap(), reason(Some(20)));
    reasons.insert("ever".parse().unwrap(), reason(None));
    assert_eq!(overrides.next_end(), Some(Timestamp::from_millis(10)));
    let expired = overrides.expire(Timestamp::from_millis(10));
    assert_eq!(expired.reasons, [(addr, "short".parse().unwrap())]);
    assert!(overrides.excludes(addr));
    overrides.expire(Timestamp::from_millis(20));
    assert_eq!(overrides.next_end(), None);
    assert!(overrides.remove_reason(addr, &"ever".parse().unwrap()));
    assert!(!overrides.excludes(addr));
}

#[test]
fn overrides_are_the_same_after_writing_and_reading() {
    let addr: NodeAddr = "10.0.0.1:80".parse().unwrap();
    let mut overrides = Overrides::default();
    let reasons = overrides.disabled.entry(addr).or_default();
    reasons.insert("kernel".parse().unwrap(), reason(Some(10)));
    overrides
        .frozen
        .insert("storm".parse().unwrap(), reason(None));
    let lease = LeaveLease {
        pool: Some("api".parse().unwrap()),
        version: Some("v1".parse().unwrap()),
        left: Some("api".parse().unwrap()),
        since: Timestamp::from_millis(1),
        until: Timestamp::from_millis(2),
        was_away: true,
    };
    overrides.leases.insert(addr, lease);
    let weight = WeightOverride {
        weight: "50".parse().unwrap(),
        name: "canary".parse().unwrap(),
        reason: reason(Some(10)),
    };
    overrides.weights.insert(addr, weight);
    let text = serde_json::to_string(&overrides).unwrap();
    assert_eq!(serde_json::from_str::<Overrides>(&text).unwrap(), overrides);
}
