//! Boots of a machine that has Perlbal, too.

use super::wait_member;
use crate::package::machine::{Machine, PACKAGE};

/// A Perlbal that follows a pool file; without it, it does not start.
const FOLLOWING: &str = "CREATE POOL website\n  SET nodefile = /run/pool/website.pool\n";

/// A Perlbal whose pool is filled over the socket alone.
const NOT_FOLLOWING: &str = "CREATE POOL website\n";

const PERLBAL: &str = "\
SERVER pidfile = /var/run/perlbal.pid
CREATE SERVICE web
  SET role   = reverse_proxy
  SET listen = 127.0.0.1:8000
  SET pool   = website
ENABLE web
CREATE SERVICE management
  SET role   = management
  SET listen = 127.0.0.1:16000
ENABLE management
";

/// Installs both; Perlbal as configured, from the next boot on.
fn with_perlbal(pool: &str) -> Machine {
    let machine = Machine::boot();
    machine.install("", PACKAGE);
    machine.sh("sed -i s/PERLBAL_ENABLE=false/PERLBAL_ENABLE=true/ /etc/default/perlbal");
    machine.write("/etc/perlbal/perlbal.conf", &format!("{pool}{PERLBAL}"));
    machine.node(11, "website");
    machine
}

/// Boots again; returns when the node answers through Perlbal.
fn reboot_into_service(machine: &Machine) {
    machine.reboot();
    wait_member(machine, "127.0.0.11:8081");
    machine.wait_sh(
        "curl -s http://127.0.0.1:8000/ | grep -o node-11",
        "node-11",
    );
}

/// When a unit began to start, and when it was up, in microseconds after the boot of the machine.
fn start_times(machine: &Machine, unit: &str) -> (u64, u64) {
    let time = |name| machine.property(unit, name).parse().unwrap();
    (
        time("InactiveExitTimestampMonotonic"),
        time("ActiveEnterTimestampMonotonic"),
    )
}

pub(super) fn at_boot_perlbal_starts_after_it_with_its_nodefiles() {
    let machine = with_perlbal(FOLLOWING);
    let config = r#"{ "perlbal": "127.0.0.1:16000", "pools": { "website": {} } }"#;
    machine.write("/etc/pollbal.json", config);
    reboot_into_service(&machine);
    let (_, ready) = start_times(&machine, "pollbal");
    let (perlbal, _) = start_times(&machine, "perlbal");
    assert!(
        0 < ready && ready <= perlbal,
        "ready at {ready}, Perlbal began at {perlbal}"
    );
    let pool = machine.perlbal("DUMPCONFIG").join("\n");
    assert!(
        pool.contains("SET nodefile = /run/pool/website.pool"),
        "{pool}"
    );
}

pub(super) fn at_boot_perlbal_may_start_before_it_too() {
    let machine = with_perlbal(NOT_FOLLOWING);
    // An order of the administrator's own, in a copy of the unit.
    machine.sh(
        "sed s/^Before=perlbal.service/After=perlbal.service/ /usr/lib/systemd/system/pollbal.service \
         >/etc/systemd/system/pollbal.service",
    );
    reboot_into_service(&machine);
    let (begun, _) = start_times(&machine, "pollbal");
    let (_, perlbal) = start_times(&machine, "perlbal");
    assert!(
        0 < perlbal && perlbal <= begun,
        "Perlbal up at {perlbal}, pollbal began at {begun}"
    );
}
