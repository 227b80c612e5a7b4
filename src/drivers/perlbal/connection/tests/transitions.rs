//! Each transition by example.

use tokio::sync::oneshot;

use super::*;
use crate::drivers::StatisticsError;
use crate::drivers::perlbal::protocol::Endpoint;
use crate::drivers::perlbal::view::Query;

fn member(number: u8) -> Endpoint {
    Endpoint::Node(addr(number).parse().unwrap())
}

#[test]
fn a_new_connection_is_pinged_and_everything_is_read_before_anything_is_changed() {
    let site = Site::default();
    let mut state = State::new(Instant::now());
    let perlbal = Perlbal::with(&[("api", &[&addr(2)])]);
    let first = Some(snapshot(1, &[("api", &[1])]));
    let mut simulation = Simulation::connect(&site, &mut state, perlbal, first, Instant::now());
    assert!(!simulation.is_in_sync());
    simulation.run(500 * MILLI);
    let written: Vec<_> = simulation.written.iter().map(|(_, batch)| batch).collect();
    let begins = ["VERBOSE on\n", "UPTIME\n", "DUMPCONFIG\n", "BACKENDS\n"];
    assert_eq!(written[..4], begins);
    assert_eq!(written[4], "POOL api ADD 10.0.0.1:80\n");
    assert_eq!(simulation.perlbal.members("api"), [addr(1)]);
    assert!(simulation.is_in_sync());
    assert!(matches!(
        simulation.notices[0],
        Notice::Connected {
            restarted: false,
            ..
        }
    ));
    assert_eq!(simulation.connection.state.acked_serial, 1);
    assert_eq!(simulation.connection.state.confirmed_serial, 1);
}

#[test]
fn a_removal_goes_out_at_once_in_one_piece_with_its_seal_and_is_acknowledged_by_the_last_response()
{
    in_sync!(simulation, site, state);
    let began = simulation.now;
    simulation.set_desired(snapshot(2, &[("api", &[1])]));
    simulation.run(Duration::ZERO);
    let (at, batch) = simulation.written[0].clone();
    assert_eq!(at, began, "without delay");
    assert_eq!(
        batch,
        "POOL api REMOVE 10.0.0.2:80\nSHOW SERVICE api_service\nSET api_service pool = api\n"
    );
    assert_eq!(simulation.connection.state.acked_serial, 1, "not yet");
    assert_eq!(
        simulation
            .connection
            .state
            .status()
            .draining
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [addr(2)],
        "it is tracked before the snapshot is acknowledged"
    );
    simulation.run(ROUND_TRIP);
    assert_eq!(simulation.connection.state.acked_serial, 2);
    assert_eq!(simulation.connection.state.confirmed_serial, 1, "not read");
    simulation.run(500 * MILLI);
    assert_eq!(simulation.connection.state.confirmed_serial, 2);
    assert!(simulation.is_in_sync());
}

#[test]
fn changes_that_come_while_one_is_unsent_are_planned_together() {
    in_sync!(simulation, site, state);
    // A long response, behind which nothing is sent for a while.
    simulation.work = 10 * MILLI;
    simulation.set_desired(snapshot(2, &[("api", &[1])]));
    simulation.run(10 * MILLI + ROUND_TRIP);
    simulation.work = Duration::ZERO;
    simulation.written();
    simulation.set_desired(snapshot(3, &[("api", &[1, 3])]));
    simulation.run(MILLI);
    let changes = |written: Vec<String>| -> Vec<String> {
        written
            .into_iter()
            .filter(|batch| batch.starts_with("POOL"))
            .collect()
    };
    assert!(changes(simulation.written()).is_empty(), "throttled");
    simulation.set_desired(snapshot(4, &[("api", &[1, 4])]));
    simulation.run(50 * MILLI);
    assert_eq!(
        changes(simulation.written()),
        ["POOL api ADD 10.0.0.4:80\n"],
        "and not the one in between"
    );
    assert_eq!(simulation.connection.state.acked_serial, 4);
}

#[test]
fn what_a_hand_changes_is_reverted_at_the_next_resync() {
    in_sync!(simulation, site, state);
    let members = &mut simulation.perlbal.pools.get_mut("api").unwrap().members;
    *members = [addr(1), addr(9)].into();
    simulation.run(RESYNC_INTERVAL);
    assert_eq!(simulation.perlbal.members("api"), [addr(1), addr(2)]);
    let changed = Notice::ChangedElsewhere {
        pool: "api".parse().unwrap(),
        added: vec![member(9)],
        removed: vec![member(2)],
    };
    assert!(simulation.take_notices().contains(&changed));
    simulation.run(RESYNC_INTERVAL);
    assert!(simulation.is_in_sync());
}

#[test]
fn when_a_hand_changes_a_pool_again_and_again_it_is_not_in_sync_and_read_less_and_less_often() {
    in_sync!(simulation, site, state);
    let mut reads = Vec::new();
    let mut was_out_of_sync = false;
    for _ in 0..20 {
        simulation
            .perlbal
            .pools
            .get_mut("api")
            .unwrap()
            .members
            .remove(&addr(2));
        simulation.written();
        simulation.run(RESYNC_INTERVAL / 4);
        let written = simulation.written();
        let is_read =
            |batch: &&String| ["SHOW POOL api\n", "DUMPCONFIG\n"].contains(&batch.as_str());
        reads.push(written.iter().filter(is_read).count());
        was_out_of_sync |= !simulation.is_in_sync();
    }
    assert!(was_out_of_sync);
    assert!(reads.iter().sum::<usize>() <= 20, "{reads:?}");
    simulation.run(4 * RESYNC_INTERVAL);
    assert!(simulation.is_in_sync(), "once nobody does");
}

#[test]
fn a_removed_member_is_drained_once_it_is_not_busy() {
    in_sync!(simulation, site, state);
    simulation.perlbal.busy.insert(addr(2));
    simulation.set_desired(snapshot(2, &[("api", &[1])]));
    simulation.run(500 * MILLI);
    let draining = |simulation: &Simulation<'_>| simulation.connection.state.draining.all().count();
    assert_eq!(draining(&simulation), 1, "it is busy");
    let ran = &simulation.perlbal.ran;
    let removals = ran.iter().filter(|line| line.contains("REMOVE")).count();
    assert!(
        removals > 1,
        "it is sealed again, in case a request came between"
    );
    simulation.perlbal.busy.clear();
    simulation.run(1_500 * MILLI);
    assert_eq!(draining(&simulation), 0);
    let is_drained = |notice: &Notice| matches!(notice, Notice::Drained { .. });
    assert_eq!(
        simulation
            .notices
            .iter()
            .filter(|notice| is_drained(notice))
            .count(),
        1
    );
}

#[test]
fn a_rejected_change_is_not_acknowledged_until_everything_was_read_and_it_was_sent_again() {
    in_sync!(simulation, site, state);
    let command = "POOL api ADD 10.0.0.3:80";
    simulation.perlbal.rejects.insert(command.to_owned());
    simulation.set_desired(snapshot(2, &[("api", &[1, 2, 3])]));
    simulation.run(3 * RESYNC_INTERVAL);
    assert_eq!(simulation.connection.state.acked_serial, 1);
    assert!(!simulation.is_in_sync());
    assert!(
        simulation
            .notices
            .iter()
            .any(|notice| matches!(notice, Notice::Rejected { .. }))
    );
    let sent = |simulation: &Simulation<'_>| {
        let ran = simulation.perlbal.ran.iter();
        ran.filter(|line| *line == command).count()
    };
    assert!((2..10).contains(&sent(&simulation)), "again, with delays");
    simulation.perlbal.rejects.clear();
    simulation.run(3 * RESYNC_INTERVAL);
    assert_eq!(simulation.connection.state.acked_serial, 2);
    assert!(simulation.is_in_sync());
}

#[test]
fn a_response_that_does_not_come_counts_from_when_its_command_was_sent_and_its_change_as_unacknowledged()
 {
    in_sync!(simulation, site, state);
    simulation.is_silent = true;
    simulation.set_desired(snapshot(2, &[("api", &[1])]));
    simulation.run(Duration::ZERO);
    let sent_at = simulation.now;
    simulation.run(700 * MILLI);
    assert_eq!(simulation.connection.pipeline.owed_since(), Some(sent_at));
    let (perlbal, now) = (simulation.perlbal.clone(), simulation.now);
    assert!(simulation.connection.close(now).is_some());
    let outage = state.outage.get().unwrap();
    assert_eq!(outage.since, sent_at);
    assert_eq!(state.acked_serial, 1);
    let change = &state.unacknowledged[&"api".parse().unwrap()];
    assert_eq!(change.removed, [member(2)].into());
    assert!(!state.status().connected);
    // Perlbal ran it, as the next connection finds out.
    let desired = Some(snapshot(2, &[("api", &[1])]));
    let mut simulation = Simulation::connect(&site, &mut state, perlbal, desired, now);
    simulation.run(500 * MILLI);
    assert!(simulation.is_in_sync());
    assert_eq!(simulation.connection.state.acked_serial, 2);
    assert!(simulation.connection.state.unacknowledged.is_empty());
}

#[test]
fn a_restart_ends_what_was_known_of_connections() {
    in_sync!(simulation, site, state);
    simulation.perlbal.busy.insert(addr(2));
    simulation.set_desired(snapshot(2, &[("api", &[1])]));
    simulation.run(100 * MILLI);
    let now = simulation.now;
    simulation.connection.close(now);
    let mut perlbal = Perlbal::with(&[("api", &[&addr(1), &addr(2)])]);
    perlbal.started = 2;
    let desired = Some(snapshot(2, &[("api", &[1])]));
    let mut simulation = Simulation::connect(&site, &mut state, perlbal, desired, now);
    simulation.run(500 * MILLI);
    assert_eq!(simulation.perlbal.members("api"), [addr(1)]);
    assert!(matches!(
        simulation.notices[0],
        Notice::Connected {
            restarted: true,
            ..
        }
    ));
    assert!(simulation.is_in_sync());
}

#[test]
fn a_service_that_a_hand_switched_while_its_pool_was_sealed_is_switched_back() {
    in_sync!(simulation, site, state);
    let mine = super::perlbal::Pool::default();
    simulation.perlbal.pools.insert("mine".to_owned(), mine);
    simulation.perlbal.switch("api_service", "mine");
    simulation.set_desired(snapshot(2, &[("api", &[1])]));
    simulation.run(100 * MILLI);
    let service = &simulation.perlbal.services["api_service"];
    assert_eq!(service.pool.as_deref(), Some("mine"));
    let is_switch = |notice: &&Notice| matches!(notice, Notice::ServiceSwitched { .. });
    assert_eq!(simulation.notices.iter().filter(is_switch).count(), 1);
    assert_eq!(simulation.perlbal.members("api"), [addr(1)]);
}

#[test]
fn a_nodefile_that_gives_other_members_than_our_file_is_not_reloaded_again() {
    let site = Site::default();
    let mut state = State::new(Instant::now());
    let mut perlbal = Perlbal::with(&[("api", &[])]);
    let path = format!("{POOL_DIRECTORY}/api.pool");
    perlbal.pools.get_mut("api").unwrap().nodefile = Some(path.clone());
    perlbal.files.insert(path.clone(), [addr(99)].into());
    let nodes: Vec<u8> = (101..130).collect();
    let desired = Some(snapshot(1, &[("api", &nodes)]));
    let mut simulation = Simulation::connect(&site, &mut state, perlbal, desired, Instant::now());
    simulation.run(3 * RESYNC_INTERVAL);
    let reload = format!("SET api nodefile = {path}");
    let ran = &simulation.perlbal.ran;
    assert_eq!(ran.iter().filter(|line| **line == reload).count(), 1);
    assert_eq!(simulation.perlbal.members("api").len(), nodes.len());
    assert!(simulation.is_in_sync());
}

#[test]
fn perlbal_is_pinged_while_nothing_is_due_and_not_while_it_owes_a_response() {
    in_sync!(simulation, site, state);
    simulation.run(5 * RESYNC_INTERVAL);
    let pings = |simulation: &Simulation<'_>| {
        let ran = simulation.perlbal.ran.iter();
        ran.filter(|line| *line == "VERBOSE on").count()
    };
    assert!(pings(&simulation) >= 5);
    simulation.is_silent = true;
    simulation.run(2 * RESYNC_INTERVAL);
    let before = pings(&simulation);
    simulation.run(5 * RESYNC_INTERVAL);
    assert_eq!(pings(&simulation), before);
}

#[test]
fn what_the_throttle_holds_back_is_due_at_its_end() {
    in_sync!(simulation, site, state);
    simulation.work = 10 * MILLI;
    simulation.set_desired(snapshot(2, &[("api", &[1])]));
    simulation.run(10 * MILLI + ROUND_TRIP);
    let now = simulation.now;
    assert!(simulation.connection.send_window(now).is_none());
    let deadline = simulation.connection.next_deadline();
    assert!(deadline > now && deadline <= now + 15 * MILLI);
}

#[test]
fn statistics_are_sent_once_they_are_read_and_rejected_when_the_connection_ends() {
    in_sync!(simulation, site, state);
    let (reply, mut answered) = oneshot::channel();
    let per_node = false;
    let now = simulation.now;
    let query = Query::Statistics { per_node, reply };
    simulation.connection.on_query(query, now);
    assert!(answered.try_recv().is_err(), "not yet");
    simulation.run(100 * MILLI);
    assert_eq!(answered.try_recv().unwrap().unwrap().start, Some(1));
    let (reply, mut answered) = oneshot::channel();
    simulation.run(20 * RESYNC_INTERVAL);
    let now = simulation.now;
    let query = Query::Statistics { per_node, reply };
    simulation.connection.on_query(query, now);
    simulation.connection.close(now);
    assert_eq!(
        answered.try_recv().unwrap(),
        Err(StatisticsError::NotConnected)
    );
}

#[test]
fn connections_to_a_node_that_vanished_are_made_up_for_by_spare_entries() {
    in_sync!(simulation, site, state);
    simulation.set_desired(snapshot(2, &[("api", &[1])]));
    let pending = ("api_service".to_owned(), addr(2));
    simulation.perlbal.pending.push(pending);
    simulation.run(500 * MILLI);
    let members = simulation.perlbal.members("api");
    assert_eq!(members, ["012.0.0.1:80", "10.0.0.1:80"]);
    let is_spare = |notice: &&Notice| matches!(notice, Notice::SparesNeeded { count: 1, .. });
    assert_eq!(simulation.notices.iter().filter(is_spare).count(), 1);
    simulation.perlbal.pending.clear();
    simulation.run(500 * MILLI);
    assert_eq!(simulation.perlbal.members("api"), [addr(1)]);
}
