//! `pollbal status --watch`: shows the status again whenever it changes.

use std::io;
use std::time::Duration;

use ::console::{Term, truncate_str};
use tokio::time::sleep;

use super::super::CommandError;
use super::super::http::{AdminClient, ApiResponse, ClientError};
use super::super::signals::{self, LastResort};
use super::super::terminal::{self, Colors};
use super::text::{self, Parts};
use super::{check, exit_code, get};
use crate::api::Status;
use crate::cli;

/// Interval at which the status is requested.
const INTERVAL: Duration = Duration::from_secs(1);

type StatusResult = Result<ApiResponse<Status>, ClientError>;

/// Shows the status until Ctrl-C, and returns the exit code of the last one.
pub(in crate::client) async fn watch(
    client: &AdminClient,
    args: &cli::Status,
    last_resort: &LastResort,
) -> Result<u8, CommandError> {
    check(&args.of)?;
    // A daemon that is not running at the start is an error; one that goes away later may come back.
    let mut response = Ok(get(client, &args.of).await?);
    let mut screen = Screen::new(client.json, !args.of.is_empty());
    let end = signals::interrupt();
    tokio::pin!(end);
    loop {
        let code = exit_code_of(&response, args);
        last_resort.set_exit_code(code);
        screen.show(&response);
        let next = async {
            sleep(INTERVAL).await;
            get(client, &args.of).await
        };
        response = tokio::select! {
            () = &mut end => return Ok(code),
            next = next => next,
        };
    }
}

fn exit_code_of(response: &StatusResult, args: &cli::Status) -> u8 {
    match response {
        Ok(response) => exit_code(response.value.health, args),
        Err(error) => CommandError::exit_code_of(error),
    }
}

/// Where the status is shown. The flags say whether pools or nodes were named.
enum Screen {
    /// One JSON document per line.
    Json(Changes),
    /// One status below the other.
    Pipe(Changes, bool),
    /// Each status replaces the previous one.
    Terminal(Term, bool),
}

impl Screen {
    fn new(json: bool, named: bool) -> Self {
        let term = Term::buffered_stdout();
        if json {
            Self::Json(Changes(None))
        } else if terminal::is_attended() {
            // On a terminal that cannot do this, one status follows the other.
            _ = term.clear_screen();
            Self::Terminal(term, named)
        } else {
            Self::Pipe(Changes(None), named)
        }
    }

    fn show(&mut self, response: &StatusResult) {
        let view = response.as_ref().map(|response| &response.value);
        match self {
            Self::Json(changes) => {
                if changes.record(view) {
                    match response {
                        Ok(response) => terminal::print_json(&response.json_line()),
                        Err(error) => terminal::warn(&error.to_string()),
                    }
                }
            }
            Self::Pipe(changes, named) => {
                let first = changes.0.is_none();
                if changes.record(view) {
                    let blank = if first { "" } else { "\n" };
                    terminal::print(&format!("{blank}{}", text(view, *named)));
                }
            }
            Self::Terminal(term, named) => _ = draw(term, &parts(view, *named)),
        }
    }
}

fn text(view: Result<&Status, &ClientError>, named: bool) -> String {
    match view {
        Ok(status) => text::render(status, named, Colors::of_stdout()),
        Err(error) => format!("{error}\n"),
    }
}

fn parts(view: Result<&Status, &ClientError>, named: bool) -> Parts {
    match view {
        Ok(status) => text::parts(status, named, Colors::of_stdout()),
        Err(error) => Parts {
            body: String::new(),
            verdict: error.to_string(),
        },
    }
}

/// Detects whether a status differs from the previous one.
struct Changes(Option<Result<Status, String>>);

impl Changes {
    /// Records a status; whether it differs from the previous one.
    fn record(&mut self, view: Result<&Status, &ClientError>) -> bool {
        let comparable = match view {
            Ok(status) => Ok(without_times(status)),
            Err(error) => Err(error.to_string()),
        };
        let differs = self.0.as_ref() != Some(&comparable);
        self.0 = Some(comparable);
        differs
    }
}

/// The status without timestamps, which are computed again for each response and may differ in the last digit. The ID
/// of the last event shows changes that were undone between two requests.
fn without_times(status: &Status) -> Status {
    let mut status = Status {
        time: String::new(),
        started: String::new(),
        ..status.clone()
    };
    for node in &mut status.nodes {
        node.since = None;
    }
    for one in &mut status.load_balancers {
        one.since = None;
        if let Some(away) = &mut one.away {
            away.since.clear();
        }
        for pool in &mut one.pools {
            pool.observed_at = None;
        }
        for draining in &mut one.draining {
            draining.since.clear();
        }
    }
    status
}

/// Draws as much of the status as fits over the previous one: its beginning, and the problems.
fn draw(term: &Term, view: &Parts) -> io::Result<()> {
    let (height, width) = term.size();
    let lines = fit(view, usize::from(height).saturating_sub(1));
    term.move_cursor_to(0, 0)?;
    for line in lines {
        term.clear_line()?;
        term.write_line(&truncate_str(&line, usize::from(width), "…"))?;
    }
    term.clear_to_end_of_screen()?;
    term.flush()
}

/// The lines to show in `height` lines. The verdict takes precedence, then the problems.
fn fit(view: &Parts, height: usize) -> Vec<String> {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (mut body, mut problems) = (lines(&view.body), lines(&view.verdict));
    let verdict = problems.pop();
    if !body.is_empty() {
        body.push(String::new());
    }
    let room = height.saturating_sub(1);
    if body.len() + problems.len() > room {
        // One line counts the hidden ones.
        let room = room.saturating_sub(1);
        let hidden = (body.len() + problems.len()).saturating_sub(room);
        let shown = problems.len().min(room);
        body.truncate(room - shown);
        let more = format!("… {hidden} lines more");
        if shown < problems.len() {
            problems.truncate(shown);
            problems.push(more);
        } else {
            body.push(more);
        }
    }
    body.into_iter().chain(problems).chain(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Counts;

    #[test]
    fn a_status_with_other_times_only_is_not_a_change() {
        let status = |time: &str, last_event: u64| -> Status {
            serde_json::from_value(serde_json::json!({
                "version": "0.1.0", "time": time, "started": time, "healthy": true, "site_problems": [],
                "health": "ok", "verdict": "", "problems": [], "site_health": "ok", "site_verdict": "",
                "first_round_done": true, "frozen": [], "counts": Counts::default(), "pools": [],
                "nodes": [{
                    "node": "10.0.0.1:80", "name": "a", "state": "idle", "pool": null, "version": null,
                    "why": null, "since": time, "failing": false, "reasons": [], "grant": null,
                    "weight": 100, "weight_source": "pool", "weight_reason": null, "drained": true,
                }],
                "files": { "in_sync": true },
                "load_balancers": [{
                    "driver": "balancer", "address": "127.0.0.1:16000", "connected": true, "connection": "", "in_sync": true,
                    "since": time, "problems": [],
                    "pools": [{
                        "name": "api", "desired": 1, "sent": 1, "observed": 1, "observed_at": time,
                        "services": [], "same": true,
                    }],
                    "draining": [{ "node": "10.0.0.1:80", "pools": ["api"], "since": time }],
                }],
                "last_event": last_event,
            }))
            .unwrap()
        };
        let mut changes = Changes(None);
        assert!(changes.record(Ok(&status("1", 7))));
        assert!(!changes.record(Ok(&status("2", 7))));
        assert!(changes.record(Ok(&status("2", 8))));
    }

    #[test]
    fn problems_and_the_verdict_are_cut_last() {
        let fit = |verdict: &str, height| {
            let (body, verdict) = ("a\nb\nc\n".to_owned(), verdict.to_owned());
            fit(&Parts { body, verdict }, height).join("|")
        };
        let healthy = |height| fit("OK\n", height);
        assert_eq!(healthy(5), "a|b|c||OK");
        assert_eq!(healthy(4), "a|b|… 2 lines more|OK");
        let unhealthy = |height| fit("x\ny\nCRITICAL\n", height);
        assert_eq!(unhealthy(7), "a|b|c||x|y|CRITICAL");
        assert_eq!(unhealthy(6), "a|b|… 2 lines more|x|y|CRITICAL");
        assert_eq!(unhealthy(4), "… 4 lines more|x|y|CRITICAL");
        assert_eq!(unhealthy(3), "x|… 5 lines more|CRITICAL");
        assert_eq!(unhealthy(2), "… 6 lines more|CRITICAL");
    }
}
