use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A value in MessagePack.
fn packed(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

/// Feeds bytes in pieces of this length, and returns the complete values.
fn feed(bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, FrameError> {
    let (mut frames, mut found) = (Frames::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        frames.received.extend(piece);
        while let Some(frame) = frames.next()? {
            found.push(frame);
        }
    }
    Ok(found)
}

/// As Debian's agent sends it.
fn list(members: &[Value]) -> Vec<u8> {
    packed(&json!({ "Members": members }))
}

fn member(name: &str) -> Value {
    json!({
        "Name": name, "Addr": [], "Port": 7946, "Tags": { "role": "web" }, "Status": "alive",
        "ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 4, "DelegateMin": 2,
    })
}

fn members(frame: &[u8]) -> Result<Vec<Member>, FrameError> {
    decode::<MembersAnswer>(frame).map(|answer| answer.members)
}

/// A map with a value that is already packed.
fn with_raw(key: &str, value: &[u8]) -> Vec<u8> {
    [&[0x81][..], &packed(&key), value].concat()
}

#[test]
fn a_request_is_two_maps_behind_each_other() {
    let bytes = request("handshake", 7, Some(&Handshake { version: 1 }));
    let found = feed(&bytes, bytes.len()).unwrap();
    let values: Vec<Value> = found.iter().map(|frame| decode(frame).unwrap()).collect();
    assert_eq!(
        values,
        [
            json!({ "Command": "handshake", "Seq": 7 }),
            json!({ "Version": 1 })
        ]
    );
    let bytes = request("members", 8, None::<&()>);
    assert_eq!(feed(&bytes, 1).unwrap(), [bytes]);
}

#[test]
fn addresses_are_of_four_or_sixteen_bytes_however_they_are_sent() {
    #[derive(Deserialize)]
    struct Holder {
        #[serde(rename = "A", deserialize_with = "address")]
        addr: Option<IpAddr>,
    }
    let read = |value: &[u8]| decode::<Holder>(&with_raw("A", value)).unwrap().addr;
    let ipv4: IpAddr = "10.0.0.1".parse().unwrap();
    let ipv6: IpAddr = "2001:db8::1".parse().unwrap();
    let IpAddr::V6(bytes) = ipv6 else { panic!() };
    assert_eq!(read(&[0xc4, 4, 10, 0, 0, 1]), Some(ipv4));
    // As old agents send it: as a text.
    assert_eq!(read(&[0xa4, 10, 0, 0, 1]), Some(ipv4));
    assert_eq!(
        read(&[&[0xc4, 16][..], &bytes.octets()].concat()),
        Some(ipv6)
    );
    let mapped = [&[0xc4, 16][..], &[0; 10], &[0xff, 0xff, 10, 0, 0, 1]].concat();
    assert_eq!(read(&mapped), Some(ipv4));
    for none in [&[0xc0][..], &[0xa0], &[0xc4, 3, 10, 0, 0]] {
        assert_eq!(read(none), None);
    }
}

#[test]
fn a_text_that_is_no_text_spoils_no_list() {
    let name = [0xa4, b'w', 0xff, 0xfe, b'b'];
    let frame = with_raw(
        "Members",
        &[
            &[0x91, 0x84][..],
            &packed(&"Name"),
            &name,
            &packed(&"Addr"),
            &[0xc0],
            &packed(&"Tags"),
            &[0xc0],
            &packed(&"Status"),
            &packed(&"alive"),
        ]
        .concat(),
    );
    let members = members(&frame).unwrap();
    assert_eq!(members[0].name.0, "w\u{fffd}\u{fffd}b");
    assert_eq!(members[0].tag("role"), None);
}

#[test]
fn too_many_too_long_and_too_deep_are_errors() {
    let one = rmp_serde::to_vec_named(&member("web")).unwrap();
    let many = |count: usize| {
        let head = [&[0xdd][..], &u32::try_from(count).unwrap().to_be_bytes()].concat();
        with_raw(
            "Members",
            &[head, one.replace_addr().repeat(count)].concat(),
        )
    };
    assert_eq!(members(&many(MAX_MEMBERS)).unwrap().len(), MAX_MEMBERS);
    assert!(matches!(
        members(&many(MAX_MEMBERS + 1)),
        Err(FrameError::Unexpected(_))
    ));
    let deep = vec![0x91; MAX_DEPTH + 1];
    assert_eq!(feed(&deep, 3), Err(FrameError::TooDeep));
    for long in [[0xc6], [0xdb], [0xc9]] {
        let head = [&long[..], &[0xff; 4]].concat();
        assert_eq!(feed(&head, 5), Err(FrameError::TooLong));
    }
    // Many values of a byte each.
    let wide = [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &vec![0xc0; MAX_BYTES]].concat();
    assert_eq!(feed(&wide, 65_536), Err(FrameError::TooLong));
    assert_eq!(feed(&[0xc1], 1), Err(FrameError::Invalid));
}

/// The fixture's address is an empty list, since JSON has no bytes; the protocol's is nothing here.
trait ReplaceAddr {
    fn replace_addr(&self) -> Vec<u8>;
}

impl ReplaceAddr for Vec<u8> {
    fn replace_addr(&self) -> Vec<u8> {
        let key = packed(&"Addr");
        let at = self
            .windows(key.len())
            .position(|part| part == key)
            .unwrap()
            + key.len();
        let mut bytes = self.clone();
        bytes[at] = 0xc0;
        bytes
    }
}

#[test]
fn keys_that_later_agents_add_are_ignored_and_missing_ones_are_an_error() {
    let mut web = member("web");
    web["Addr"] = Value::Null;
    web["New"] = json!([{ "a": [1.5, true, null] }]);
    assert_eq!(
        members(&list(&[web.clone()])).unwrap()[0].tag("role"),
        Some("web")
    );
    web.as_object_mut().unwrap().remove("Status");
    assert!(members(&list(&[web])).is_err());
    assert!(
        members(&packed(&json!({ "Members": null })))
            .unwrap()
            .is_empty()
    );
    assert!(members(&packed(&json!(["Members"]))).is_err());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,300}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{0,40}", inner, 0..20)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn values_are_found_however_they_arrive(
        values in proptest::collection::vec(value(), 0..5),
        piece in 1..100usize,
    ) {
        let frames: Vec<_> = values.iter().map(packed).collect();
        prop_assert_eq!(feed(&frames.concat(), piece).unwrap(), frames);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for frame in feed(&bytes, 7).into_iter().flatten() {
            let _ = decode::<AnswerHeader>(&frame);
            let _ = members(&frame);
        }
        let _ = members(&bytes);
    }

    #[test]
    fn an_answer_that_is_cut_off_or_damaged_is_an_error_or_another_list(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut web = member("web");
        web["Addr"] = Value::Null;
        let whole = list(&[web.clone(), web]);
        let at = at.index(whole.len());
        prop_assert_eq!(feed(&whole[..at], 16).unwrap(), Vec::<Vec<u8>>::new());
        prop_assert!(members(&whole[..at]).is_err());
        let mut damaged = whole;
        damaged[at] = byte;
        for frame in feed(&damaged, 16).into_iter().flatten() {
            let _ = members(&frame);
        }
    }
}
