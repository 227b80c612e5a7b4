//! `pollbal status --watch`: the view, shown again whenever it changes.

use std::io;
use std::time::Duration;

use ::console::{Term, truncate_str};
use tokio::time::sleep;

use super::super::ClientError;
use super::super::http::{Answer, AskError, Door};
use super::super::signals::{self, LastResort};
use super::super::terminal::{self, Paint};
use super::text::{self, Parts};
use super::{ask, check, code};
use crate::api::Status;
use crate::cli;

/// How often the daemon is asked: as often as a person looks.
const LOOK: Duration = Duration::from_secs(1);

type Asked = Result<Answer<Status>, AskError>;

/// Shows it until Ctrl-C, and ends with the exit code of the last view.
pub(in crate::client) async fn watch(
    door: &Door,
    args: &cli::Status,
    last_resort: &LastResort,
) -> Result<u8, ClientError> {
    check(&args.of)?;
    // Whoever is not there now will hardly be so in a second; one that goes may well come back.
    let mut answer = Ok(ask(door, &args.of).await?);
    let mut screen = Screen::new(door.json, !args.of.is_empty());
    let end = signals::interrupt();
    tokio::pin!(end);
    loop {
        let code = exit_code(&answer, args);
        last_resort.ends_with(code);
        screen.show(&answer);
        let next = async {
            sleep(LOOK).await;
            ask(door, &args.of).await
        };
        answer = tokio::select! {
            () = &mut end => return Ok(code),
            next = next => next,
        };
    }
}

/// What a view stands for.
fn exit_code(answer: &Asked, args: &cli::Status) -> u8 {
    match answer {
        Ok(answer) => code(answer.value.health, args),
        Err(error) => ClientError::exit_code_of(error),
    }
}

/// Where views go.
enum Screen {
    /// One document a line.
    Json(Changes),
    /// One view below the other.
    Pipe(Changes, bool),
    /// In place of the one before.
    Terminal(Term, bool),
}

impl Screen {
    fn new(json: bool, asked: bool) -> Self {
        let term = Term::buffered_stdout();
        if json {
            Self::Json(Changes(None))
        } else if terminal::is_attended() {
            // A terminal that takes none of this shows one view below the other.
            _ = term.clear_screen();
            Self::Terminal(term, asked)
        } else {
            Self::Pipe(Changes(None), asked)
        }
    }

    fn show(&mut self, answer: &Asked) {
        let view = answer.as_ref().map(|answer| &answer.value);
        match self {
            Self::Json(changes) => {
                if changes.is_one(view) {
                    match answer {
                        Ok(answer) => terminal::print_json(&answer.compact()),
                        Err(error) => terminal::warn(&error.to_string()),
                    }
                }
            }
            Self::Pipe(changes, asked) => {
                let first = changes.0.is_none();
                if changes.is_one(view) {
                    let blank = if first { "" } else { "\n" };
                    terminal::print(&format!("{blank}{}", told(view, *asked)));
                }
            }
            Self::Terminal(term, asked) => _ = draw(term, &parts(view, *asked)),
        }
    }
}

fn told(view: Result<&Status, &AskError>, asked: bool) -> String {
    match view {
        Ok(status) => text::render(status, asked, Paint::of_stdout()),
        Err(error) => format!("{error}\n"),
    }
}

fn parts(view: Result<&Status, &AskError>, asked: bool) -> Parts {
    match view {
        Ok(status) => text::parts(status, asked, Paint::of_stdout()),
        Err(error) => Parts {
            body: String::new(),
            verdict: error.to_string(),
        },
    }
}

/// Tells views that differ from the one before.
struct Changes(Option<Result<Status, String>>);

impl Changes {
    fn is_one(&mut self, view: Result<&Status, &AskError>) -> bool {
        let essence = match view {
            Ok(status) => Ok(essence(status)),
            Err(error) => Err(error.to_string()),
        };
        let differs = self.0.as_ref() != Some(&essence);
        self.0 = Some(essence);
        differs
    }
}

/// A view without times: they are told anew each time, by a clock of which the last digit wavers.
/// What comes and goes between two looks counts by the number of the last event.
fn essence(status: &Status) -> Status {
    let mut essence = Status {
        time: String::new(),
        started: String::new(),
        ..status.clone()
    };
    for node in &mut essence.nodes {
        node.since = None;
    }
    for one in &mut essence.load_balancers {
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
    essence
}

/// Draws the view over the one before, as much of it as fits: its beginning, and what is not right.
fn draw(term: &Term, view: &Parts) -> io::Result<()> {
    let (height, width) = term.size();
    let lines = fitting(view, usize::from(height).saturating_sub(1));
    term.move_cursor_to(0, 0)?;
    for line in lines {
        term.clear_line()?;
        term.write_line(&truncate_str(&line, usize::from(width), "…"))?;
    }
    term.clear_to_end_of_screen()?;
    term.flush()
}

/// The lines that are shown where there is room for so many. What is not right goes before how all
/// stands, and the verdict before all else.
fn fitting(view: &Parts, height: usize) -> Vec<String> {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (mut body, mut wrong) = (lines(&view.body), lines(&view.verdict));
    let verdict = wrong.pop();
    if !body.is_empty() {
        body.push(String::new());
    }
    let room = height.saturating_sub(1);
    if body.len() + wrong.len() > room {
        // Whatever is cut, a line says so.
        let room = room.saturating_sub(1);
        let hidden = (body.len() + wrong.len()).saturating_sub(room);
        let shown = wrong.len().min(room);
        body.truncate(room - shown);
        let more = format!("… {hidden} lines more");
        if shown < wrong.len() {
            wrong.truncate(shown);
            wrong.push(more);
        } else {
            body.push(more);
        }
    }
    body.into_iter().chain(wrong).chain(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Counts;

    #[test]
    fn times_alone_are_no_change() {
        let status = |time: &str, last_event: u64| -> Status {
            serde_json::from_value(serde_json::json!({
                "version": "0.1.0", "time": time, "started": time, "healthy": true, "site_problems": [],
                "health": "ok", "verdict": "", "problems": [], "site_health": "ok", "site_verdict": "",
                "first_round_done": true, "frozen": [], "counts": Counts::default(), "pools": [],
                "nodes": [{
                    "node": "10.0.0.1:80", "name": "a", "state": "idle", "pool": null, "version": null,
                    "why": null, "since": time, "failing": false, "reasons": [], "grant": null,
                    "drained": true,
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
        assert!(changes.is_one(Ok(&status("1", 7))));
        assert!(!changes.is_one(Ok(&status("2", 7))));
        assert!(changes.is_one(Ok(&status("2", 8))));
    }

    #[test]
    fn what_does_not_fit_is_cut_but_for_what_is_not_right() {
        let fitting = |verdict: &str, height| {
            let (body, verdict) = ("a\nb\nc\n".to_owned(), verdict.to_owned());
            fitting(&Parts { body, verdict }, height).join("|")
        };
        let right = |height| fitting("all right\n", height);
        assert_eq!(right(5), "a|b|c||all right");
        assert_eq!(right(4), "a|b|… 2 lines more|all right");
        let wrong = |height| fitting("x\ny\nnot all right\n", height);
        assert_eq!(wrong(7), "a|b|c||x|y|not all right");
        assert_eq!(wrong(6), "a|b|… 2 lines more|x|y|not all right");
        assert_eq!(wrong(4), "… 4 lines more|x|y|not all right");
        assert_eq!(wrong(3), "x|… 5 lines more|not all right");
        assert_eq!(wrong(2), "… 6 lines more|not all right");
    }
}
