//! The head of an answer, and what it tells of the body and the connection.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use super::body::Framing;
use super::{MAX_FIELDS, MAX_HEAD_BYTES, Unreadable};

#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) framing: Framing,
    /// Whether the node keeps the connection.
    pub(super) keeps: bool,
}

impl Head {
    /// Reads the head that `bytes` begin with, and gives what stands behind it; `None` as long as
    /// it is not whole. Interim ones before it are passed over.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, Unreadable> {
        let within = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
        let mut at = 0;
        while let Some((head, length)) = read_one(&within[at..])? {
            at += length;
            if let Some(head) = head {
                return Ok(Some((head, &bytes[at..])));
            }
        }
        if bytes.len() < MAX_HEAD_BYTES {
            Ok(None)
        } else {
            Err(Unreadable::LongHead)
        }
    }

    fn new(status: u16, http_11: bool, fields: &[Header]) -> Result<Self, Unreadable> {
        let words = |name| words(fields, name);
        let connection =
            |what: &[u8]| words("Connection").any(|word| word.eq_ignore_ascii_case(what));
        let coding = words("Transfer-Encoding").last();
        let framing = match coding {
            // 101 would be another protocol, which was not asked for.
            _ if matches!(status, 101 | 204 | 304) => Framing::Length(0),
            Some(_) if !http_11 => return Err(Unreadable::Coding),
            Some(last) if last.eq_ignore_ascii_case(b"chunked") => Framing::CHUNKED,
            Some(_) => Framing::UntilClosed,
            None => length(words("Content-Length"))?.map_or(Framing::UntilClosed, Framing::Length),
        };
        // Who tells the length in two ways may mean another one than is understood here.
        let twice = coding.is_some() && words("Content-Length").next().is_some();
        let keeps = !connection(b"close") && (http_11 || connection(b"keep-alive"));
        Ok(Self {
            status,
            framing,
            keeps: keeps && !twice && status != 101,
        })
    }
}

/// Reads one head, if it is whole: nothing of it when it is an interim one, and its length.
fn read_one(bytes: &[u8]) -> Result<Option<(Option<Head>, usize)>, Unreadable> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = Response::new(&mut []);
    let read = ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    )?;
    let Status::Complete(length) = read else {
        return Ok(None);
    };
    let http_11 = response.version == Some(1);
    let head = match response.code.unwrap_or_default() {
        ..100 => return Err(httparse::Error::Status.into()),
        100 | 102..200 => None,
        status => Some(Head::new(status, http_11, response.headers)?),
    };
    Ok(Some((head, length)))
}

/// What stands between the commas of all fields of this name.
fn words<'a>(fields: &[Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let fields = fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name));
    fields.flat_map(|field| {
        field
            .value
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
    })
}

/// The one length that all these words tell, if there are any.
fn length<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Option<usize>, Unreadable> {
    let mut lengths = words.map(|word| number(word).ok_or(Unreadable::Length));
    let Some(first) = lengths.next().transpose()? else {
        return Ok(None);
    };
    if lengths.all(|length| length == Ok(first)) {
        Ok(Some(first))
    } else {
        Err(Unreadable::Length)
    }
}

fn number(word: &[u8]) -> Option<usize> {
    // The parser of numbers takes "+7" too.
    let digits = word.iter().all(u8::is_ascii_digit);
    str::from_utf8(word).ok().filter(|_| digits)?.parse().ok()
}
