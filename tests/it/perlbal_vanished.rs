//! A node that vanished without a word, so that not even a refusal comes back, holds up no request once it is taken
//! out.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::common::client::get_later;
use crate::common::hole::Hole;
use crate::common::manager::Driven;
use crate::common::nodes::Node;
use crate::common::perlbal::{Config, Perlbal};
use crate::common::stage::Stage;
use crate::common::{SOON, eventually, runtime};

/// Perlbal gives up a connection after 15 s, when its loop turns.
const GIVEN_UP: Duration = Duration::from_secs(18);

/// Less than that; each of twenty waits for the next poke, a tenth of a second.
const ANSWERED: Duration = Duration::from_secs(6);

/// A pool `api`, whose service makes a connection for each request.
fn perlbal(stage: &Stage) -> Perlbal {
    Config::new()
        .pool("api")
        .service_with(stage, "web", "api", &[("persist_backend", "off")])
        .start(stage)
}

/// The entries of the pool, as Perlbal prints them.
fn entries(perlbal: &Perlbal) -> Vec<String> {
    let lines = perlbal.ask("SHOW POOL api");
    let entry = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    lines.iter().map(entry).collect()
}

fn is_connecting_to(perlbal: &Perlbal, addr: SocketAddrV4) -> bool {
    let addr = addr.to_string();
    let lines = perlbal.ask("PENDING");
    lines
        .iter()
        .any(|line| line.split(' ').any(|word| word == addr))
}

/// Lets the node's machine vanish, and sends requests until Perlbal waits for a connection to it.
fn vanish(perlbal: &Perlbal, node: &mut Node) -> Hole {
    node.die();
    let hole = Hole::at(node.addr());
    eventually(SOON, "Perlbal connects to who vanished", || {
        get_later(perlbal.service("web"), "/");
        is_connecting_to(perlbal, node.addr()).then_some(())
    });
    hole
}

#[test]
fn a_pool_of_two_goes_on_when_one_of_them_vanished() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["api", "api"]);
    let perlbal = perlbal(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    let [stays, goes] = [0, 1].map(|at: usize| nodes[at].addr());
    let both = driven.set_desired("api", &[stays, goes], &[]);
    driven.wait_acked(both);
    let _hole = vanish(&perlbal, &mut nodes[1]);

    let out = driven.set_desired("api", &[stays], &[goes]);
    driven.wait_acked(out);
    let since = Instant::now();
    for _ in 0..20 {
        let answer = get_later(perlbal.service("web"), "/");
        let answer = runtime().block_on(answer).expect("the client panicked");
        assert!(answer.is_ok(), "{answer:?}");
    }
    assert!(since.elapsed() < ANSWERED, "{:?}", since.elapsed());
    assert!(
        is_connecting_to(&perlbal, goes),
        "it is what held requests up"
    );

    // All is as it should be, and as it is shown, meanwhile and afterwards.
    assert!(driven.status().in_sync, "{:?}", driven.status());
    let api = driven.pool_view("api");
    assert_eq!((api.desired.len(), api.sent_count()), (1, Some(1)));
    eventually(GIVEN_UP, "the spare entry is gone", || {
        (entries(&perlbal) == [stays.to_string()]).then_some(())
    });
    assert!(!is_connecting_to(&perlbal, goes));
}

#[test]
fn a_member_that_leaves_takes_its_spare_entry_with_it() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["api", "api", "api"]);
    let perlbal = perlbal(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    let [first, second, goes] = [0, 1, 2].map(|at: usize| nodes[at].addr());
    let all = driven.set_desired("api", &[first, second, goes], &[]);
    driven.wait_acked(all);
    let _hole = vanish(&perlbal, &mut nodes[2]);

    let out = driven.set_desired("api", &[first, second], &[goes]);
    driven.wait_acked(out);
    let spare = eventually(SOON, "a spare entry", || {
        let known = [first, second].map(|addr| addr.to_string());
        entries(&perlbal)
            .into_iter()
            .find(|entry| !known.contains(entry))
    });
    let last_octet = |text: &str| {
        let ip = text.split(':').next()?;
        ip.rsplit('.')
            .next()?
            .trim_start_matches('0')
            .parse::<u8>()
            .ok()
    };
    let of_first = last_octet(&spare) == Some(first.ip().octets()[3]);
    let (leaves, remains) = if of_first {
        (first, second)
    } else {
        (second, first)
    };
    let out = driven.set_desired("api", &[remains], &[leaves, goes]);
    driven.wait_acked(out);
    assert!(!entries(&perlbal).contains(&spare));
    driven.wait_drained(leaves, out);
    let answer = get_later(perlbal.service("web"), "/");
    assert!(
        runtime()
            .block_on(answer)
            .expect("the client panicked")
            .is_ok()
    );
}

#[test]
fn a_spare_entry_does_not_outlive_a_restart_of_perlbal() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["api", "api"]);
    let mut perlbal = perlbal(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    let [stays, goes] = [0, 1].map(|at: usize| nodes[at].addr());
    let both = driven.set_desired("api", &[stays, goes], &[]);
    driven.wait_acked(both);
    let _hole = vanish(&perlbal, &mut nodes[1]);
    let out = driven.set_desired("api", &[stays], &[goes]);
    driven.wait_acked(out);
    eventually(SOON, "a spare entry", || {
        (entries(&perlbal).len() == 2).then_some(())
    });

    perlbal.kill();
    driven.wait("it is gone", |status| !status.connected);
    perlbal.start();
    driven.wait("it is there again", |status| {
        status.connected && status.in_sync && status.observed >= out
    });
    assert_eq!(entries(&perlbal), [stays.to_string()]);
}
