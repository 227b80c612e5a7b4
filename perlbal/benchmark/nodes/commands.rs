//! The conductor's commands, each answered with one line.
//!
//! | command | does |
//! | --- | --- |
//! | `count` | says how many polls there were, and how many connections are open |
//! | `begin NS` | begins a new rhythm of that interval |
//! | `rhythm` | says how even it was |
//! | `polled NODE` | says when that node was polled last; 0 where it was not since the rhythm was begun |
//! | `set FROM TO STEP serving\|leaving` | changes what these nodes announce; `changed NODE STAMP` is reported for each when it was |
//! | `home STEP` | lets only each STEPth node announce `api`, and the others `web` |
//! | `pools N` | lets the nodes be in N other pools by turns |
//! | `hang N` | lets N of each ten nodes hang |
//! | `slow NODE NS` | lets one node answer late |

use std::time::Duration;

use super::Nodes;
use crate::rhythm::Rhythm;

impl Nodes {
    /// Does what the conductor says; false where that is not understood, which ends everything.
    pub(super) fn command(&mut self, at: usize, bytes: &[u8]) -> bool {
        debug_assert_eq!(self.conductor, Some(at), "there is one conductor");
        let Ok(text) = std::str::from_utf8(bytes) else {
            return false;
        };
        for line in text.lines() {
            let Some(answer) = self.obey(line) else {
                eprintln!("not a command: {line:?}");
                return false;
            };
            self.tell(&format!("= {answer}\n"));
        }
        true
    }

    fn obey(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["count"] => return Some(format!("{} {}", self.polls, self.open)),
            ["begin", interval] => {
                self.rhythm = Rhythm::new(interval.parse().ok()?);
                for node in &mut self.states {
                    node.polled = 0;
                }
            }
            ["rhythm"] => return Some(self.rhythm.summary().to_string()),
            ["polled", node] => {
                let node = self.states.get(node.parse::<usize>().ok()?)?;
                return Some(node.polled.to_string());
            }
            ["set", from, to, step, status] => {
                let leaving = match status {
                    "leaving" => true,
                    "serving" => false,
                    _ => return None,
                };
                let nodes = self.states.get_mut(from.parse().ok()?..to.parse().ok()?)?;
                for node in nodes.iter_mut().step_by(step.parse().ok()?) {
                    node.changed = node.leaving != leaving;
                    node.leaving = leaving;
                }
            }
            ["home", step] => self.home = step.parse().ok().filter(|step| *step > 0)?,
            ["pools", pools] => self.pools = pools.parse().ok()?,
            ["hang", tenths] => self.hanging = tenths.parse().ok()?,
            ["slow", node, delay] => {
                let delay = Duration::from_nanos(delay.parse().ok()?);
                self.slow = Some((node.parse().ok()?, delay));
            }
            _ => return None,
        }
        Some("ok".to_owned())
    }
}
