//! What is understood of Perlbal 1.80's own words.

use super::*;

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn name(text: &str) -> PerlbalName {
    text.parse().unwrap()
}

fn addr(text: &str) -> NodeAddr {
    text.parse().unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

/// A Perlbal with a good node, one that closes connections where it should keep them, and one that takes none.
fn answer_of(command: &Command) -> Vec<String> {
    lines(match command {
        Command::Uptime => "starttime 1795253881\nuptime 3\nversion 1.80",
        Command::Proc => {
            "time: 1795253884\npid: 20667\nutime: 0.094746 (+0.000335000000000002)\n\
             stime: 0.024721 (+8.70000000000003e-05)\nreqs: 9 (+0)"
        }
        Command::Queues => {
            "web_good-lowpri.age 0\nweb_good-lowpri.count 0\nweb_good-normal.age 0\n\
             web_good-normal.count 0\nweb_good-highpri.age 0\nweb_good-highpri.count 0\n\
             web_stuck-highpri.age 0\nweb_stuck-highpri.count 0\nweb_stuck-normal.age 2\n\
             web_stuck-normal.count 2\nweb_stuck-lowpri.age 0\nweb_stuck-lowpri.count 0"
        }
        Command::Pending => "web_stuck 127.77.9.3:7803 2",
        Command::NoVerify => "127.77.9.2:7803 58\n127.77.9.4:7803 -3",
        Command::States => {
            "Perlbal::BackendHTTP bored 3\nPerlbal::BackendHTTP connecting 1\n\
             Perlbal::ClientProxy wait_backend 2"
        }
        Command::Backends => "127.77.9.1:7803 2\n127.77.9.2:7803 2\n127.77.9.3:7803 1",
        Command::Nodes(node) if *node == addr("127.77.9.1:7803") => {
            "127.77.9.1:7803 lastattempt 1795253882\n127.77.9.1:7803 verifies 2\n\
             127.77.9.1:7803 responsecodes 200 3\n127.77.9.1:7803 responsecodes 404 1\n\
             127.77.9.1:7803 requests 4\n127.77.9.1:7803 attempts 2\n\
             127.77.9.1:7803 lastconnect 1795253882\n127.77.9.1:7803 lastresponse 1795253882\n\
             127.77.9.1:7803 connects 2"
        }
        _ => "",
    })
}

/// Everything, with these members.
fn gather(per_node: Option<Vec<NodeAddr>>) -> Statistics {
    let now = Instant::now();
    let mut gathering = StatisticsQuery::begin(now, per_node);
    while let Some(command) = gathering.next_command() {
        gathering.answer(&command, &answer_of(&command));
    }
    Arc::unwrap_or_clone(gathering.end(now, Duration::ZERO).statistics)
}

#[test]
fn the_process_and_its_sockets_are_reported() {
    let statistics = gather(None);
    assert_eq!(statistics.start, Some(1_795_253_881));
    assert_eq!(statistics.uptime, Some(3 * SECOND));
    assert_eq!(statistics.version.as_deref(), Some("1.80"));
    let process = &statistics.process;
    assert_eq!((process.pid, process.requests), (Some(20667), Some(9)));
    assert_eq!(process.user_time, Some(Duration::from_micros(94_746)));
    assert_eq!(process.system_time, Some(Duration::from_micros(24_721)));
    let state = |kind: &str, state: &str| (kind.to_owned(), state.to_owned());
    assert_eq!(statistics.sockets[&state("BackendHTTP", "connecting")], 1);
    assert_eq!(statistics.sockets[&state("ClientProxy", "wait_backend")], 2);
    assert_eq!(statistics.nodes, Nodes::NotRequested);
}

#[test]
fn what_waits_is_reported_by_service() {
    let statistics = gather(None);
    let two = Waiting {
        count: 2,
        oldest: 2 * SECOND,
    };
    let stuck = Queues {
        normal: two,
        ..Queues::default()
    };
    assert_eq!(statistics.queues[&name("web_stuck")], stuck);
    assert_eq!(statistics.queues[&name("web_good")], Queues::default());
    let pending = [(name("web_stuck"), Waiting { count: 1, ..two })];
    assert_eq!(statistics.pending, pending.into());
    let failed = [(addr("127.77.9.2:7803"), 58 * SECOND)];
    assert_eq!(statistics.failed_verifications, failed.into());
}

#[test]
fn each_member_is_reported_and_each_node_with_a_connection() {
    let (good, unused) = (addr("127.77.9.1:7803"), addr("127.77.9.77:7803"));
    let Nodes::Known(nodes) = gather(Some(vec![good, unused])).nodes else {
        panic!("no statistics per node");
    };
    let expected = NodeStatistics {
        connections: 2,
        requests: 4,
        attempts: 2,
        connects: 2,
        verifies: 2,
        statuses: [(200, 3), (404, 1)].into(),
        last_response: Some(1_795_253_882),
    };
    assert_eq!(nodes[&good], expected);
    assert_eq!(nodes[&unused], NodeStatistics::default());
    assert_eq!(nodes[&addr("127.77.9.3:7803")].connections, 1);
}

#[test]
fn of_too_many_members_nothing_is_asked_by_node() {
    let member = |number| addr(&format!("10.0.{}.{}:80", number / 256, number % 256));
    let members = |count| (0..count).map(member).collect();
    let now = Instant::now();
    let asks_nodes = |mut gathering: StatisticsQuery| {
        std::iter::from_fn(|| gathering.next_command())
            .filter(|command| matches!(command, Command::Nodes(_) | Command::Backends))
            .count()
    };
    let begin = |count| StatisticsQuery::begin(now, Some(members(count)));
    assert_eq!(asks_nodes(begin(NODES)), NODES + 1);
    assert_eq!(asks_nodes(begin(NODES + 1)), 0);
    assert_eq!(
        gather(Some(members(NODES + 1))).nodes,
        Nodes::TooMany(NODES + 1)
    );
}

#[test]
fn a_line_of_another_version_is_passed_over() {
    let now = Instant::now();
    let odd = addr("10.0.0.1:80");
    let mut gathering = StatisticsQuery::begin(now, Some(vec![odd]));
    let odd_lines = lines(
        "\n \nweb\nweb-\nweb-normal\nweb-normal.age x\nweb-other.count 3\nWEB! 1.2.3.4:5 6\n\
         10.0.0.1:80\n10.0.0.1:80 responsecodes many\n10.0.0.1:80 shoe 43\npid: me\nutime: -1",
    );
    while let Some(command) = gathering.next_command() {
        gathering.answer(&command, &odd_lines);
    }
    let statistics = gathering.end(now, Duration::ZERO).statistics;
    assert_eq!(statistics.process, Process::default());
    assert_eq!(statistics.queues[&name("web")], Queues::default());
    let Nodes::Known(nodes) = &statistics.nodes else {
        panic!("no statistics per node");
    };
    assert_eq!(nodes[&odd], NodeStatistics::default());
}

#[test]
fn what_took_long_to_read_is_kept_longer() {
    let start = Instant::now();
    for (took, kept) in [
        (Duration::ZERO, KEPT),
        (KEPT / 100, KEPT),
        (SECOND, 50 * SECOND),
        (2 * SECOND, KEPT_LONGEST),
    ] {
        // Of the time that passed, a part was work.
        let end = start + 2 * took;
        let gathering = StatisticsQuery::begin(start, None);
        assert_eq!(gathering.end(end, took).until, end + kept);
    }
}
