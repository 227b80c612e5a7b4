//! After the command: reports to the load balancers that the node is back.

use std::net::IpAddr;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::time::sleep;

use super::super::signals::Interrupts;
use super::super::{CommandError, DONE, FAILED};
use super::{Leaving, RETRY_INTERVAL, command};
use crate::api::{LeaveAnswer, NODE_HEADER};

/// Default maximum time to report to a load balancer that the node is back.
const REPORT_LIMIT: Duration = Duration::from_secs(60);

/// Appended to the message when pollbal gives up on a load balancer.
const STAYS_OUT: &str = "; the node stays out there until its leave expires (leave_timeout)";

impl Leaving {
    /// Reports that the node is back, if the command succeeded; returns the exit code.
    pub(super) async fn resume(
        &self,
        program: &str,
        status: ExitStatus,
    ) -> Result<u8, CommandError> {
        if !status.success() {
            self.output.warn(&self.stays_out(program, status));
            return Ok(command::code(status));
        }
        // Signals until now were for the command.
        let interrupts = Interrupts::listen().map_err(CommandError::signals)?;
        tokio::select! {
            all = self.report_back() => Ok(if all { DONE } else { FAILED }),
            () = interrupts.finish.cancelled() => {
                self.output.warn(&format!(
                    "interrupted: perhaps not every load balancer knows that the node is back; to report it: {}",
                    self.manual_command()
                ));
                interrupts.code().ok_or(CommandError::Interrupted)
            }
        }
    }

    /// Reports to every load balancer that may have granted leave that the node is back; whether all of them know.
    /// Those that were skipped are notified once, and do not count.
    async fn report_back(&self) -> bool {
        let start = Instant::now();
        let limit = self.skip_dead.unwrap_or(REPORT_LIMIT);
        let mut pending = self.contacted.borrow().clone();
        pending.reverse();
        let mut rejected = false;
        loop {
            let last = start.elapsed() >= limit;
            let mut failed = Vec::new();
            for url in pending {
                let skipped = self.skipped.borrow().contains(&url);
                let if_failed = if last || skipped { STAYS_OUT } else { "" };
                match self.end_leave(&url, LeaveAnswer::Back, if_failed).await {
                    LeaveAnswer::Back => {}
                    LeaveAnswer::Refused => rejected = true,
                    _ if skipped => {}
                    _ => failed.push(url),
                }
            }
            if failed.is_empty() || last {
                return failed.is_empty() && !rejected;
            }
            pending = failed;
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// The message about a command that failed, with the command that brings the node back.
    fn stays_out(&self, program: &str, status: ExitStatus) -> String {
        let how = match status.code() {
            Some(code) => format!("exit code {code}"),
            None => status.to_string(),
        };
        format!(
            "{program} failed with {how}: the node stays out until it has gone away and serves again, serves another \
             version or pool, or its leave expires (leave_timeout); to bring it back: {}",
            self.manual_command()
        )
    }

    /// The command that reports to every contacted load balancer that the node is back.
    fn manual_command(&self) -> String {
        let contacted = self.contacted.borrow();
        let urls: Vec<_> = contacted
            .iter()
            .map(|url| self.client.leave_url(url))
            .collect();
        manual_command(&urls, self.from)
    }
}

/// The command that reports to these URLs that the node is back.
fn manual_command(urls: &[Url], from: Option<IpAddr>) -> String {
    let mut words = vec![format!(
        "curl --noproxy '*' -H '{NODE_HEADER}: true' -X DELETE"
    )];
    words.extend(from.map(|from| format!("--interface {from}")));
    words.extend(urls.iter().map(|url| {
        // Question marks and brackets are special in shells.
        if url.as_str().contains(['?', '[']) {
            format!("'{url}'")
        } else {
            url.to_string()
        }
    }));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn the_manual_command_is_a_line_for_a_shell() {
        let urls = |texts: [&str; 2]| texts.map(|text| Url::parse(text).unwrap());
        let plain = urls(["http://lb1:8099/leave", "http://lb2:8099/leave"]);
        assert_eq!(
            manual_command(&plain, None),
            "curl --noproxy '*' -H 'Pollbal-Request: true' -X DELETE \
             http://lb1:8099/leave http://lb2:8099/leave"
        );
        let port = urls(["http://lb1/leave?port=80", "http://lb2/leave?port=80"]);
        assert_eq!(
            manual_command(&port, Some(Ipv4Addr::LOCALHOST.into())),
            "curl --noproxy '*' -H 'Pollbal-Request: true' -X DELETE --interface 127.0.0.1 \
             'http://lb1/leave?port=80' 'http://lb2/leave?port=80'"
        );
        let ipv6 = urls(["http://[::1]:8099/leave", "http://lb2/leave"]);
        assert_eq!(
            manual_command(&ipv6, Some(Ipv6Addr::LOCALHOST.into())),
            "curl --noproxy '*' -H 'Pollbal-Request: true' -X DELETE --interface ::1 \
             'http://[::1]:8099/leave' http://lb2/leave"
        );
    }
}
