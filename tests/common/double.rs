//! Load balancers whose node listeners answer what the test has them say.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::stage::Stage;
use super::{SOON, eventually};

/// The node listener of a load balancer that responds as it is set to.
#[derive(Clone)]
pub(crate) struct Double {
    addr: SocketAddrV4,
    says: Arc<Mutex<String>>,
    /// The first line of each request.
    received: Arc<Mutex<Vec<String>>>,
}

impl Double {
    fn start(addr: SocketAddrV4, says: &str) -> Self {
        let double = Self {
            addr,
            says: Arc::new(Mutex::new(says.to_owned())),
            received: Arc::default(),
        };
        let listener = TcpListener::bind(addr).expect("failed to open a listener");
        let own = double.clone();
        // It ends with the test program.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                own.answer(stream);
            }
        });
        double
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("failed to copy a socket"));
        let mut head = Vec::new();
        while let Some(Ok(line)) = (&mut reader).lines().next() {
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let Some(request) = head.first() else { return };
        self.received.lock().unwrap().push(request.clone());
        let says = self.says.lock().unwrap().clone();
        let (status, text) = says.split_once(' ').expect("a status and a text");
        let length = text.len();
        // Who asked may be gone.
        _ = write!(
            stream,
            "HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}"
        );
    }

    pub(crate) fn say(&self, what: &str) {
        what.clone_into(&mut self.says.lock().unwrap());
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn received(&self, method: &str) -> usize {
        let received = self.received.lock().unwrap();
        received
            .iter()
            .filter(|line| line.starts_with(method))
            .count()
    }

    /// Waits until it was asked this many times more.
    #[track_caller]
    pub(crate) fn wait_heard(&self, method: &str, more: usize) {
        let enough = self.received(method) + more;
        eventually(SOON, &format!("{method} at {}", self.addr), || {
            (self.received(method) >= enough).then_some(())
        });
    }
}

/// Two listeners, in the order in which they are asked.
pub(crate) fn doubles(stage: &Stage, says: [&str; 2]) -> [Double; 2] {
    let mut listeners = [stage.free_addr(), stage.free_addr()];
    listeners.sort_by_key(ToString::to_string);
    [0, 1].map(|index| Double::start(listeners[index], says[index]))
}
