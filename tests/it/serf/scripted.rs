//! What a real agent cannot be made to do: lists of a certain number, and answers that break off or are none.

use std::io::{BufReader, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{members, problem, wait_no_problem, wait_pool};
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::process::peak_memory;
use crate::common::stage::Stage;
use crate::common::{SOON, eventually};

/// An agent that says what the test has it say.
struct Scripted {
    addr: SocketAddrV4,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    members: Vec<Member>,
    answer: Answer,
    /// Number of lists that are left of this script; then it is the one before. None: without end.
    left: Option<(usize, Vec<Member>)>,
    /// Number of answers.
    answers: usize,
}

/// How it answers when it is asked for its members.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Answer {
    #[default]
    List,
    /// Half a list, and the connection ends.
    Half,
    /// No MessagePack.
    Garbage,
    /// A text of 4 GiB.
    Endless,
    /// Lists in lists.
    Deep,
    /// No answer.
    Silent,
    /// An answer to another request.
    Other,
    /// Something that is no list of members.
    Unexpected,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct List<'a> {
    members: &'a [Member],
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    name: String,
    addr: Addr,
    tags: Value,
    status: &'static str,
}

#[derive(Clone)]
struct Addr([u8; 4]);

impl Serialize for Addr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl Member {
    fn of(node: &Node) -> Self {
        Self {
            name: node.name().to_owned(),
            addr: Addr(node.addr().ip().octets()),
            tags: json!({ "port": node.addr().port().to_string() }),
            status: "alive",
        }
    }
}

impl Scripted {
    fn start(stage: &Stage, nodes: &[Node]) -> Self {
        let addr = stage.free_addr();
        let listener = TcpListener::bind(addr).expect("failed to listen");
        let script = Script {
            members: nodes.iter().map(Member::of).collect(),
            ..Script::default()
        };
        let script = Arc::new(Mutex::new(script));
        let shared = script.clone();
        // It ends with the test program, like those of its connections.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let script = shared.clone();
                thread::spawn(move || serve(&stream, &script));
            }
        });
        Self { addr, script }
    }

    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for this many answers more.
    #[track_caller]
    fn wait_answers(&self, more: usize) {
        let answers = || self.script.lock().unwrap().answers;
        let enough = answers() + more;
        eventually(SOON, "it is asked", || (answers() >= enough).then_some(()));
    }
}

/// Serves a connection until it breaks.
fn serve(stream: &TcpStream, script: &Mutex<Script>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let header: Value = rmp_serde::from_read(&mut reader).ok()?;
        if header["Command"] == "members" {
            let answer = script.lock().ok()?.answer(&header["Seq"]);
            let mut stream = stream;
            if let Some((answer, is_last)) = answer {
                stream.write_all(&answer).ok()?;
                if is_last {
                    return None;
                }
            }
        } else {
            // Its body.
            rmp_serde::from_read::<_, Value>(&mut reader).ok()?;
            let mut stream = stream;
            stream.write_all(&header_of(&header["Seq"])).ok()?;
        }
    }
}

fn header_of(seq: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(&json!({ "Seq": seq, "Error": "" })).expect("a header")
}

impl Script {
    /// What is sent, and whether the connection ends behind it.
    fn answer(&mut self, seq: &Value) -> Option<(Vec<u8>, bool)> {
        self.answers += 1;
        if let Some((left, before)) = &mut self.left {
            if *left == 0 {
                self.members = std::mem::take(before);
                self.left = None;
            } else {
                *left -= 1;
            }
        }
        let members = &self.members;
        let list = rmp_serde::to_vec_named(&List { members }).expect("a list");
        let header = header_of(seq);
        let body = match self.answer {
            Answer::List => list,
            Answer::Half => return Some(([&header, &list[..list.len() / 2]].concat(), true)),
            Answer::Garbage => b"\xc1HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Answer::Endless => [&[0xdb, 0xff, 0xff, 0xff, 0xff][..], &vec![b'x'; 1 << 20]].concat(),
            Answer::Deep => vec![0x91; 1 << 20],
            Answer::Silent => return None,
            Answer::Other => return Some(([header_of(&json!(99_999)), list].concat(), false)),
            Answer::Unexpected => rmp_serde::to_vec_named(&json!({ "Members": "all" })).ok()?,
        };
        Some(([header, body].concat(), false))
    }
}

fn config(agent: &Scripted) -> Value {
    json!({ "serf": agent.addr.to_string(), "services_file": null })
}

#[test]
fn a_node_that_is_missing_from_two_lists_stays_and_after_a_third_one_goes() {
    let stage = Stage::new();
    let nodes: [Node; 4] = [1, 2, 3, 4].map(|number| stage.node(number, "web"));
    let agent = Scripted::start(&stage, &nodes);
    let pollbal = Pollbal::start(&stage, &config(&agent));
    wait_pool(&stage, "web", &nodes.each_ref());
    // The connection is no new one any more.
    agent.wait_answers(20);
    let all: Vec<_> = nodes.iter().map(Member::of).collect();
    agent.set(|script| {
        script.left = Some((2, all));
        script.members.truncate(3);
    });
    agent.wait_answers(6);
    assert_eq!(pollbal.log_with(&["removed from web"]), [""; 0]);
    let all: Vec<_> = nodes.iter().map(Member::of).collect();
    agent.set(|script| {
        script.left = Some((3, all));
        script.members.truncate(3);
    });
    pollbal.wait_log(&["node-4 removed from web: no longer in Serf"]);
    // And back by the fourth.
    wait_pool(&stage, "web", &nodes.each_ref());
}

#[test]
fn answers_that_break_off_or_are_none_change_nothing_and_are_reported() {
    let stage = Stage::new();
    let nodes: [Node; 2] = [1, 2].map(|number| stage.node(number, "web"));
    let agent = Scripted::start(&stage, &nodes);
    let pollbal = Pollbal::start(&stage, &config(&agent));
    wait_pool(&stage, "web", &nodes.each_ref());
    let expected = members(&stage, "web");
    let small = peak_memory(pollbal.pid());
    for (answer, what) in [
        (Answer::Half, "closed the connection"),
        (Answer::Garbage, "its answer is not MessagePack"),
        (Answer::Endless, "its answer is longer than 8 MiB"),
        (Answer::Deep, "its answer is nested too deeply"),
        (Answer::Silent, "does not answer within 2s"),
        (Answer::Other, "it answers another request"),
        (Answer::Unexpected, "its answer is not as expected"),
    ] {
        agent.set(|script| script.answer = answer);
        let text = eventually(SOON, what, || {
            problem(&stage, "source_lost").filter(|text| text.contains(what))
        });
        assert!(!text.contains(char::is_control), "{text}");
        assert_eq!(members(&stage, "web"), expected, "{answer:?}");
    }
    let large = peak_memory(pollbal.pid());
    assert!(large < small + (16 << 10), "{small} KiB, then {large} KiB");
    agent.set(|script| script.answer = Answer::List);
    wait_no_problem(&stage, "source_lost");
    assert_eq!(pollbal.log_with(&["removed from web"]), [""; 0]);
    agent.set(|script| script.members[0].status = "left");
    wait_pool(&stage, "web", &[&nodes[1]]);
}
