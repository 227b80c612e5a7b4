//! A node that runs out of file descriptors.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::stage::Stage;

/// A running node with descriptors for 16 files; dropped, it stops. Filled, it takes all that are free then, so that
/// the next connection lacks one. It closes connections that are idle for long, if it is set to.
pub(crate) struct Small {
    child: Child,
    full: PathBuf,
    answered: PathBuf,
    line: String,
}

impl Small {
    const SCRIPT: &str = r#"
        my ($ip, $port, $full, $answered, $idle) = @ARGV;
        my $listener = IO::Socket::INET->new(
            LocalAddr => $ip, LocalPort => $port, Listen => 16, ReuseAddr => 1) or die "$!";
        open my $log, '>', $answered or die "$!";
        my ($select, @taken, %used) = IO::Select->new($listener);
        while (1) {
            if (!-e $full) { @taken = () }
            elsif (!@taken) { while (open my $file, '<', '/dev/null') { push @taken, $file } }
            for my $ready ($select->can_read(0.01)) {
                if ($ready == $listener) {
                    if (my $new = $listener->accept) { $select->add($new); $used{$new} = time }
                    else { select undef, undef, undef, 0.01 }
                } elsif (sysread $ready, my $asked, 4096) {
                    $used{$ready} = time;
                    syswrite $ready, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwebsite";
                    syswrite $log, '.';
                } else { $select->remove($ready); close $ready }
            }
            for my $old (grep { $_ != $listener && $idle && time - $used{$_} > $idle } $select->handles) {
                $select->remove($old); close $old;
            }
        }"#;

    /// One that closes connections which were idle for this many seconds, or none.
    pub(crate) fn start(stage: &Stage, idle: f32) -> Self {
        let addr = stage.node_addr(1);
        let (full, answered) = (stage.path("full"), stage.path("answered"));
        let mut child = Command::new("sh")
            .args([
                "-c",
                "ulimit -n 16; exec perl -MIO::Socket::INET -MIO::Select -MTime::HiRes=time - \"$@\"",
                "sh",
            ])
            .args([addr.ip().to_string(), addr.port().to_string()])
            .args([&full, &answered])
            .arg(idle.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .expect("failed to start perl");
        let mut script = child.stdin.take().unwrap();
        script.write_all(Self::SCRIPT.as_bytes()).unwrap();
        drop(script);
        Self {
            child,
            full,
            answered,
            line: format!("{} {} # small", addr.ip(), addr.port()),
        }
    }

    /// As the services file has it.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// Has it take all descriptors, or give them back.
    pub(crate) fn fill(&self, full: bool) {
        let done = if full {
            fs::write(&self.full, "")
        } else {
            fs::remove_file(&self.full)
        };
        done.expect("failed to tell a node whether it is full");
    }

    /// How often it has answered.
    pub(crate) fn answers(&self) -> usize {
        fs::metadata(&self.answered).map_or(0, |answered| answered.len().try_into().unwrap())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
