mod comparison;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// The result of parsing, with only the kind of error: the excerpt in it depends on the pieces.
type Outcome = Result<Response, Kind>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NotHttp,
    LongHead,
    Length,
    ChunkSize,
    ChunkEnd,
    LongLine,
    Closed,
}

impl From<ParseError> for Kind {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::Protocol(_) | ParseError::NotHttp(_) => Self::NotHttp,
            ParseError::LongHead => Self::LongHead,
            ParseError::Length(_) => Self::Length,
            ParseError::ChunkSize(_) => Self::ChunkSize,
            ParseError::ChunkEnd(_) => Self::ChunkEnd,
            ParseError::LongLine => Self::LongLine,
        }
    }
}

/// Parses a response that arrives in these pieces, after which the node closes the connection.
fn outcome<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut parser = ResponseParser::default();
    let mut pieces = pieces.into_iter();
    while let Some(piece) = pieces.next() {
        if let Some(mut response) = parser.feed(piece)? {
            // Further bytes are noticed when the connection is about to be reused.
            response.keep_alive &= pieces.next().is_none();
            return Ok(response);
        }
    }
    parser.finish()?.ok_or(Kind::Closed)
}

/// Parses a response, with the same result as a whole and byte by byte.
#[track_caller]
fn parse(text: &str) -> Outcome {
    let whole = outcome([text.as_bytes()]);
    let bytes = outcome(text.as_bytes().chunks(1));
    assert_eq!(whole, bytes, "whole and byte by byte: {text:?}");
    whole
}

#[expect(clippy::unnecessary_wraps, reason = "outcomes are compared with it")]
fn response(status: u16, body: &str, keep_alive: bool) -> Outcome {
    Ok(Response {
        status,
        body: Some(body.into()),
        keep_alive,
    })
}

#[track_caller]
fn assert_all(cases: &[(&str, Outcome)]) {
    for (text, expected) in cases {
        assert_eq!(&parse(text), expected, "{text:?}");
    }
}

#[test]
fn a_body_ends_where_the_head_says() {
    let api = |keep_alive| response(200, "api", keep_alive);
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
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\napi",
            api(true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n3\r\napi\r\n0\r\n\r\n",
            api(true),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            response(200, "", true),
        ),
        (
            "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n",
            response(204, "", true),
        ),
        (
            "HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n",
            response(304, "", true),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", response(200, "", false)),
    ]);
}

#[test]
fn a_chunked_body_ends_after_the_last_chunk() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n";
    let api = || response(200, "api", true);
    let closed = || Err(Kind::Closed);
    let too_long = Response {
        status: 200,
        body: None,
        keep_alive: false,
    };
    for (text, expected) in [
        ("3\r\napi\r\n0\r\n\r\n", api()),
        (
            "1\r\na\r\n0002 ; why=\"not\"\r\npi\r\n00\r\nX: 1\r\nY: 2\r\n\r\n",
            api(),
        ),
        ("0\r\n\r\n", response(200, "", true)),
        ("3\napi\n0\n\n", api()),
        ("3\napi\r\n0\nX: 1\n\r\n", api()),
        ("3 x\r\napi\r\n0\t\r\n\r\n", api()),
        ("3\r\napi\r\n0\r\n: 1\r\nX\x01 Y\r\n folded\r\n\r\n", api()),
        ("3\r\napi\r\n0\r\n", closed()),
        ("3\r\nap", closed()),
        ("3", closed()),
        ("", closed()),
        ("3\r\napi0\r\n\r\n", Err(Kind::ChunkEnd)),
        ("\r\n\r\n", Err(Kind::ChunkSize)),
        (" 3\r\napi\r\n0\r\n\r\n", Err(Kind::ChunkSize)),
        ("+3\r\napi\r\n0\r\n\r\n", Err(Kind::ChunkSize)),
        ("3zz\r\napi\r\n0\r\n\r\n", Err(Kind::ChunkSize)),
        ("10000000000000003\r\napi\r\n0\r\n\r\n", Ok(too_long)),
    ] {
        assert_eq!(parse(&format!("{HEAD}{text}")), expected, "{text:?}");
    }
}

#[test]
fn a_connection_is_reused_if_the_node_keeps_it_open_and_the_response_is_unambiguous() {
    for (version, fields, keep_alive) in [
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
        assert_eq!(parse(&text), response(200, "api", keep_alive), "{text:?}");
        assert_eq!(parse(&format!("{text}api")), response(200, "api", false));
    }
    let two_lengths = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\
                       3\r\napi\r\n0\r\n\r\n";
    assert_eq!(parse(two_lengths), response(200, "api", false));
    let not_in_1_0 = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3\r\napi\r\n0\r\n\r\n";
    assert_eq!(parse(not_in_1_0), response(200, "api", false));
}

#[test]
fn other_header_fields_do_not_matter() {
    for field in [
        "X: a\r\n folded\r\n\tand again",
        "X: a\r\n ",
        " X: blank in front",
        "X: \x01\x1b[2J\x7f",
        "X: a\0b",
        "X: a\rb",
        "X: a\r",
        "X: \u{e9}",
        "X\u{e9}: a",
        "X Y: a",
        "X : a",
        "X\x01: a",
        ": a",
        "no colon",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 3\r\n\r\napi");
        // A line that begins with a blank would continue the field before it.
        assert_eq!(parse(&text), response(200, "api", true), "{field:?}");
        let last = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n{}\r\n\r\napi",
            field.trim_start()
        );
        assert_eq!(parse(&last), response(200, "api", true), "{field:?}");
    }
    for line in [
        "HTTP/1.1 200 O\x01K",
        "HTTP/1.1 200 \u{e9}",
        "HTTP/1.1  200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/2 200",
        "HTTP/1.1 200 OK\r",
    ] {
        let text = format!("{line}\r\nContent-Length:\r\n 3\r\n\r\napi");
        assert_eq!(parse(&text), response(200, "api", true), "{line:?}");
    }
    let folded = "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\tgzip,\r\n chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(parse(folded), response(200, "", true));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: 1\r\n".repeat(2_000));
    assert_eq!(parse(&many), response(200, "", false));
}

#[test]
fn other_protocols_are_recognized_by_their_first_bytes() {
    let error = |bytes: &[u8]| {
        ResponseParser::default()
            .feed(bytes)
            .unwrap_err()
            .to_string()
    };
    for (bytes, expected) in [
        (&b"\x15\x03\x01\x00\x02\x02\x46"[..], "speaks TLS, not HTTP"),
        (b"\x16\x03\x03\x00\x7a\x02", "speaks TLS, not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "speaks SSH, not HTTP"),
        (
            b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03",
            "speaks HTTP/2, not HTTP/1.1",
        ),
        (
            b"220 mail ESMTP\r\n",
            "answered \"220 mail ESMTP\", which is not HTTP",
        ),
        (
            "\u{202e}\x1b[2J\"".as_bytes(),
            r#"answered "\xe2\x80\xae\x1b[2J\"", which is not HTTP"#,
        ),
        (
            &[b'x'; 1_000],
            "answered \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\", which is not HTTP",
        ),
    ] {
        assert_eq!(error(bytes), expected);
    }
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    assert_eq!(
        error(chunked),
        "answered in chunks, with \"zz\" instead of a chunk's size"
    );
}

#[test]
fn interim_responses_are_skipped() {
    const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nContent-Length: x\r\n\r\n";
    const FINAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napi";
    assert_all(&[
        (&format!("{INTERIM}{FINAL}"), response(200, "api", true)),
        (INTERIM, Err(Kind::Closed)),
        (&INTERIM.repeat(300), Err(Kind::LongHead)),
        // Another protocol, which was not requested.
        ("HTTP/1.1 101 X\r\n\r\n", response(101, "", false)),
        (
            &format!("HTTP/1.1 101 X\r\n\r\n{FINAL}"),
            response(101, "", false),
        ),
    ]);
}

#[test]
fn invalid_responses_are_rejected() {
    for (text, expected) in [
        ("", Kind::Closed),
        ("HTT", Kind::Closed),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", Kind::Closed),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nap",
            Kind::Closed,
        ),
        ("website\n", Kind::NotHttp),
        ("http/1.1 200 OK\r\n\r\n", Kind::NotHttp),
        ("HTTP/x 200 OK\r\n\r\n", Kind::NotHttp),
        ("HTTP/1.1\r\n\r\n", Kind::NotHttp),
        ("HTTP/1.1 099 OK\r\n\r\n", Kind::NotHttp),
        ("HTTP/1.1 20 OK\r\n\r\n", Kind::NotHttp),
        ("HTTP/1.1 2000 OK\r\n\r\n", Kind::NotHttp),
    ] {
        assert_eq!(parse(text), Err(expected), "{text:?}");
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
        assert_eq!(parse(&text), Err(Kind::Length), "{length:?}");
    }
}

#[test]
fn a_body_beyond_the_limit_is_not_read_to_its_end() {
    let too_long = |text: &str| {
        let expected = Response {
            status: 500,
            body: None,
            keep_alive: false,
        };
        assert_eq!(parse(text), Ok(expected), "{} bytes", text.len());
    };
    let body = "x".repeat(MAX_BODY_BYTES);
    let open = "HTTP/1.1 500 Oops\r\n";
    let chunked = format!("{open}Transfer-Encoding: chunked\r\n\r\n");
    assert_eq!(
        parse(&format!("{open}\r\n{body}")),
        response(500, &body, false)
    );
    too_long(&format!("{open}\r\n{body}x"));
    too_long(&format!("{open}Content-Length: 4097\r\n\r\n"));
    too_long(&format!("{chunked}1001\r\n"));
    too_long(&format!("{chunked}1000\r\n{body}\r\n1\r\n"));
    too_long(&format!("{chunked}ffffffffffffffff\r\n"));
}

#[test]
fn heads_chunk_sizes_and_trailers_are_limited() {
    const OPEN: &str = "HTTP/1.1 200 OK\r\n";
    let field = |bytes: usize| format!("X: {}\r\n\r\n", "x".repeat(bytes - "X: \r\n\r\n".len()));
    let head = |bytes| format!("{OPEN}{}", field(bytes - OPEN.len()));
    assert_eq!(parse(&head(MAX_HEAD_BYTES)), response(200, "", false));
    let more = MAX_HEAD_BYTES + 1;
    assert_eq!(parse(&head(more)), Err(Kind::LongHead));
    let chunked = |rest: &str| parse(&format!("{OPEN}Transfer-Encoding: chunked\r\n\r\n{rest}"));
    let extension = |bytes| format!("0;{}", field(bytes - 2));
    assert_eq!(chunked(&extension(MAX_HEAD_BYTES)), response(200, "", true));
    assert_eq!(chunked(&extension(more + 2)), Err(Kind::LongLine));
    let trailers = |bytes| format!("0\r\n{}", field(bytes));
    assert_eq!(chunked(&trailers(MAX_HEAD_BYTES)), response(200, "", true));
    assert_eq!(chunked(&trailers(more)), Err(Kind::LongLine));
    let many = "X: 1\r\n".repeat(MAX_HEAD_BYTES / 6 + 1);
    assert_eq!(chunked(&format!("0\r\n{many}")), Err(Kind::LongLine));
}
