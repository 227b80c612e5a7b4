//! `pollbal events`: shows recent events, and follows new ones.

use serde::Deserialize;

use super::format::ago;
use super::http::{
    AdminClient, ApiResponse, ClientError, Lines, MAX_AWAY, RESPONSE_TIMEOUT, retry_while_away,
};
use super::terminal::{self, Colors, Style};
use super::{CommandError, DONE};
use crate::api::{Event, Events};
use crate::cli;
use crate::model::text::printable;

/// A limit above the number of events that the daemon keeps.
const ALL: &str = "1000000";

/// A position in the daemon's events, whose IDs start again with each run of the daemon.
#[derive(Deserialize)]
struct EventCursor {
    started: String,
    last_event: u64,
}

impl EventCursor {
    async fn latest(client: &AdminClient) -> Result<Self, ClientError> {
        let cursor: ApiResponse<Self> = client.get("/v1/status", &[], RESPONSE_TIMEOUT).await?;
        Ok(cursor.value)
    }
}

pub(super) async fn events(client: &AdminClient, args: &cli::Events) -> Result<u8, CommandError> {
    let limit = args.limit.to_string();
    if args.follow {
        return follow(client, limit).await;
    }
    let response: ApiResponse<Events> = client
        .get("/v1/events", &[("limit", limit)], RESPONSE_TIMEOUT)
        .await?;
    if client.json {
        terminal::print_json(&response.json());
    } else {
        let colors = Colors::of_stdout();
        let lines = response.value.events.iter();
        let lines: String = lines.map(|event| text(event, None, colors)).collect();
        terminal::print(&lines);
    }
    Ok(DONE)
}

/// Ends only when it is interrupted, or when the daemon is away for too long.
async fn follow(client: &AdminClient, limit: String) -> Result<u8, CommandError> {
    // Without retries: a daemon that is not running from the start is not waited for.
    let mut cursor = EventCursor::latest(client).await?;
    let query = [("limit", limit), ("follow", "true".to_owned())];
    let mut lines = client.follow("/v1/events", &query).await?;
    loop {
        let error = print_all(client, &mut lines, &mut cursor.last_event).await;
        if !error.is_away() {
            return Err(error.into());
        }
        terminal::warn(&format!("{error}; events continue when it is back"));
        (cursor, lines) = retry_while_away(MAX_AWAY, || resume(client, &cursor)).await?;
        terminal::warn("connected again");
    }
}

/// Prints events until the stream fails.
async fn print_all(client: &AdminClient, lines: &mut Lines, last: &mut u64) -> ClientError {
    let colors = Colors::of_stdout();
    loop {
        let line = match lines.next().await {
            Ok(line) => line,
            Err(error) => return error,
        };
        let event: Event = match serde_json::from_str(&line) {
            Ok(event) => event,
            Err(error) => return lines.invalid_response(&error.to_string()),
        };
        *last = event.id;
        if client.json {
            terminal::print_json(&(line + "\n"));
        } else {
            terminal::print(&text(&event, None, colors));
        }
    }
}

/// Requests the events after `before`: in the same run those after its last event, in another run all of them.
async fn resume(
    client: &AdminClient,
    before: &EventCursor,
) -> Result<(EventCursor, Lines), ClientError> {
    let mut cursor = EventCursor::latest(client).await?;
    cursor.last_event = if cursor.started == before.started {
        before.last_event
    } else {
        0
    };
    let query = [
        ("after", cursor.last_event.to_string()),
        ("limit", ALL.to_owned()),
        ("follow", "true".to_owned()),
    ];
    let lines = client.follow("/v1/events", &query).await?;
    Ok((cursor, lines))
}

/// An event as one line; if `now` is given, with its age.
pub(super) fn text(event: &Event, now: Option<&str>, colors: Colors) -> String {
    let (level, style) = match event.level.as_str() {
        "error" => ("ERROR  ", Style::Error),
        "warning" => ("WARNING", Style::Warning),
        _ => ("       ", Style::Plain),
    };
    let age = now.map_or(String::new(), |now| {
        format!("{:>12}  ", ago(&event.time, now))
    });
    let text = printable(&event.text);
    let line = format!("{}  {age}{level}  {text}", event.time);
    colors.paint(style, &line) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_time_and_level() {
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
        assert_eq!(text(&event, None, Colors::none()), line);
        event.level = "error".to_owned();
        event.text = "a\nb".to_owned();
        let now = Some("2026-11-21T09:30:05.000Z");
        let line = "2026-11-21T09:30:00.000Z       5 s ago  ERROR    a\\nb\n";
        assert_eq!(text(&event, now, Colors::none()), line);
    }
}
