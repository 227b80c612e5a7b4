//! `pollbal status`: shows the overall state. [`text`] formats the response.

mod format;
mod text;
pub(super) mod watch;

pub(super) use format::{ramp, why};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{AdminClient, ApiResponse, ClientError, RESPONSE_TIMEOUT};
use super::terminal::{self, Colors};
use super::{CommandError, DONE};
use crate::api::Status;
use crate::cli;
use crate::model::health::Health;

/// What `--json` needs of a status: parsing thousands of nodes would be wasted.
#[derive(Deserialize)]
struct ExitVerdict {
    health: Health,
}

/// Maximum length of the names in a request, in bytes: its head may have 16 KiB.
const MAX_QUERY_BYTES: usize = 15 * 1024;

/// Prints the status once.
pub(super) async fn once(client: &AdminClient, args: &cli::Status) -> Result<u8, CommandError> {
    check(&args.of)?;
    if client.json {
        let response: ApiResponse<ExitVerdict> = get(client, &args.of).await?;
        terminal::print_json(&response.json());
        return Ok(exit_code(response.value.health, args));
    }
    let response: ApiResponse<Status> = get(client, &args.of).await?;
    let text = text::render(&response.value, !args.of.is_empty(), Colors::of_stdout());
    terminal::print(&text);
    Ok(exit_code(response.value.health, args))
}

/// The exit code, by which scripts probe the health.
fn exit_code(health: Health, args: &cli::Status) -> u8 {
    let zero = args
        .exit_zero_on
        .map_or(Health::Ok, cli::ExitZeroOn::health);
    if health <= zero {
        DONE
    } else {
        health.number()
    }
}

/// Rejects more names than fit into one request; the error has their maximum number.
fn check(of: &[String]) -> Result<(), CommandError> {
    let mut length = 0;
    let fit = of.iter().take_while(|name| {
        length += form_urlencoded::byte_serialize(name.as_bytes())
            .map(str::len)
            .sum::<usize>()
            + "of=&".len();
        length <= MAX_QUERY_BYTES
    });
    match fit.count() {
        all if all == of.len() => Ok(()),
        fit => Err(CommandError::Usage(format!(
            "{} names are too many for one request: the first {fit} fit; name fewer at a time, or a pool, or get all \
             with `status --json`",
            of.len(),
        ))),
    }
}

/// Requests the overall status, or that of the named pools and nodes.
async fn get<T: DeserializeOwned>(
    client: &AdminClient,
    of: &[String],
) -> Result<ApiResponse<T>, ClientError> {
    let query: Vec<_> = of.iter().map(|name| ("of", name.clone())).collect();
    client.get("/v1/status", &query, RESPONSE_TIMEOUT).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_fit_into_one_request_are_counted() {
        let of = vec!["10.100.100.100:65535".to_owned(); 1_000];
        // `of=`, the address with two more for its colon (`%3A`), and `&`.
        let fit = MAX_QUERY_BYTES / 26;
        assert!(check(&of[..fit]).is_ok());
        let error = check(&of).unwrap_err().to_string();
        let expected = format!("1000 names are too many for one request: the first {fit} fit; ");
        assert!(error.starts_with(&expected), "{error}");
        assert!(check(&of[..=fit]).is_err());
    }
}
