//! The way back: what is said when the command has ended.

use std::net::Ipv4Addr;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::time::sleep;

use super::super::signals::Interrupts;
use super::super::{ClientError, DONE, FAILED};
use super::{ASK_AGAIN, Leaving, command};
use crate::api::{LeaveAnswer, NODE_HEADER};

/// One that does not hear for so long that the node is back is given up, if no other time is given.
const BACK: Duration = Duration::from_secs(60);

/// Where a load balancer was given up.
const STAYS_OUT: &str = "; the node stays out there until its leave is over (leave_timeout)";

impl Leaving {
    /// Says that the node is back, if the command of this name has ended well; gives the exit code.
    pub(super) async fn after(&self, program: &str, status: ExitStatus) -> Result<u8, ClientError> {
        if !status.success() {
            self.output.warn(&self.stays_out(program, status));
            return Ok(command::code(status));
        }
        // Signals so far were the command's.
        let interrupts = Interrupts::listen().map_err(ClientError::signals)?;
        tokio::select! {
            all = self.come_back() => Ok(if all { DONE } else { FAILED }),
            () = interrupts.finish.cancelled() => {
                self.output.warn(&format!(
                    "interrupted: perhaps not everybody heard that the node is back; to say it: {}",
                    self.by_hand()
                ));
                interrupts.code().ok_or(ClientError::Interrupted)
            }
        }
    }

    /// Says to all that granted something that the node is back; whether they heard it. Those that
    /// were passed over are told once, and nobody relies on that.
    async fn come_back(&self) -> bool {
        let start = Instant::now();
        let limit = self.skip_dead.unwrap_or(BACK);
        let mut untold = self.asked.borrow().clone();
        untold.reverse();
        let mut refused = false;
        loop {
            let last = start.elapsed() >= limit;
            let mut again = Vec::new();
            for url in untold {
                let passed_over = self.passed_over.borrow().contains(&url);
                let unheard = if last || passed_over { STAYS_OUT } else { "" };
                match self.end_leave(&url, LeaveAnswer::Back, unheard).await {
                    LeaveAnswer::Back => {}
                    LeaveAnswer::Refused => refused = true,
                    _ if passed_over => {}
                    _ => again.push(url),
                }
            }
            if again.is_empty() || last {
                return again.is_empty() && !refused;
            }
            untold = again;
            sleep(ASK_AGAIN).await;
        }
    }

    /// What a command that failed leaves behind, and the way back by hand.
    fn stays_out(&self, program: &str, status: ExitStatus) -> String {
        let how = match status.code() {
            Some(code) => format!("exit code {code}"),
            None => status.to_string(),
        };
        format!(
            "{program} ended with {how}: the node stays out until it serves after having been away, or \
             serves another version or pool, or its leave is over (leave_timeout); to bring it back: {}",
            self.by_hand()
        )
    }

    /// The command that says to all that were asked that the node is back.
    fn by_hand(&self) -> String {
        let asked = self.asked.borrow();
        let doors: Vec<_> = asked.iter().map(|url| self.balancers.door(url)).collect();
        by_hand(&doors, self.from)
    }
}

/// The command that says to these doors that the node is back.
fn by_hand(doors: &[Url], from: Option<Ipv4Addr>) -> String {
    let mut words = vec![format!(
        "curl --noproxy '*' -H '{NODE_HEADER}: true' -X DELETE"
    )];
    words.extend(from.map(|from| format!("--interface {from}")));
    words.extend(doors.iter().map(|door| match door.query() {
        // A shell takes a question mark for any character.
        Some(_) => format!("'{door}'"),
        None => door.to_string(),
    }));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_by_hand_is_a_line_for_a_shell() {
        let doors = |texts: [&str; 2]| texts.map(|text| Url::parse(text).unwrap());
        let plain = doors(["http://lb1:8099/leave", "http://lb2:8099/leave"]);
        assert_eq!(
            by_hand(&plain, None),
            "curl --noproxy '*' -H 'Pollbal-Request: true' -X DELETE \
             http://lb1:8099/leave http://lb2:8099/leave"
        );
        let port = doors(["http://lb1/leave?port=80", "http://lb2/leave?port=80"]);
        assert_eq!(
            by_hand(&port, Some(Ipv4Addr::LOCALHOST)),
            "curl --noproxy '*' -H 'Pollbal-Request: true' -X DELETE --interface 127.0.0.1 \
             'http://lb1/leave?port=80' 'http://lb2/leave?port=80'"
        );
    }
}
