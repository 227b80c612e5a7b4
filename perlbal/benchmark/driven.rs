//! Running load balancers that pollbal drives, and what they say of their members.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_quickack;

use crate::process::Process;
use crate::site::PATIENCE;
use crate::{Outcome, eventually};

/// A running `HAProxy` that pollbal drives.
pub(crate) struct Haproxy {
    _process: Process,
    pub(crate) management: SocketAddrV4,
}

impl Haproxy {
    pub(crate) fn new(process: Process, management: SocketAddrV4) -> Self {
        Self {
            _process: process,
            management,
        }
    }

    /// Waits until each backend has its share of this many servers that get requests. A look costs `HAProxy` time too, so
    /// there are few.
    pub(crate) fn wait_members(
        &self,
        pollbal: &mut Process,
        backends: &[String],
        members: usize,
    ) -> Outcome<()> {
        let share = members / backends.len();
        for backend in backends {
            let what = format!("{share} members of {backend} in HAProxy");
            eventually(PATIENCE, &what, || {
                pollbal.check()?;
                let all = self.ready(backend)? == share;
                if !all {
                    sleep(Duration::from_millis(50));
                }
                Ok(all.then_some(()))
            })?;
        }
        Ok(())
    }

    fn ready(&self, backend: &str) -> Outcome<usize> {
        let mut stream = TcpStream::connect(self.management)?;
        stream.write_all(format!("show servers state {backend}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        // 4: its line in the configuration says `disabled`.
        let is_ready = |line: &&str| matches!(line.split(' ').nth(6), Some("0" | "4"));
        Ok(answer.lines().skip(2).filter(is_ready).count())
    }
}

/// A running Perlbal and a management connection to it.
pub(crate) struct Perlbal {
    _process: Process,
    pub(crate) management: SocketAddrV4,
    pub(crate) service: SocketAddrV4,
    stream: BufReader<TcpStream>,
}

impl Perlbal {
    /// The stream is a management connection.
    pub(crate) fn new(
        process: Process,
        management: SocketAddrV4,
        service: SocketAddrV4,
        stream: TcpStream,
    ) -> Self {
        Self {
            _process: process,
            management,
            service,
            stream: BufReader::new(stream),
        }
    }

    /// How many members the pool `api` has.
    pub(crate) fn members(&mut self) -> Outcome<usize> {
        self.members_of("api")
    }

    fn members_of(&mut self, pool: &str) -> Outcome<usize> {
        let begin = format!("{pool} nodes ");
        self.stream.get_mut().write_all(b"SHOW POOL\r\n")?;
        let mut members = None;
        loop {
            // Perlbal writes line by line and waits for our acknowledgement of each.
            set_tcp_quickack(self.stream.get_ref(), true)?;
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err("Perlbal has closed the management connection".into());
            }
            let line = line.trim_end();
            if line == "." {
                return members.ok_or_else(|| format!("Perlbal has no pool {pool}").into());
            }
            if let Some(number) = line.strip_prefix(&begin) {
                members = Some(number.parse()?);
            }
        }
    }

    pub(crate) fn wait_members(&mut self, members: usize) -> Outcome<()> {
        self.wait_members_of("api", members)
    }

    pub(crate) fn wait_members_of(&mut self, pool: &str, members: usize) -> Outcome<()> {
        let what = format!("{members} members of {pool} in Perlbal");
        eventually(PATIENCE, &what, || {
            Ok((self.members_of(pool)? == members).then_some(()))
        })
    }
}
