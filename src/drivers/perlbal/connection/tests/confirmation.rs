//! When a removal that Perlbal acknowledged is confirmed by reading everything.

use super::*;

/// When everything was read since `began`.
fn reads(simulation: &Simulation<'_>, began: Instant) -> Vec<Duration> {
    let written = simulation.written.iter();
    let reads = written.filter(|(_, batch)| batch == "DUMPCONFIG\n");
    reads.map(|(at, _)| *at - began).collect()
}

#[test]
fn a_removal_is_confirmed_soon_after_its_acknowledgement() {
    in_sync!(simulation, site, state);
    let began = simulation.now;
    simulation.set_desired(snapshot(2, &[("api", &[1])]));
    simulation.run(100 * MILLI);
    assert_eq!(simulation.connection.state.confirmed_serial, 2);
    let reads = reads(&simulation, began);
    assert_eq!(reads.len(), 1);
    assert!(reads[0] <= 5 * MILLI, "{reads:?}");
}

#[test]
fn no_change_of_a_quick_succession_meets_a_confirmation_but_none_waits_for_long() {
    in_sync!(simulation, site, state);
    for changes in [10, 60] {
        let began = simulation.now;
        for _ in 0..changes {
            let serial = simulation.connection.state.acked_serial + 1;
            let members: &[u8] = if serial.is_multiple_of(2) {
                &[1]
            } else {
                &[1, 2]
            };
            simulation.set_desired(snapshot(serial, &[("api", members)]));
            simulation.run(MILLI);
            assert_eq!(simulation.connection.state.acked_serial, serial);
        }
        let during = reads(&simulation, began);
        assert_eq!(during.is_empty(), changes == 10, "{during:?}");
        assert!(during.iter().all(|at| *at >= 20 * MILLI), "{during:?}");
        simulation.run(100 * MILLI);
        let state = &simulation.connection.state;
        assert_eq!(state.confirmed_serial, state.acked_serial);
        let all = reads(&simulation, began);
        let delays = all.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        let longest = delays.chain([all[0]]).max().unwrap();
        assert!(longest <= 25 * MILLI, "{all:?}");
        simulation.written();
    }
}
