//! Commands as they are written, and responses as they are parsed.

use super::*;
use proptest::prelude::*;

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn name(text: &str) -> PerlbalName {
    text.parse().unwrap()
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint::parse(text).unwrap()
}

#[test]
fn a_line_that_ends_in_exit_gets_a_blank() {
    assert_eq!(
        Command::ShowPool(name("myexit")).line(),
        "SHOW POOL myexit \n"
    );
    assert_eq!(Command::ShowPool(name("exits")).line(), "SHOW POOL exits\n");
}

#[test]
fn an_error_ends_an_answer_of_any_shape() {
    for command in [
        Command::Uptime,
        Command::DumpConfig,
        Command::CreatePool(name("x")),
    ] {
        let answer = command.read("ERROR: Pool 'x' not found", &mut Vec::new());
        assert_eq!(
            answer,
            Ok(Some(Response::Error("Pool 'x' not found".to_owned())))
        );
    }
}

#[test]
fn a_word_where_only_ok_is_due_is_not_understood() {
    let command = Command::CreatePool(name("x"));
    assert_eq!(
        command.read("OK", &mut Vec::new()),
        Ok(Some(Response::Ok(Vec::new())))
    );
    assert!(command.read(".", &mut Vec::new()).is_err());
    assert!(command.read("OKAY", &mut Vec::new()).is_err());
}

#[test]
fn dumpconfig_gives_pools_with_their_files_and_services_with_their_pools() {
    // As Perlbal 1.80 printed it, shortened.
    let dump = Dump::parse(&lines(
        "CREATE POOL api\n  SET nodefile = /run/pool/api.pool\n\nCREATE POOL web\n  \
         POOL ADD web 127.0.0.1:80\n  POOL ADD web 999.1.1.1:99999\n\n\
         CREATE SERVICE balancer\n  SET role = reverse_proxy\n  SET listen = 127.0.0.1:1\n  \
         SET pool = api\n  SET connect_ahead = 4\n  SET persist_backend = 1\nENABLE balancer\n\n\
         CREATE SERVICE mgmt\n  SET role = management\n  SET listen = 127.0.0.1:2\nENABLE mgmt\n",
    ))
    .unwrap();
    assert_eq!(
        dump.pools[&name("api")].nodefile.as_deref(),
        Some("/run/pool/api.pool")
    );
    let members = [endpoint("127.0.0.1:80"), endpoint("999.1.1.1:99999")];
    assert_eq!(dump.pools[&name("web")].members, members.into());
    for odd in [
        "999.1.1.1:99999",
        "127.0.0.1:080",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
    ] {
        assert_eq!(endpoint(odd), Endpoint::Unparsed(odd.to_owned()));
    }
    let balancer = Service {
        pool: Some(name("api")),
        connect_ahead: 4,
    };
    assert_eq!(dump.services[&name("balancer")], balancer);
    assert_eq!(dump.services[&name("mgmt")], Service::default());
}

#[test]
fn show_pool_gives_members_and_nothing_that_could_not_be_said_again() {
    let members = parse_pool(&lines("127.0.0.1:80 12\n127.0.0.2:80 0")).unwrap();
    assert_eq!(
        members,
        [endpoint("127.0.0.1:80"), endpoint("127.0.0.2:80")].into()
    );
    for odd in ["127.0.0.1:80 x", "garbage", "127.0.0.1:80#x 0", "$HOME 0"] {
        assert!(parse_pool(&lines(odd)).is_err(), "{odd}");
    }
}

#[test]
fn show_pool_without_a_name_gives_how_many_services_use_each_pool() {
    // As Perlbal 1.80 printed it; a pool may be called `services`.
    let users = parse_users(&lines(
        "blue nodes 60\nblue services 2\nservices nodes 0\nservices services 0",
    ));
    assert_eq!(users, [(name("blue"), 2), (name("services"), 0)].into());
}

#[test]
fn a_bored_connection_is_idle_and_any_other_is_busy() {
    let socks = lines(
        "   fd    age\n    5     3s Perlbal::TCPListener(R): open\n    \
         9     3s Perlbal::BackendHTTP(R): open to 127.0.1.1:8081: localport=52822; uses=40; bored; has_attention=yes\n   \
         10     3s Perlbal::BackendHTTP(R): open to 127.0.1.2:8081: localport=52823; client=12; uses=4; wait_res; has_attention=yes",
    );
    assert_eq!(
        parse_busy(&socks),
        ["127.0.1.2:8081".parse().unwrap()].into()
    );
}

#[test]
fn statistics_are_read() {
    assert_eq!(
        parse_uptime(&lines("starttime 17\nuptime 3\nversion 1.80")),
        Ok((17, "1.80".to_owned()))
    );
    assert!(parse_uptime(&lines("uptime 3")).is_err());
    assert_eq!(
        parse_backends(&lines("127.0.0.1:80 3")),
        ["127.0.0.1:80".parse().unwrap()].into()
    );
    assert_eq!(
        parse_requests(&lines("127.0.0.1:80 connects 3\n127.0.0.1:80 requests 41")),
        41
    );
}

proptest! {
    #[test]
    fn no_answer_makes_a_parser_panic(text in "(\\PC|\\n|OK|ERROR:|CREATE POOL |CREATE SERVICE |POOL ADD |SET connect_ahead = | to |: ){0,60}") {
        let lines = lines(&text);
        let _ = Dump::parse(&lines);
        let _ = parse_pool(&lines);
        let _ = (parse_uptime(&lines), parse_users(&lines));
        let _ = (parse_backends(&lines), parse_busy(&lines), parse_requests(&lines));
    }

    #[test]
    fn what_is_taken_for_an_endpoint_is_said_again_as_it_was(
        text in "\\PC{1,20}|[0-9]{1,3}(\\.[0-9]{1,3}){3}:[0-9]{1,5}",
    ) {
        if let Ok(endpoint) = Endpoint::parse(&text) {
            prop_assert_eq!(endpoint.to_string(), text.clone());
            prop_assert!(!text.contains(['\n', '\r', '#', '$']));
        }
    }
}

#[test]
fn a_client_cannot_pass_its_request_for_a_busy_node() {
    let socks = lines(
        "   11     0s Perlbal::ClientProxy(R): open to 127.0.0.1:5: persist_wait; \
         http://Perlbal::BackendHTTP(R): open to 10.0.0.1:80: x/",
    );
    assert_eq!(parse_busy(&socks), [].into());
}
