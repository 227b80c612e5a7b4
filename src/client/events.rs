//! `pollbal events`: what happened of late, and what happens.

use super::http::{ANSWER, Answer, Door};
use super::terminal::{self, Paint, Tone};
use super::words::ago;
use super::{ClientError, DONE};
use crate::api::{Event, Events};
use crate::cli;
use crate::model::text::printable;

pub(super) async fn events(door: &Door, args: &cli::Events) -> Result<u8, ClientError> {
    let mut query = vec![("limit", args.limit.to_string())];
    if args.follow {
        query.push(("follow", "true".to_owned()));
        return follow(door, &query).await;
    }
    let answer: Answer<Events> = door.get("/v1/events", &query, ANSWER).await?;
    if door.json {
        terminal::print(&answer.pretty());
    } else {
        let paint = Paint::of_stdout();
        let lines = answer.value.events.iter();
        let lines: String = lines.map(|event| text(event, None, paint)).collect();
        terminal::print(&lines);
    }
    Ok(DONE)
}

/// Ends only with the daemon, or when it is interrupted.
async fn follow(door: &Door, query: &[(&'static str, String)]) -> Result<u8, ClientError> {
    let paint = Paint::of_stdout();
    let mut lines = door.follow("/v1/events", query).await?;
    loop {
        let line = lines.next().await?;
        if door.json {
            terminal::print(&(line + "\n"));
            continue;
        }
        let event = serde_json::from_str(&line);
        let event = event.map_err(|error| lines.not_understood(&error.to_string()))?;
        terminal::print(&text(&event, None, paint));
    }
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
        let line = "2026-11-21T09:30:00.000Z       5 s ago  ERROR    a\u{fffd}b\n";
        assert_eq!(text(&event, now, Paint::none()), line);
    }
}
