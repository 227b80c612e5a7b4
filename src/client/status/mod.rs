//! `pollbal status`: how all stands. Text is made by [`text`], of the answer alone.

mod phrases;
mod text;
pub(super) mod watch;

pub(super) use phrases::{state, why};

use super::http::{ANSWER, Answer, AskError, Door};
use super::terminal::{self, Paint};
use super::{ClientError, DONE, FAILED};
use crate::api::Status;
use crate::cli;

/// Shows it once.
pub(super) async fn once(door: &Door, args: &cli::Status) -> Result<u8, ClientError> {
    let answer = ask(door, &args.of).await?;
    if door.json {
        terminal::print(&answer.pretty());
    } else {
        let text = text::render(&answer.value, !args.of.is_empty(), Paint::of_stdout());
        terminal::print(&text);
    }
    Ok(code(&answer.value))
}

/// The exit code that makes it a probe.
fn code(status: &Status) -> u8 {
    if status.all_right { DONE } else { FAILED }
}

/// Asks for everything, or for what was named: a pool where there is one of that name, else a node.
async fn ask(door: &Door, of: &[String]) -> Result<Answer<Status>, AskError> {
    let all = door.get("/v1/status", &[], ANSWER).await?;
    if of.is_empty() {
        return Ok(all);
    }
    let all: Status = all.value;
    let is_pool = |name: &str| all.pools.iter().any(|pool| pool.name == name);
    let query: Vec<_> = of
        .iter()
        .map(|name| {
            let key = if is_pool(name) { "pool" } else { "node" };
            (key, name.clone())
        })
        .collect();
    door.get("/v1/status", &query, ANSWER).await
}
