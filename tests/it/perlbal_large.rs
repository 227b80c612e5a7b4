//! Large pools: a change elsewhere is confirmed without having Perlbal print their members, for which it would stand
//! still.

use std::net::SocketAddrV4;

use crate::common::manager::Driven;
use crate::common::perlbal::{Config, Perlbal};
use crate::common::relay::Relay;
use crate::common::stage::Stage;

/// More members than are read to confirm a change elsewhere.
const MANY: u16 = 300;

/// A Perlbal with a large and a small pool that follow our files, read once a minute; a service uses the large one.
struct Site {
    driven: Driven,
    relay: Relay,
    perlbal: Perlbal,
    large: Vec<SocketAddrV4>,
    small: [SocketAddrV4; 2],
    _stage: Stage,
}

impl Site {
    fn start() -> Self {
        let stage = Stage::new();
        let perlbal = Config::new()
            .nodefile_pool("large", &stage.pool_file("large"))
            .nodefile_pool("small", &stage.pool_file("small"))
            .service(&stage, "www", "large")
            .start(&stage);
        let relay = Relay::before(&perlbal, &stage);
        let ports = 10_000..10_000 + MANY;
        let mut site = Self {
            driven: Driven::start(&stage, relay.addr()),
            relay,
            perlbal,
            large: ports
                .map(|port| SocketAddrV4::new(stage.ip(1), port))
                .collect(),
            small: [2, 3].map(|host| SocketAddrV4::new(stage.ip(host), 80)),
            _stage: stage,
        };
        let both = site.small;
        let first = site.want_small(&both, &[]);
        site.wait_confirmed(first);
        site
    }

    fn want_small(&mut self, small: &[SocketAddrV4], out: &[SocketAddrV4]) -> u64 {
        let pools = [("large", &self.large[..]), ("small", small)];
        self.driven.set_desired_pools(&pools, out, None)
    }

    #[track_caller]
    fn wait_confirmed(&self, serial: u64) {
        self.driven.wait("it is confirmed", |status| {
            status.observed >= serial && status.in_sync
        });
    }
}

#[test]
fn a_removal_elsewhere_is_confirmed_without_reading_the_members_of_a_large_pool() {
    let mut site = Site::start();
    let mark = site.relay.said().len();
    let [goes, stays] = site.small;
    let out = site.want_small(&[stays], &[goes]);
    site.wait_confirmed(out);
    let said = site.relay.said().split_off(mark);
    assert!(said.iter().any(|line| line == "DUMPCONFIG"), "{said:?}");
    let is_read = |line: &String| line == "SHOW POOL large";
    assert!(!said.iter().any(is_read), "{said:?}");
}

#[test]
fn a_hand_on_a_large_pool_is_found_when_a_removal_elsewhere_is_confirmed() {
    let mut site = Site::start();
    let [goes, stays] = site.small;
    site.perlbal.tell(&format!("POOL large ADD {goes}"));
    let out = site.want_small(&[stays], &[goes]);
    // It is not before its removal from the large pool was read back.
    site.driven.wait_drained(goes, out);
    assert_eq!(
        site.perlbal.members("large"),
        Some(site.large.iter().copied().collect())
    );
}
