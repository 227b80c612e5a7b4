//! `pollbal status`: how all stands. Text is made by [`text`], of the answer alone.

mod phrases;
mod text;
pub(super) mod watch;

pub(super) use phrases::why;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{ANSWER, Answer, AskError, Door};
use super::terminal::{self, Paint};
use super::{ClientError, DONE, FAILED};
use crate::api::Status;
use crate::cli;

/// All of a status that matters to who prints it as it is: thousands of nodes need not be understood.
#[derive(Deserialize)]
struct Verdict {
    all_right: bool,
}

/// Shows it once.
pub(super) async fn once(door: &Door, args: &cli::Status) -> Result<u8, ClientError> {
    if door.json {
        let answer: Answer<Verdict> = ask(door, &args.of).await?;
        terminal::print(&answer.pretty());
        return Ok(code(answer.value.all_right));
    }
    let answer: Answer<Status> = ask(door, &args.of).await?;
    let text = text::render(&answer.value, !args.of.is_empty(), Paint::of_stdout());
    terminal::print(&text);
    Ok(code(answer.value.all_right))
}

/// The exit code that makes it a probe.
fn code(all_right: bool) -> u8 {
    if all_right { DONE } else { FAILED }
}

/// Asks for everything, or for what was named: a pool where there is one of that name, else a node.
async fn ask<T: DeserializeOwned>(door: &Door, of: &[String]) -> Result<Answer<T>, AskError> {
    let query: Vec<_> = of.iter().map(|name| ("of", name.clone())).collect();
    door.get("/v1/status", &query, ANSWER).await
}
