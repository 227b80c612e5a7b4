//! `pollbal status`: how all stands. Text is made by [`text`], of the answer alone.

mod phrases;
mod text;
pub(super) mod watch;

pub(super) use phrases::why;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{ANSWER, Answer, AskError, Door};
use super::terminal::{self, Paint};
use super::{ClientError, DONE};
use crate::api::Status;
use crate::cli;
use crate::model::health::Health;

/// All of a status that matters to who prints it as it is: thousands of nodes need not be understood.
#[derive(Deserialize)]
struct Verdict {
    health: Health,
}

/// So many bytes of names fit into the head of a request, 16 KiB, with room for the rest of it.
const LONGEST_QUESTION: usize = 15 * 1024;

/// Shows it once.
pub(super) async fn once(door: &Door, args: &cli::Status) -> Result<u8, ClientError> {
    check(&args.of)?;
    if door.json {
        let answer: Answer<Verdict> = ask(door, &args.of).await?;
        terminal::print_json(&answer.pretty());
        return Ok(code(answer.value.health, args));
    }
    let answer: Answer<Status> = ask(door, &args.of).await?;
    let text = text::render(&answer.value, !args.of.is_empty(), Paint::of_stdout());
    terminal::print(&text);
    Ok(code(answer.value.health, args))
}

/// The exit code that makes it a probe.
fn code(health: Health, args: &cli::Status) -> u8 {
    let zero = args
        .exit_zero_on
        .map_or(Health::Ok, cli::ExitZeroOn::health);
    if health <= zero {
        DONE
    } else {
        health.number()
    }
}

/// More than fits into one question is refused here, with how much fits.
fn check(of: &[String]) -> Result<(), ClientError> {
    let mut length = 0;
    let fit = of.iter().take_while(|name| {
        length += form_urlencoded::byte_serialize(name.as_bytes())
            .map(str::len)
            .sum::<usize>()
            + "of=&".len();
        length <= LONGEST_QUESTION
    });
    match fit.count() {
        all if all == of.len() => Ok(()),
        fit => Err(ClientError::Usage(format!(
            "{} names are too many for one question: the first {fit} fit; name fewer at a time, or a pool, or ask for \
             all with `status --json`",
            of.len(),
        ))),
    }
}

/// Asks for everything, or for what was named: a pool where there is one of that name, else a node.
async fn ask<T: DeserializeOwned>(door: &Door, of: &[String]) -> Result<Answer<T>, AskError> {
    let query: Vec<_> = of.iter().map(|name| ("of", name.clone())).collect();
    door.get("/v1/status", &query, ANSWER).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_fit_into_one_question_are_counted() {
        let of = vec!["10.100.100.100:65535".to_owned(); 1_000];
        // `of=`, the address with three more for its colon, and `&`.
        let fit = LONGEST_QUESTION / 26;
        assert!(check(&of[..fit]).is_ok());
        let told = check(&of).unwrap_err().to_string();
        let expected = format!("1000 names are too many for one question: the first {fit} fit; ");
        assert!(told.starts_with(&expected), "{told}");
        assert!(check(&of[..=fit]).is_err());
    }
}
