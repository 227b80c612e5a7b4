//! What is queried, response by response, and what is read from that.

use super::*;

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn name(text: &str) -> PerlbalName {
    text.parse().unwrap()
}

fn members(actual: &Actual, pool: &str) -> Vec<String> {
    actual.pools[&name(pool)]
        .members
        .iter()
        .map(Endpoint::to_string)
        .collect()
}

const DUMP: &str = "CREATE POOL api\n  SET nodefile = /run/pool/api.pool\n\nCREATE POOL web\n  \
                    POOL ADD web 10.0.0.9:80\n\nCREATE SERVICE balancer\n  SET pool = api\n";

fn own(path: &str) -> Option<OwnFile> {
    let name = path.strip_prefix("/run/pool/")?.to_owned();
    Some(OwnFile {
        name,
        path: path.to_owned(),
    })
}

#[test]
fn a_whole_reading_asks_for_the_members_that_dumpconfig_does_not_tell() {
    let (mut reading, commands) = StateRead::whole(false);
    assert_eq!(commands, [Command::DumpConfig]);
    let next = reading
        .answer(
            &commands[0],
            &lines(DUMP),
            &Actual::default(),
            [].iter(),
            own,
        )
        .unwrap();
    assert_eq!(next, [Command::ShowPool(name("api"))]);
    assert!(!reading.is_done());
    reading
        .answer(
            &next[0],
            &lines("10.0.0.1:80 4"),
            &Actual::default(),
            [].iter(),
            own,
        )
        .unwrap();
    assert!(reading.is_done());
    assert_eq!(members(&reading.fresh, "api"), ["10.0.0.1:80"]);
    assert_eq!(members(&reading.fresh, "web"), ["10.0.0.9:80"]);
    assert_eq!(
        reading.fresh.pools[&name("api")].own_file,
        own("/run/pool/api.pool")
    );
    assert_eq!(
        reading.fresh.services[&name("balancer")].pool,
        Some(name("api"))
    );
}

#[test]
fn the_first_reading_asks_for_connections_once_it_has_the_members() {
    let (mut reading, commands) = StateRead::whole(true);
    assert_eq!(commands, [Command::Uptime, Command::DumpConfig]);
    reading
        .answer(
            &commands[0],
            &lines("starttime 7"),
            &Actual::default(),
            [].iter(),
            own,
        )
        .unwrap();
    let next = reading
        .answer(
            &commands[1],
            &lines(DUMP),
            &Actual::default(),
            [].iter(),
            own,
        )
        .unwrap();
    assert_eq!(next, [Command::ShowPool(name("api")), Command::Backends]);
    reading
        .answer(
            &next[0],
            &lines("10.0.0.1:80 4"),
            &Actual::default(),
            [].iter(),
            own,
        )
        .unwrap();
    assert!(!reading.is_done());
    // One of them under a spelling that is a spare entry.
    let open = lines("10.0.0.1:80 2\n012.0.0.2:80 1");
    reading
        .answer(&next[1], &open, &Actual::default(), [].iter(), own)
        .unwrap();
    let open = ["10.0.0.1:80", "10.0.0.2:80"].map(|addr| addr.parse().unwrap());
    assert_eq!((reading.is_done(), reading.backends), (true, open.into()));
}

#[test]
fn changes_on_their_way_while_an_answer_comes_count_too() {
    let (mut reading, _) = StateRead::whole(false);
    let add = Command::Add(name("web"), "10.0.0.1:80".parse().unwrap());
    let remove = Command::Remove(name("api"), Endpoint::Node("10.0.0.2:80".parse().unwrap()));
    let later = [add, remove];
    let next = reading
        .answer(
            &Command::DumpConfig,
            &lines(DUMP),
            &Actual::default(),
            later.iter(),
            own,
        )
        .unwrap();
    reading
        .answer(
            &next[0],
            &lines("10.0.0.1:80 4\n10.0.0.2:80 1"),
            &Actual::default(),
            later.iter(),
            own,
        )
        .unwrap();
    assert_eq!(
        members(&reading.fresh, "web"),
        ["10.0.0.1:80", "10.0.0.9:80"]
    );
    assert_eq!(members(&reading.fresh, "api"), ["10.0.0.1:80"]);
    // One more, between two responses.
    reading.sent(&Command::Add(name("web"), "10.0.0.3:80".parse().unwrap()));
    assert_eq!(members(&reading.fresh, "web").len(), 3);
    let since = |pool: &str| {
        let since = &reading.since[&name(pool)];
        (since.added.len(), since.removed.len())
    };
    assert_eq!((since("web"), since("api")), ((2, 0), (0, 1)));
}

#[test]
fn a_reload_changes_what_is_not_as_the_file_has_it() {
    let addr = |number: u8| -> NodeAddr { format!("10.0.0.{number}:80").parse().unwrap() };
    let pool = ActualPool {
        members: [1, 2].map(|number| Endpoint::Node(addr(number))).into(),
        ..ActualPool::default()
    };
    let actual = Actual {
        pools: [(name("api"), pool)].into(),
        ..Actual::default()
    };
    let reload = Command::Reload {
        pool: name("api"),
        path: String::new(),
        members: [2, 3].map(addr).into(),
    };
    let change = PoolChange {
        added: [addr(3)].into(),
        removed: [Endpoint::Node(addr(1))].into(),
    };
    assert_eq!(change_by(&reload, &actual), Some((&name("api"), change)));
    let again = Command::Add(name("api"), addr(1));
    assert_eq!(change_by(&again, &actual), None);
}

/// A pool `api` of 300 members that follows our file.
fn large() -> Actual {
    let member = |port| Endpoint::Node(format!("10.0.0.1:{port}").parse().unwrap());
    let pool = ActualPool {
        members: (1..=300).map(member).collect(),
        own_file: own("/run/pool/api.pool"),
        ..ActualPool::default()
    };
    Actual {
        pools: [(name("api"), pool)].into(),
        ..Actual::default()
    }
}

/// What is queried to confirm a change elsewhere when the large pool has this many members.
fn asked_of_large<'a>(
    count: usize,
    later: impl Iterator<Item = &'a Command>,
) -> (StateRead, Vec<Command>) {
    let known = large();
    let (mut reading, commands) = StateRead::confirmation(&known, &BTreeSet::new());
    assert_eq!(commands, [Command::DumpConfig, Command::CountMembers]);
    let next = reading.answer(&commands[0], &lines(DUMP), &known, [].iter(), own);
    assert_eq!(next.unwrap(), []);
    let counts = lines(&format!("api nodes {count}\napi services 1\nweb nodes 1"));
    let next = reading.answer(&commands[1], &counts, &known, later, own);
    (reading, next.unwrap())
}

#[test]
fn a_large_pool_with_as_many_members_as_before_is_not_read_to_confirm_a_change_elsewhere() {
    let (reading, next) = asked_of_large(300, [].iter());
    assert_eq!(next, []);
    assert!(reading.is_done());
    assert_eq!(
        reading.fresh.pools[&name("api")],
        large().pools[&name("api")]
    );
    assert_eq!(reading.counted, [name("api")].into());
}

#[test]
fn it_is_read_when_it_has_other_members_or_changes() {
    let show = [Command::ShowPool(name("api"))];
    assert_eq!(asked_of_large(299, [].iter()).1, show);
    let change = Command::Add(name("api"), "10.0.0.9:80".parse().unwrap());
    assert_eq!(asked_of_large(300, [change].iter()).1, show);
    let (_, commands) = StateRead::confirmation(&large(), &[name("api")].into());
    assert_eq!(commands, [Command::DumpConfig]);
}

#[test]
fn a_reading_of_some_pools_keeps_what_is_known_of_their_files() {
    let file = own("/run/pool/api.pool");
    let pool = ActualPool {
        own_file: file.clone(),
        ..ActualPool::default()
    };
    let known = Actual {
        pools: [(name("api"), pool)].into(),
        ..Actual::default()
    };
    let (mut reading, commands) = StateRead::of_pools([name("api")].into(), &known);
    reading
        .answer(
            &commands[0],
            &lines("10.0.0.1:80 4"),
            &Actual::default(),
            [].iter(),
            own,
        )
        .unwrap();
    assert!(reading.is_done() && !reading.is_whole());
    assert_eq!(reading.fresh.pools[&name("api")].own_file, file);
}
