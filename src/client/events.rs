//! `pollbal events`: what happened of late, and what happens.

use serde::Deserialize;

use super::http::{ANSWER, AWAY, Answer, AskError, Door, Lines, persist};
use super::terminal::{self, Paint, Tone};
use super::words::ago;
use super::{ClientError, DONE};
use crate::api::{Event, Events};
use crate::cli;
use crate::model::text::printable;

/// So that none is left out.
const ALL: &str = "1000000";

/// One run of the daemon, in which events have numbers of their own.
#[derive(Deserialize)]
struct Run {
    started: String,
    last_event: u64,
}

impl Run {
    async fn ask(door: &Door) -> Result<Self, AskError> {
        let run: Answer<Self> = door.get("/v1/status", &[], ANSWER).await?;
        Ok(run.value)
    }
}

pub(super) async fn events(door: &Door, args: &cli::Events) -> Result<u8, ClientError> {
    let limit = args.limit.to_string();
    if args.follow {
        return follow(door, limit).await;
    }
    let answer: Answer<Events> = door.get("/v1/events", &[("limit", limit)], ANSWER).await?;
    if door.json {
        terminal::print_json(&answer.pretty());
    } else {
        let paint = Paint::of_stdout();
        let lines = answer.value.events.iter();
        let lines: String = lines.map(|event| text(event, None, paint)).collect();
        terminal::print(&lines);
    }
    Ok(DONE)
}

/// Ends only when it is interrupted, or when the daemon is away for long.
async fn follow(door: &Door, limit: String) -> Result<u8, ClientError> {
    // A daemon that is not there from the start is not waited for.
    let mut run = Run::ask(door).await?;
    let query = [("limit", limit), ("follow", "true".to_owned())];
    let mut lines = door.follow("/v1/events", &query).await?;
    loop {
        let error = print_all(door, &mut lines, &mut run.last_event).await;
        if !error.is_away() {
            return Err(error.into());
        }
        terminal::say(&format!("{error}; events go on when it is back"));
        (run, lines) = persist(AWAY, || go_on(door, &run)).await?;
        terminal::say("pollbal is back");
    }
}

/// Prints what happens for as long as the daemon tells it.
async fn print_all(door: &Door, lines: &mut Lines, last: &mut u64) -> AskError {
    let paint = Paint::of_stdout();
    loop {
        let line = match lines.next().await {
            Ok(line) => line,
            Err(error) => return error,
        };
        let event: Event = match serde_json::from_str(&line) {
            Ok(event) => event,
            Err(error) => return lines.not_understood(&error.to_string()),
        };
        *last = event.id;
        if door.json {
            terminal::print_json(&(line + "\n"));
        } else {
            terminal::print(&text(&event, None, paint));
        }
    }
}

/// Asks for what happened since: in the same run, behind the last event; in another, all.
async fn go_on(door: &Door, before: &Run) -> Result<(Run, Lines), AskError> {
    let mut run = Run::ask(door).await?;
    run.last_event = if run.started == before.started {
        before.last_event
    } else {
        0
    };
    let query = [
        ("after", run.last_event.to_string()),
        ("limit", ALL.to_owned()),
        ("follow", "true".to_owned()),
    ];
    let lines = door.follow("/v1/events", &query).await?;
    Ok((run, lines))
}

/// An event in a line; with `now`, how long ago it was.
pub(super) fn text(event: &Event, now: Option<&str>, paint: Paint) -> String {
    let (level, tone) = match event.level.as_str() {
        "error" => ("ERROR  ", Tone::Bad),
        "warning" => ("WARNING", Tone::Notable),
        _ => ("       ", Tone::Plain),
    };
    let age = now.map_or(String::new(), |now| {
        format!("{:>12}  ", ago(&event.time, now))
    });
    let text = printable(&event.text);
    let line = format!("{}  {age}{level}  {text}", event.time);
    paint.tone(tone, &line) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_time_and_its_weight() {
        let mut event = Event {
            id: 7,
            time: "2026-11-21T09:30:00.000Z".to_owned(),
            level: "info".to_owned(),
            kind: "joined".to_owned(),
            node: None,
            name: None,
            pool: None,
            text: "node-1 joins api".to_owned(),
        };
        let line = "2026-11-21T09:30:00.000Z           node-1 joins api\n";
        assert_eq!(text(&event, None, Paint::none()), line);
        event.level = "error".to_owned();
        event.text = "a\nb".to_owned();
        let now = Some("2026-11-21T09:30:05.000Z");
        let line = "2026-11-21T09:30:00.000Z       5 s ago  ERROR    a\\nb\n";
        assert_eq!(text(&event, now, Paint::none()), line);
    }
}
