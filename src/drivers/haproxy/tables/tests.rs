use super::*;

/// As 2.6 shows them, with the columns that are read and some of the others.
pub(in super::super) const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n\
    3 api 1 pb1 10.0.0.1 2 4 100 80\n3 api 2 pb2 10.0.0.2 2 12 50 80\n3 api 3 pb3 127.0.0.1 0 5 1 1\n\
    3 api 4 spare 10.0.0.9 2 0 1 80\n3 api 5 web_::1:80 ::1 2 0 100 80\n3 api 6 named - 2 1 1 0\n";
pub(in super::super) const STAT: &str = "# pxname,svname,qcur,scur,bck,iid,sid,type,last_chk,addr\n\
    api,pb1,0,3,0,3,1,2,\"a, b\",10.0.0.1:80\napi,pb2,1,0,0,3,2,2,,\napi,pb3,0,0,0,3,3,2,,\n\
    api,spare,0,0,1,3,4,2,,\napi,web_::1:80,0,0,0,3,5,2,,\napi,named,0,0,0,3,6,2,,\n\
    api,BACKEND,0,3,1,3,0,1,,\nempty,BACKEND,0,0,0,4,0,1,,\n\n";
/// Of a fresh server the last field is missing.
pub(in super::super) const CONN: &str = "# bkname/svname used_cur idle_cur idle_per_thr[1]\napi/pb1 0 2 2\napi/pb2 0 0 0\n\
    api/pb3 0 0 0\napi/spare 0 0 0\napi/web_::1:80 0 0\napi/named 0 1 1\n";

fn actual(state: &str, stat: &str, conn: &str) -> Option<Actual> {
    Texts { state, stat, conn }.actual("pb")
}

fn name(text: &str) -> HaproxyName {
    text.parse().unwrap()
}

#[test]
fn tables_are_read_by_their_headers() {
    let actual = actual(STATE, STAT, CONN).unwrap();
    let names: Vec<_> = actual.backends.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["api", "empty"]);
    let servers = &actual.backends[&name("api")].servers;
    let is = |server: &str| {
        let server = &servers[&name(server)];
        (server.kind, server.admin, server.weight, server.is_quiet)
    };
    let node = "[::1]:80".parse().unwrap();
    assert_eq!(is("pb1"), (Kind::Slot(1), Admin::Ready, 100, false));
    assert_eq!(is("pb2"), (Kind::Slot(2), Admin::Drain, 50, false));
    assert_eq!(is("pb3"), (Kind::Slot(3), Admin::Maint, 1, true));
    assert_eq!(is("spare"), (Kind::Backup, Admin::Ready, 1, false));
    assert_eq!(
        is("web_::1:80"),
        (Kind::Added(node), Admin::Ready, 100, false)
    );
    // It has an idle connection.
    assert_eq!(is("named"), (Kind::Declared, Admin::Maint, 1, false));
    assert_eq!(servers[&name("named")].node, None);
    assert_eq!(servers[&name("web_::1:80")].node, Some(node));
}

#[test]
fn slots_with_a_host_name_keep_their_addresses_in_a_state_file() {
    let forgets = |last_column: &str, of_pb1: &str, of_others: &str| {
        let rows = STATE.lines().map(|row| match row {
            "1" => row.to_owned(),
            row if row.starts_with('#') => format!("{row} {last_column}"),
            row if row.contains(" pb1 ") => format!("{row} {of_pb1}"),
            row => format!("{row} {of_others}"),
        });
        let state: Vec<_> = rows.collect();
        let actual = actual(&state.join("\n"), STAT, CONN).unwrap();
        actual.backends[&name("api")].forgets_addresses
    };
    assert!(!forgets("srv_fqdn", "pollbal.invalid", "pollbal.invalid"));
    assert!(forgets("srv_fqdn", "-", "pollbal.invalid"));
    assert!(forgets("other", "pollbal.invalid", "pollbal.invalid"));
}

#[test]
fn what_is_no_table_is_not_understood() {
    for bad in ["", "Unknown command", "# be_name\nx", "1\n"] {
        assert_eq!(actual(bad, STAT, CONN), None, "{bad}");
        assert_eq!(actual(STATE, bad, CONN), None, "{bad}");
        assert_eq!(actual(STATE, STAT, bad), None, "{bad}");
    }
    let long = format!("1\n# be_id\n{}", "3\n".repeat(MAX_ROWS + 1));
    assert_eq!(actual(&long, STAT, CONN), None);
    let evil = STATE.replace("pb1", "pb1;del");
    assert_eq!(actual(&evil, STAT, CONN), None);
    assert_eq!(Info::parse("Unknown command"), None);
    let info =
        Info::parse("Name: HAProxy\nVersion: 3.0.11\nPid: 7\nStopping: 1\nStart_time_sec: 9\n");
    let expected = Info {
        pid: 7,
        is_stopping: true,
        version: "3.0.11".to_owned(),
        started: Some(9),
    };
    assert_eq!(info, Some(expected));
}

#[test]
fn members_with_requests_in_progress_or_queued_are_busy() {
    let member = |node: &str| -> Member { ("api".into(), node.parse().unwrap()) };
    let removed = ["10.0.0.1:80", "10.0.0.2:80", "[::1]:80", "10.0.0.3:80"].map(member);
    let servers = server_ids(STATE, &removed.clone().into()).unwrap();
    let ids: Vec<_> = servers.iter().map(|server| server.id).collect();
    assert_eq!(ids, [1, 2, 5]);
    assert_eq!(busy_ids(STAT).unwrap(), [("api", 1), ("api", 2)].into());
    assert_eq!(sessions(STAT), Some(4));
}

#[test]
fn numbers_that_are_too_large_to_add_are_busy() {
    let huge = STAT.replace("api,pb1,0,3,", "api,pb1,18446744073709551615,3,");
    assert!(busy_ids(&huge).unwrap().contains(&("api", 1)));
    assert_eq!(sessions(&huge), Some(u64::MAX));
}
