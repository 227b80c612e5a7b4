use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

type Outcome = Result<Answer, Unreadable>;

/// What comes of an answer in these pieces, behind which the node closes the connection.
fn outcome<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut reading = Reading::default();
    let mut pieces = pieces.into_iter();
    while let Some(piece) = pieces.next() {
        if let Some(mut answer) = reading.take(piece)? {
            // More is found when the connection is about to be used again.
            answer.keeps &= pieces.next().is_none();
            return Ok(answer);
        }
    }
    reading.end()
}

/// What comes of an answer, which is the same whole and byte by byte.
#[track_caller]
fn read(text: &str) -> Outcome {
    let whole = outcome([text.as_bytes()]);
    let bytes = outcome(text.as_bytes().chunks(1));
    assert_eq!(whole, bytes, "whole and byte by byte: {text:?}");
    whole
}

#[expect(clippy::unnecessary_wraps, reason = "outcomes are compared with it")]
fn answer(status: u16, body: &str, keeps: bool) -> Outcome {
    Ok(Answer {
        status,
        body: Some(body.into()),
        keeps,
    })
}

#[track_caller]
fn assert_all(cases: &[(&str, Outcome)]) {
    for (text, expected) in cases {
        assert_eq!(&read(text), expected, "{text:?}");
    }
}

#[test]
fn a_body_ends_where_the_head_says() {
    let api = |keeps| answer(200, "api", keeps);
    assert_all(&[
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napi", api(true)),
        ("HTTP/1.1 200 OK\r\ncontent-length:3\r\n\r\napi", api(true)),
        ("HTTP/1.1 200 OK\nContent-Length: 3\n\napi", api(true)),
        (
            "\r\nHTTP/1.1 200\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\napi",
            api(true),
        ),
        ("HTTP/1.1 200 OK\r\n\r\napi", api(false)),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\nContent-Length: 1\r\n\r\napi",
            api(false),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            answer(200, "", true),
        ),
        (
            "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n",
            answer(204, "", true),
        ),
        (
            "HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n",
            answer(304, "", true),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", answer(200, "", false)),
    ]);
}

#[test]
fn a_body_in_chunks_ends_behind_the_last_one() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n";
    let api = || answer(200, "api", true);
    let closed = || Err(Unreadable::Closed);
    let chunk = || Err(Unreadable::Chunk);
    for (text, expected) in [
        ("3\r\napi\r\n0\r\n\r\n", api()),
        (
            "1\r\na\r\n0002 ; why=\"not\"\r\npi\r\n00\r\nX: 1\r\nY: 2\r\n\r\n",
            api(),
        ),
        ("0\r\n\r\n", answer(200, "", true)),
        ("3\r\napi\r\n0\r\n", closed()),
        ("3\r\nap", closed()),
        ("3", closed()),
        ("", closed()),
        ("3\r\napi0\r\n\r\n", chunk()),
        ("\r\n\r\n", chunk()),
        (" 3\r\napi\r\n0\r\n\r\n", chunk()),
        ("+3\r\napi\r\n0\r\n\r\n", chunk()),
        ("3\napi\r\n0\r\n\r\n", chunk()),
        ("3;x\ny\r\napi\r\n0\r\n\r\n", chunk()),
        ("0\r\nX: 1\n\r\n", chunk()),
        ("10000000000000003\r\napi\r\n0\r\n\r\n", chunk()),
        ("0\r\n: 1\r\n\r\n", Err(httparse::Error::HeaderName.into())),
    ] {
        assert_eq!(read(&format!("{HEAD}{text}")), expected, "{text:?}");
    }
}

#[test]
fn a_connection_is_kept_when_the_node_keeps_it_and_all_is_clear() {
    for (version, fields, keeps) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: Close\r\n", false),
        ("1.1", "Connection: x, close\r\n", false),
        (
            "1.1",
            "Connection: close\r\nConnection: keep-alive\r\n",
            false,
        ),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        (
            "1.0",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
    ] {
        let text = format!("HTTP/{version} 200 OK\r\n{fields}Content-Length: 3\r\n\r\napi");
        assert_eq!(read(&text), answer(200, "api", keeps), "{text:?}");
        assert_eq!(read(&format!("{text}api")), answer(200, "api", false));
    }
    let two_lengths = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\
                       3\r\napi\r\n0\r\n\r\n";
    assert_eq!(read(two_lengths), answer(200, "api", false));
}

#[test]
fn interim_answers_are_passed_over() {
    const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nContent-Length: x\r\n\r\n";
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napi";
    assert_all(&[
        (&format!("{INTERIM}{ANSWER}"), answer(200, "api", true)),
        (INTERIM, Err(Unreadable::Closed)),
        (&INTERIM.repeat(200), Err(Unreadable::LongHead)),
        // Another protocol, which was not asked for.
        ("HTTP/1.1 101 X\r\n\r\n", answer(101, "", false)),
        (
            &format!("HTTP/1.1 101 X\r\n\r\n{ANSWER}"),
            answer(101, "", false),
        ),
    ]);
}

#[test]
fn what_is_no_answer_is_refused() {
    use httparse::Error;
    for (text, expected) in [
        ("", Unreadable::Closed),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
            Unreadable::Closed,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nap",
            Unreadable::Closed,
        ),
        ("website\n", Error::Version.into()),
        ("HTTP/2.0 200 OK\r\n\r\n", Error::Version.into()),
        ("HTTP/1.1 099 OK\r\n\r\n", Error::Status.into()),
        ("HTTP/1.1 20 OK\r\n\r\n", Error::Status.into()),
        (
            "HTTP/1.1 200 OK\r\n X: folded\r\n\r\n",
            Error::HeaderName.into(),
        ),
        ("HTTP/1.1 200 OK\r\nX : 1\r\n\r\n", Error::HeaderName.into()),
        (
            "HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n",
            Error::HeaderName.into(),
        ),
        (
            "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
            Error::HeaderValue.into(),
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Unreadable::Coding,
        ),
    ] {
        assert_eq!(read(text), Err(expected), "{text:?}");
    }
    let lengths = [
        "",
        "-7",
        "+7",
        "7 7",
        "7;",
        "0x7",
        "7,",
        "7, 3",
        "7\r\nContent-Length: 3",
    ];
    for length in lengths.into_iter().chain(["99999999999999999999"]) {
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nwebsite");
        assert_eq!(read(&text), Err(Unreadable::Length), "{length:?}");
    }
}

#[test]
fn what_is_too_long_is_not_read_to_its_end() {
    let too_long = |text: &str| {
        let expected = Answer {
            status: 500,
            body: None,
            keeps: false,
        };
        assert_eq!(read(text), Ok(expected), "{} bytes", text.len());
    };
    let body = "x".repeat(MAX_BODY_BYTES);
    let open = "HTTP/1.1 500 Oops\r\n";
    let chunked = format!("{open}Transfer-Encoding: chunked\r\n\r\n");
    assert_eq!(
        read(&format!("{open}\r\n{body}")),
        answer(500, &body, false)
    );
    too_long(&format!("{open}\r\n{body}x"));
    too_long(&format!("{open}Content-Length: 4097\r\n\r\n"));
    too_long(&format!("{chunked}1001\r\n"));
    too_long(&format!("{chunked}1000\r\n{body}\r\n1\r\n"));
    too_long(&format!("{chunked}ffffffffffffffff\r\n"));
}

#[test]
fn a_head_a_chunks_size_and_trailers_end_in_time() {
    const OPEN: &str = "HTTP/1.1 200 OK\r\n";
    let field = |bytes: usize| format!("X: {}\r\n\r\n", "x".repeat(bytes - "X: \r\n\r\n".len()));
    let head = |bytes| format!("{OPEN}{}", field(bytes - OPEN.len()));
    assert_eq!(read(&head(MAX_HEAD_BYTES)), answer(200, "", false));
    let more = MAX_HEAD_BYTES + 1;
    assert_eq!(read(&head(more)), Err(Unreadable::LongHead));
    let chunked = |rest: &str| read(&format!("{OPEN}Transfer-Encoding: chunked\r\n\r\n{rest}"));
    let extension = |bytes| format!("0;{}", field(bytes - 2));
    assert_eq!(chunked(&extension(MAX_HEAD_BYTES)), answer(200, "", true));
    assert_eq!(chunked(&extension(more + 2)), Err(Unreadable::Chunk));
    let trailers = |bytes| format!("0\r\n{}", field(bytes));
    assert_eq!(chunked(&trailers(MAX_HEAD_BYTES)), answer(200, "", true));
    assert_eq!(chunked(&trailers(more)), Err(Unreadable::Chunk));
    let many = format!("{OPEN}{}\r\n", "X: 1\r\n".repeat(MAX_FIELDS + 1));
    assert_eq!(read(&many), Err(httparse::Error::TooManyHeaders.into()));
}

/// Answers with much that is odd, and changed at a place or two.
fn odd_answer() -> impl Strategy<Value = Vec<u8>> {
    let status = select(
        &[
            "200 OK",
            "204",
            "304 ",
            "100 Go on",
            "101 X",
            "500 \u{e9}",
            "99 X",
        ][..],
    );
    let version = select(&["1.1", "1.1", "1.0", "2.0"][..]);
    let field = select(
        &[
            "Content-Length: 3",
            "Content-Length: 16",
            "content-length:  3, 3 ",
            "Content-Length: -1",
            "Content-Length: 9999",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip, CHUNKED",
            "Transfer-Encoding: gzip",
            "Connection: close",
            "X-\u{e9}: 1",
            "X:\t1 \u{e9} ",
            " X: folded",
            "X",
        ][..],
    );
    let fields = prop::collection::vec(field, 0..3);
    let head = (version, status, fields).prop_map(|(version, status, fields)| {
        let first = format!("HTTP/{version} {status}");
        [vec![&*first], fields].concat().join("\r\n") + "\r\n\r\n"
    });
    let body = select(
        &[
            "",
            "api",
            "api serving v23\n",
            "3\r\napi\r\n0\r\n\r\n",
            "a;x=y\r\napi servin\r\n6 \r\ng v23\n\r\n0\r\n\r\n",
            "-1\r\napi\r\n0\r\n\r\n",
        ][..],
    );
    let change = (
        any::<Index>(),
        select(&b"\r\n :;,0a\t\x00"[..]),
        any::<bool>(),
    );
    let changes = prop::collection::vec(change, 0..3);
    (prop::collection::vec(head, 1..3), body, changes).prop_map(|(heads, body, changes)| {
        let mut bytes = (heads.concat() + body).into_bytes();
        for (at, byte, instead) in changes {
            let at = at.index(bytes.len());
            bytes.splice(at..at + usize::from(instead), [byte]);
        }
        bytes
    })
}

/// What hyper makes of an answer: status and body, none where that is too long.
fn by_hyper(bytes: &[u8]) -> Option<(u16, Option<Vec<u8>>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (ours, mut node) = tokio::io::duplex(1 << 16);
        let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
        let ask = async {
            let request = hyper::Request::new(Empty::<Bytes>::new());
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
                Ok(body) => Some(body.to_bytes().into()),
                Err(error) if error.is::<LengthLimitError>() => None,
                Err(_) => return None,
            };
            Some((head.status.as_u16(), body))
        };
        let say = async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                node.read_buf(&mut request).await.unwrap();
            }
            node.write_all(bytes).await.unwrap();
            node.shutdown().await.unwrap();
        };
        tokio::join!(ask, connection, say).0
    })
}

proptest! {
    #[test]
    fn it_is_the_same_in_whatever_pieces_it_comes(
        bytes in odd_answer(),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        let pieces = outcome(pieces.filter(|piece| !piece.is_empty()));
        prop_assert_eq!(pieces, outcome([&bytes[..]]));
    }

    #[test]
    fn hyper_reads_the_same(bytes in odd_answer()) {
        let ours = outcome([&bytes[..]]).ok();
        let hypers = by_hyper(&bytes);
        match ours.map(|answer| (answer.status, answer.body)) {
            // Said to be too long, where hyper waits whether it is.
            Some((_, None)) if hypers.is_none() => {}
            ours => prop_assert_eq!(ours, hypers, "{:?}", String::from_utf8_lossy(&bytes)),
        }
    }
}
