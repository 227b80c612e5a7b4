//! The parser against hyper: both read odd responses alike.

use super::*;

/// Responses with many oddities, changed in up to two places.
fn odd_response() -> impl Strategy<Value = Vec<u8>> {
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

/// Parses a response with hyper: status and body, `None` for a body that is too long.
fn by_hyper(bytes: &[u8]) -> Option<(u16, Option<Vec<u8>>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (ours, mut node) = tokio::io::duplex(1 << 16);
        let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
        let request = async {
            let request = hyper::Request::new(Empty::<Bytes>::new());
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
                Ok(body) => Some(body.to_bytes().into()),
                Err(error) if error.is::<LengthLimitError>() => None,
                Err(_) => return None,
            };
            Some((head.status.as_u16(), body))
        };
        let respond = async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                node.read_buf(&mut request).await.unwrap();
            }
            node.write_all(bytes).await.unwrap();
            node.shutdown().await.unwrap();
        };
        tokio::join!(request, connection, respond).0
    })
}

/// Whether the list of transfer codings ends with an empty element. hyper treats that as an unknown coding, but it has
/// no effect (RFC 9110, 5.6.1).
fn ends_in_an_empty_coding(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let mut codings = text
        .split(['\r', '\n'])
        .filter_map(|line| line.strip_prefix("transfer-encoding:"));
    codings.any(|codings| codings.trim_end().ends_with(','))
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_the_pieces(
        bytes in odd_response(),
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
    fn what_hyper_accepts_is_parsed_the_same(bytes in odd_response()) {
        prop_assume!(!ends_in_an_empty_coding(&bytes));
        let Some(hypers) = by_hyper(&bytes) else {
            return Ok(());
        };
        let ours = outcome([&bytes[..]]).ok();
        let ours = ours.map(|response| (response.status, response.body));
        prop_assert_eq!(ours, Some(hypers), "{:?}", String::from_utf8_lossy(&bytes));
    }
}
