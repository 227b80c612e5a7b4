//! What people do with the package, and what happens to the service.

mod boot;

use serde_json::Value;

use super::machine::{Machine, NEXT_PACKAGE, PACKAGE, PATIENCE};
use crate::common::docker::text;
use crate::common::{becomes, eventually};

/// A trial's name, and what it does.
type Named = (&'static str, fn());

/// Every file that has to do with us, and the user.
const TRACES: &str = "find / -xdev '(' -path /proc -o -path /sys -o -path /packages ')' -prune -o \
                      -name '*pollbal*' -print; find /run -name '*pollbal*' -o -path /run/pool; getent passwd pollbal; \
                      getent group pollbal; systemctl list-unit-files --no-legend 'pollbal*'";

pub(crate) fn all() -> Vec<Named> {
    vec![
        ("apt_installs_it_and_it_polls", apt_installs_it_and_it_polls),
        ("the_journal_has_its_fields", the_journal_has_its_fields),
        (
            "service_starts_stops_reloads_and_tells",
            service_starts_stops_reloads_and_tells,
        ),
        (
            "who_is_in_the_group_gives_orders_and_they_outlive_a_restart",
            who_is_in_the_group_gives_orders_and_they_outlive_a_restart,
        ),
        ("a_hook_is_shut_in", a_hook_is_shut_in),
        (
            "a_crash_is_followed_by_a_start",
            a_crash_is_followed_by_a_start,
        ),
        (
            "a_hung_one_is_ended_and_started",
            a_hung_one_is_ended_and_started,
        ),
        (
            "a_wrong_configuration_fails_once",
            a_wrong_configuration_fails_once,
        ),
        (
            "at_boot_perlbal_starts_after_it_with_its_nodefiles",
            boot::at_boot_perlbal_starts_after_it_with_its_nodefiles,
        ),
        (
            "at_boot_perlbal_may_start_before_it_too",
            boot::at_boot_perlbal_may_start_before_it_too,
        ),
        (
            "an_upgrade_keeps_what_was_changed",
            an_upgrade_keeps_what_was_changed,
        ),
        (
            "a_purge_leaves_nothing_a_removal_what_was_changed",
            a_purge_leaves_nothing_a_removal_what_was_changed,
        ),
    ]
}

/// Waits until the pool file has this text.
#[track_caller]
fn wait_pool(machine: &Machine, text: &str) {
    machine.wait_sh("cat /run/pool/website.pool", text);
}

/// Waits until Perlbal has exactly this member.
#[track_caller]
fn wait_member(machine: &Machine, member: &str) {
    let what = "the members in Perlbal";
    becomes(PATIENCE, what, &vec![member.to_owned()], || {
        let lines = machine.perlbal("SHOW POOL website");
        let addr = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
        lines.iter().map(addr).collect()
    });
}

fn apt_installs_it_and_it_polls() {
    let machine = Machine::boot();
    // Perlbal comes with it, as recommended.
    machine.install("", PACKAGE);
    assert_eq!(machine.sh("systemctl is-active pollbal"), "active");
    assert_eq!(machine.sh("systemctl is-enabled pollbal"), "enabled");
    assert_eq!(
        machine.property("pollbal", "StatusText"),
        "/etc/pollbal.services lists no nodes yet"
    );
    assert_eq!(
        machine.sh("stat -c '%U:%G %a' /run/pool"),
        "pollbal:pollbal 755"
    );
    // Anyone who is in the group pollbal may use it.
    assert_eq!(
        machine.sh("stat -c '%U:%G %a' /run/pollbal /run/pollbal/admin.sock"),
        "pollbal:pollbal 755\npollbal:pollbal 660"
    );
    assert_eq!(
        machine.sh("stat -c '%U:%G %a' /etc/pollbal.json /etc/pollbal.services"),
        "root:root 644\nroot:root 644"
    );
    let pid = machine.property("pollbal", "MainPID");
    let user = machine.sh(&format!("stat -c %U /proc/{pid}"));
    assert_eq!(user, "pollbal");
    machine.sh("pollbal check");
    assert_eq!(machine.sh("for page in /usr/share/man/man8/pollbal*; do man --warnings --local-file $page 2>&1 >/dev/null; done"),
        ""
    );

    machine.node(11, "website");
    wait_pool(&machine, "127.0.0.11:8081 # node-11");
    assert_eq!(
        machine.sh("runuser -u www-data -- cat /run/pool/website.pool"),
        "127.0.0.11:8081 # node-11"
    );
    machine.wait_property("pollbal", "StatusText", "1 of 1 node in 1 pool");

    // Debian's Perlbal as it comes, but that it is to run.
    machine.sh("sed -i s/PERLBAL_ENABLE=false/PERLBAL_ENABLE=true/ /etc/default/perlbal");
    machine.sh("service perlbal restart");
    wait_member(&machine, "127.0.0.11:8081");
}

fn the_journal_has_its_fields() {
    let machine = Machine::with_pollbal();
    machine.node(11, "website");
    let entry = eventually(PATIENCE, "the node's entry in the journal", || {
        let lines = machine.sh("journalctl --output=json NODE=127.0.0.11:8081");
        lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|entry| entry["MESSAGE"] == "node-11 joins website")
    });
    assert_eq!(entry["POOL"], "website");
    assert_eq!(entry["SYSLOG_IDENTIFIER"], "pollbal");
    assert_eq!(entry["_SYSTEMD_UNIT"], "pollbal.service");
    for (field, value) in [("FILE", "website.pool"), ("PERLBAL", "127.0.0.1:16000")] {
        eventually(PATIENCE, field, || {
            let entries = machine.sh(&format!("journalctl --output=json {field}={value}"));
            (!entries.is_empty()).then_some(())
        });
    }
}

fn service_starts_stops_reloads_and_tells() {
    let machine = Machine::with_pollbal();
    machine.node(11, "website");
    wait_pool(&machine, "127.0.0.11:8081 # node-11");
    let inode = machine.sh("stat -c %i /run/pool/website.pool");
    let unchanged = || {
        let now = machine.sh("stat -c %i /run/pool/website.pool");
        assert_eq!(now, inode, "the pool file was written again");
    };
    machine.sh("service pollbal stop");
    assert_eq!(machine.property("pollbal", "ActiveState"), "inactive");
    unchanged();
    machine.sh("service pollbal start");
    assert_eq!(machine.property("pollbal", "ActiveState"), "active");
    machine.sh("service pollbal restart");
    let status = machine.sh("service pollbal status");
    assert!(status.contains("1 of 1 node in 1 pool"), "{status}");
    unchanged();

    let pid = machine.property("pollbal", "MainPID");
    machine.write("/etc/pollbal.json", r#"{ "pools": { "api": {} } }"#);
    machine.sh("service pollbal reload");
    machine.wait_sh("stat -c %s /run/pool/api.pool", "0");
    machine.write("/etc/pollbal.json", r#"{ "pols": {} }"#);
    machine.sh("service pollbal reload");
    let refused = "1 of 1 node in 1 pool; the last reload was rejected, see the log";
    machine.wait_property("pollbal", "StatusText", refused);
    machine.wait_property("pollbal", "ActiveState", "active");
    assert_eq!(machine.property("pollbal", "MainPID"), pid);
    unchanged();
}

fn who_is_in_the_group_gives_orders_and_they_outlive_a_restart() {
    let machine = Machine::with_pollbal();
    machine.node(11, "website");
    wait_pool(&machine, "127.0.0.11:8081 # node-11");
    machine.sh("useradd ann && useradd bob && adduser --quiet ann pollbal");
    let asks =
        |who: &str, what: &str| machine.try_sh(&format!("runuser -u {who} -- pollbal {what} 2>&1"));
    let refused = asks("bob", "status");
    assert_eq!(refused.status.code(), Some(69));
    let reported = text(&refused);
    let reason = "Permission denied. Run this as root, or join its group, `pollbal`";
    assert!(reported.contains(reason), "{reported}");

    let ordered = asks("ann", "disable node-11 --reason kernel --force");
    assert!(ordered.status.success(), "{}", text(&ordered));
    wait_pool(&machine, "");
    for restart in [
        "service pollbal restart",
        "service pollbal stop; service pollbal start",
    ] {
        machine.sh(restart);
        let status = text(&asks("ann", "status"));
        assert!(
            status.contains("1 disabled") && status.contains("kernel by "),
            "{status}"
        );
        wait_pool(&machine, "");
    }
    let enabled = asks("ann", "enable node-11 --reason kernel");
    assert!(enabled.status.success(), "{}", text(&enabled));
    wait_pool(&machine, "127.0.0.11:8081 # node-11");
}

fn a_hook_is_shut_in() {
    let machine = Machine::with_pollbal();
    let script = "echo I am $(id -un); touch /run/pool/mine && echo I may; touch /etc/mine || echo I may not";
    let config = serde_json::json!({ "post_init_hook": ["sh", "-c", script] });
    machine.node(11, "website");
    machine.write("/etc/pollbal.json", &config.to_string());
    machine.sh("service pollbal restart");
    let said = "journalctl --output=cat HOOK=post_init_hook";
    eventually(PATIENCE, "what the hook said", || {
        let said = machine.sh(said);
        let words = [
            "I am pollbal",
            "I may\n",
            "Read-only file system",
            "I may not",
        ];
        words.iter().all(|word| said.contains(word)).then_some(())
    });
}

fn a_crash_is_followed_by_a_start() {
    let machine = Machine::with_pollbal();
    machine.node(11, "website");
    wait_pool(&machine, "127.0.0.11:8081 # node-11");
    let inode = machine.sh("stat -c %i /run/pool/website.pool");
    let pid = machine.property("pollbal", "MainPID");
    // More often than systemd's own limit.
    for number in 1..=6 {
        machine.sh("kill -KILL $(systemctl show --property=MainPID --value pollbal)");
        machine.wait_property("pollbal", "NRestarts", &number.to_string());
        machine.wait_property("pollbal", "ActiveState", "active");
    }
    assert_ne!(machine.property("pollbal", "MainPID"), pid);
    machine.wait_property("pollbal", "StatusText", "1 of 1 node in 1 pool");
    assert_eq!(machine.sh("stat -c %i /run/pool/website.pool"), inode);
}

fn a_hung_one_is_ended_and_started() {
    let machine = Machine::with_pollbal();
    // The package's own limit is longer than a test should take.
    let limit = "[Service]\nWatchdogSec=2\n";
    machine.write("/etc/systemd/system/pollbal.service.d/test.conf", limit);
    machine.sh("systemctl daemon-reload && service pollbal restart");
    let pid = machine.property("pollbal", "MainPID");
    machine.sh(&format!("kill -STOP {pid}"));
    machine.wait_property("pollbal", "NRestarts", "1");
    machine.wait_property("pollbal", "ActiveState", "active");
    assert_ne!(machine.property("pollbal", "MainPID"), pid);
    let reported = machine.sh("journalctl --output=cat --unit=pollbal");
    assert!(reported.contains("Watchdog timeout"), "{reported}");
    // One that works is left alone, for longer than the limit.
    let pid = machine.property("pollbal", "MainPID");
    let time = |name| machine.property("pollbal", name).parse::<u64>().unwrap();
    eventually(PATIENCE, "signs of life for 5 s", || {
        let begun = time("ActiveEnterTimestampMonotonic");
        (time("WatchdogTimestampMonotonic") > begun + 5_000_000).then_some(())
    });
    assert_eq!(machine.property("pollbal", "MainPID"), pid);
}

fn a_wrong_configuration_fails_once() {
    let machine = Machine::with_pollbal();
    machine.write("/etc/pollbal.json", r#"{ "pols": {} }"#);
    let start = machine.try_sh("service pollbal restart");
    assert!(!start.status.success());
    assert_eq!(machine.property("pollbal", "ActiveState"), "failed");
    assert_eq!(machine.property("pollbal", "ExecMainStatus"), "78");
    assert_eq!(machine.property("pollbal", "NRestarts"), "0");
    let reported = machine.sh("journalctl --output=cat --unit=pollbal");
    assert!(reported.contains("pols: unknown key"), "{reported}");
    machine.write("/etc/pollbal.json", "{}");
    machine.sh("service pollbal start");
    assert_eq!(machine.property("pollbal", "ActiveState"), "active");
}

/// Changes both conffiles, as everybody does, and gives them.
fn configure(machine: &Machine) -> String {
    machine.node(11, "website");
    machine.write("/etc/pollbal.json", r#"{ "fall": 2 }"#);
    machine.sh("service pollbal restart");
    wait_pool(machine, "127.0.0.11:8081 # node-11");
    machine.sh("cat /etc/pollbal.json /etc/pollbal.services")
}

fn an_upgrade_keeps_what_was_changed() {
    let machine = Machine::with_pollbal();
    let changed = configure(&machine);
    let inode = machine.sh("stat -c %i /run/pool/website.pool");
    let version = machine.sh("dpkg-query -W -f '${Version}' pollbal");
    let pid = machine.property("pollbal", "MainPID");
    // As upgrades at night do it: what was changed here stays, the new one is put beside it.
    machine.install("-o Dpkg::Options::=--force-confold", NEXT_PACKAGE);
    machine.sh("grep 'From the next version' /etc/pollbal.services.dpkg-dist");
    assert_ne!(machine.sh("dpkg-query -W -f '${Version}' pollbal"), version);
    assert_eq!(
        machine.sh("cat /etc/pollbal.json /etc/pollbal.services"),
        changed
    );
    assert_eq!(machine.property("pollbal", "ActiveState"), "active");
    assert_ne!(machine.property("pollbal", "MainPID"), pid, "not restarted");
    assert_eq!(machine.sh("stat -c %i /run/pool/website.pool"), inode);

    // One that was stopped for good stays so.
    machine.sh("systemctl disable --now pollbal");
    machine.install("--reinstall", NEXT_PACKAGE);
    assert_eq!(
        machine.sh("systemctl is-enabled pollbal || true"),
        "disabled"
    );
    assert_eq!(machine.property("pollbal", "ActiveState"), "inactive");
}

fn a_purge_leaves_nothing_a_removal_what_was_changed() {
    let machine = Machine::boot();
    let before = machine.sh(&format!("({TRACES}) || true"));
    machine.install("--no-install-recommends", PACKAGE);
    let changed = configure(&machine);
    assert_ne!(machine.sh("grep -lx pollbal /proc/[0-9]*/comm"), "");
    machine.write(
        "/etc/systemd/system/pollbal.service.d/override.conf",
        "[Service]\nWatchdogSec=30\n",
    );
    machine.sh("apt-get -q remove -y pollbal");
    assert_eq!(
        machine.sh("cat /etc/pollbal.json /etc/pollbal.services"),
        changed
    );
    assert_eq!(
        machine.sh("cat /run/pool/website.pool"),
        "127.0.0.11:8081 # node-11"
    );
    assert_eq!(machine.sh("grep -lx pollbal /proc/[0-9]*/comm || true"), "");
    machine.sh("apt-get -q purge -y pollbal");
    let after = machine.sh(&format!("({TRACES}) || true"));
    assert_eq!(after, before, "what was there before, and what is left");
}
