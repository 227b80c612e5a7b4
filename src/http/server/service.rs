//! Who gets into a door, and what becomes of each request: the limits come first, then the door's
//! router.
//!
//! It outlives a reload that moves the door: places and paces are those of the door, not of the
//! address where it listens.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body as _, Bytes, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tower::ServiceExt;
use tracing::{error, warn};

use crate::http::routes::node::Peer;
use crate::http::server::connection_limit::{NoPlace, Place, Places};
use crate::http::server::counters::{Counters, DoorCounters, Refusal};
use crate::http::server::error::{Form, Refused, with_reason};
use crate::http::server::limits::{BODY_TIME, Limits, SOON};
use crate::http::server::origin::{self, KnownHosts};
use crate::http::server::rate_limit::Paces;
use crate::http::server::response_budget::{Held, Long};
use crate::http::server::user::User;
use crate::http::{Door, NodeIndexReceiver};
use crate::log_throttle::OncePerWindow;
use crate::logging::count;
use crate::model::text::printable;

/// One door's.
pub(crate) struct Gate {
    pub(crate) door: Door,
    limits: Limits,
    router: Router,
    counters: Arc<Counters>,
    places: Arc<Places>,
    /// For connections that are refused, but may ask first.
    heard: Arc<Semaphore>,
    paces: Option<Mutex<Paces>>,
    /// The only addresses that get in; none where all do.
    nodes: Option<NodeIndexReceiver>,
    /// The names by which the status listener may be asked for.
    hosts: watch::Receiver<KnownHosts>,
    /// What the log is told of, and how often.
    told: Mutex<HashMap<&'static str, OncePerWindow>>,
    long: Arc<Long>,
}

impl Gate {
    pub(crate) fn new(
        door: Door,
        limits: Limits,
        router: Router,
        counters: Arc<Counters>,
        (nodes, hosts): (Option<NodeIndexReceiver>, watch::Receiver<KnownHosts>),
        long: Arc<Long>,
    ) -> Self {
        Self {
            door,
            limits,
            router,
            counters,
            places: Places::new(limits.places, limits.places_per_address),
            heard: Arc::new(Semaphore::new(limits.heard)),
            paces: limits.pace.map(|pace| Mutex::new(Paces::new(pace))),
            nodes,
            hosts,
            told: Mutex::default(),
            long,
        }
    }

    /// Lets a connection from `address` in; to be asked before anything of it is read.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Admitted, Refused> {
        let place = self
            .know(address)
            .and_then(|()| {
                self.places
                    .take(address)
                    .map_err(|why| no_place(why, address))
            })
            .inspect_err(|refused| {
                self.count(refused.refusal);
                self.tell("connection", refused);
            })?;
        self.counters().count_accepted();
        Ok(Admitted {
            gate: self.clone(),
            address,
            user: None,
            _place: place,
        })
    }

    /// Whether a connection that is refused may ask first: not too many may at a time.
    pub(crate) fn hear(&self) -> Option<OwnedSemaphorePermit> {
        self.heard.clone().try_acquire_owned().ok()
    }

    /// Answers a request from `address`, whatever it is.
    pub(crate) async fn answer(
        &self,
        address: Option<IpAddr>,
        request: Request<Incoming>,
    ) -> Answered {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let form = Form::of(self.door, &path);
        let answered = match self.take(address, request).await {
            Ok(request) => {
                let response = self.handle(request, form, &method, &path).await;
                let response = with_reason(response, form, method.as_str(), &path);
                Answered {
                    response: self.hold(response, form, address).await,
                    unread: false,
                }
            }
            Err(refused) => {
                self.count(refused.refusal);
                // Who meets these is configured wrongly, and may not see the answer.
                if matches!(refused.refusal, Refusal::UnknownHost | Refusal::CrossSite) {
                    let from =
                        address.map_or_else(String::new, |address| format!(" from {address}"));
                    self.tell(&format!("request{from}"), &refused);
                }
                Answered {
                    response: refused.answer(form),
                    unread: refused.closes,
                }
            }
        };
        self.counters().count_answer(answered.response.status());
        answered
    }

    /// The request with its body, if it keeps to the limits.
    async fn take(
        &self,
        address: Option<IpAddr>,
        request: Request<Incoming>,
    ) -> Result<Request<Body>, Refused> {
        // Again: the services file may have changed since the connection began.
        self.know(address)?;
        let peer = address.and_then(ipv4);
        self.keep_pace(peer)?;
        origin::check(self.door, &request, &self.hosts.borrow())?;
        let (head, body) = request.into_parts();
        let body = self.read(body).await?;
        let mut request = Request::from_parts(head, Body::from(body));
        request.extensions_mut().insert(Asker(address));
        if let Some(peer) = peer.filter(|_| self.nodes.is_some()) {
            request.extensions_mut().insert(Peer(peer));
        }
        Ok(request)
    }

    /// That the address may speak here at all.
    fn know(&self, address: Option<IpAddr>) -> Result<(), Refused> {
        let Some(nodes) = &self.nodes else {
            return Ok(());
        };
        if address
            .and_then(ipv4)
            .is_some_and(|address| nodes.borrow().contains_ip(address))
        {
            return Ok(());
        }
        let who = address.map_or_else(|| "who asks".to_owned(), |address| address.to_string());
        let reason = format!("{who} is no node of the services file");
        let status = StatusCode::FORBIDDEN;
        Err(Refused::closing(Refusal::Foreign, status, reason))
    }

    fn keep_pace(&self, peer: Option<Ipv4Addr>) -> Result<(), Refused> {
        let (Some(paces), Some(pace), Some(peer)) = (&self.paces, self.limits.pace, peer) else {
            return Ok(());
        };
        let asked = lock(paces).ask(peer, Instant::now());
        asked.map_err(|wait| Refused {
            refusal: Refusal::TooFast,
            status: StatusCode::TOO_MANY_REQUESTS,
            reason: format!(
                "{peer} asks too often: {} requests a second are answered, {} at once",
                pace.per_second, pace.burst
            ),
            retry_after: Some(wait),
            closes: false,
        })
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Refused> {
        let limit = self.limits.body_bytes;
        let too_long = || {
            let reason = match limit {
                0 => "a request has no body here".to_owned(),
                limit => format!("the body is too long: {limit} bytes are read"),
            };
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Refused::closing(Refusal::BodyTooLong, status, reason)
        };
        if body.size_hint().lower() > limit as u64 {
            return Err(too_long());
        }
        match timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
            Ok(Err(_)) => {
                let reason = "the body cannot be read".to_owned();
                let status = StatusCode::BAD_REQUEST;
                Err(Refused::closing(Refusal::NotUnderstood, status, reason))
            }
            Err(_) => {
                let within = humantime::format_duration(BODY_TIME);
                let reason = format!("the body did not come within {within}");
                let status = StatusCode::REQUEST_TIMEOUT;
                Err(Refused::closing(Refusal::TooSlow, status, reason))
            }
        }
    }

    /// What the router says. A handler that panics fails by itself.
    async fn handle(
        &self,
        request: Request<Body>,
        form: Form,
        method: &Method,
        path: &str,
    ) -> Response {
        let handled = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        match handled.await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => {
                error!(
                    "the {} failed to answer {method} {}: its handler panicked; please tell the \
                     maintainers what the line before says",
                    self.door,
                    printable(path)
                );
                let reason = "this is a fault of pollbal; its log says more";
                form.error(StatusCode::INTERNAL_SERVER_ERROR, reason)
            }
        }
    }

    /// The answer, if it is short or there is room for one more that is long. What is a stream makes
    /// its parts as they are read.
    async fn hold(&self, response: Response, form: Form, address: Option<IpAddr>) -> Response {
        if response.body().size_hint().exact().is_none() {
            return response;
        }
        let (mut head, body) = response.into_parts();
        let shared = head.extensions.remove::<Held>();
        // It is there: nothing is waited for, and nothing can fail.
        let text = body.collect().await.unwrap_or_default().to_bytes();
        let text = match shared {
            // Who asks for the head alone is told none of it.
            Some(shared) if !text.is_empty() => self.long.hold_too(&shared, address),
            _ => self.long.hold(text, address),
        };
        match text {
            Ok(text) => Response::from_parts(head, Body::from(text.into_bytes())),
            Err(refused) => {
                self.count(refused.refusal);
                refused.answer(form)
            }
        }
    }

    pub(crate) fn count(&self, refusal: Refusal) {
        self.counters().count_refusal(refusal);
    }

    fn counters(&self) -> &DoorCounters {
        self.counters.of(self.door)
    }

    /// Tells the log that something was refused, once in a while for each reason.
    fn tell(&self, what: &str, refused: &Refused) {
        let mut told = lock(&self.told);
        let throttle = told.entry(refused.refusal.name()).or_default();
        if throttle.check(Instant::now()) {
            warn!(
                "refused a {what} at the {}: {}; this is told once a minute",
                self.door, refused.reason
            );
        }
    }
}

/// A connection that was let in; dropped, its place is free again.
pub(crate) struct Admitted {
    pub(crate) gate: Arc<Gate>,
    /// Where it comes from.
    pub(crate) address: Option<IpAddr>,
    /// Whose it is, where that is known: at a Unix socket.
    pub(crate) user: Option<User>,
    _place: Place,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.gate.counters().count_ended();
    }
}

/// Where a request comes from, if that is an address. An extension of each.
#[derive(Clone, Copy)]
pub(crate) struct Asker(pub(crate) Option<IpAddr>);

/// The answer to a request.
pub(crate) struct Answered {
    pub(crate) response: Response,
    /// Some of the request was not read.
    pub(crate) unread: bool,
}

fn no_place(why: NoPlace, address: Option<IpAddr>) -> Refused {
    let (refusal, reason) = match (why, address) {
        (NoPlace::AddressFull(places), Some(address)) => {
            let has = count(places, "connection");
            (Refusal::AddressFull, format!("{address} has {has} already"))
        }
        (NoPlace::Full(places) | NoPlace::AddressFull(places), _) => {
            let has = count(places, "connection");
            (Refusal::Full, format!("this door has {has} already"))
        }
    };
    Refused {
        retry_after: Some(SOON),
        ..Refused::closing(refusal, StatusCode::SERVICE_UNAVAILABLE, reason)
    }
}

/// The IPv4 address, also of one that came as an IPv6 one to a socket for both.
fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address.to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
