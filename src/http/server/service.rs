//! Which connections and requests a listener accepts, and how it responds: the limits first, then the
//! listener's own checks, then its router.
//!
//! It outlives a reload that moves the listener: limits belong to the listener, not to its address.

use std::any::Any;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as RouterRequest;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tracing::{error, warn};

use super::connection_limit::{ConnectionLimit, Full, Slot};
use super::counters::{ListenerCounters, RejectReason};
use super::error::{ErrorFormat, Rejection, with_reason};
use super::limits::{BODY_TIMEOUT, Limits, RETRY_AFTER};
use super::peer::PeerUser;
use super::rate_limit::RateLimiter;
use super::response_budget::{ReservedText, ResponseBudget};
use crate::log_throttle::OncePerWindow;

/// The checks of a listener beyond its limits.
pub(crate) trait Policy: Send + Sync {
    /// Whether this address may connect.
    fn check_source(&self, address: Option<IpAddr>) -> Result<(), Rejection>;

    /// Whether a request with this head is accepted.
    fn check_request(&self, head: &Parts) -> Result<(), Rejection>;

    /// How errors are written in response to a request for this path.
    fn error_format(&self, path: &str) -> ErrorFormat;
}

/// What a listener consists of, beside its socket.
pub(crate) struct ServiceParts {
    /// Its name in texts.
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) router: Router,
    pub(crate) counters: Arc<ListenerCounters>,
    pub(crate) budget: Arc<ResponseBudget>,
}

/// One listener's service.
pub(crate) struct ListenerService {
    parts: ServiceParts,
    connections: Arc<ConnectionLimit>,
    rate: Option<RateLimiter>,
    /// Limits the log lines about each reason.
    logged: Mutex<HashMap<&'static str, OncePerWindow>>,
}

impl ListenerService {
    pub(crate) fn new(mut parts: ServiceParts) -> Self {
        let limits = parts.limits;
        parts.router = parts
            .router
            .layer(from_fn(collect_body))
            .layer(RequestBodyLimitLayer::new(limits.body_bytes))
            .layer(CatchPanicLayer::custom(internal_error));
        Self {
            connections: ConnectionLimit::new(limits.connections, limits.per_address),
            rate: limits.rate.map(RateLimiter::new),
            logged: Mutex::default(),
            parts,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.parts.name
    }

    pub(super) fn counters(&self) -> &ListenerCounters {
        &self.parts.counters
    }

    pub(super) fn error_format(&self, path: &str) -> ErrorFormat {
        self.parts.policy.error_format(path)
    }

    /// Accepts a connection from this address; to be called before anything is read.
    pub(super) fn accept_connection(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<Accepted, Rejection> {
        let slot = self.parts.policy.check_source(address).and_then(|()| {
            let slot = self.connections.acquire(address);
            slot.map_err(|full| too_many_connections(full, address))
        });
        let slot = slot.inspect_err(|rejection| {
            self.counters().count_rejected(rejection.reason);
            self.log_rejection("connection", rejection);
        })?;
        self.counters().count_accepted();
        Ok(Accepted {
            service: self.clone(),
            address,
            user: None,
            _slot: slot,
        })
    }

    /// Responds to a request from this address, whatever it is.
    pub(super) async fn respond(
        &self,
        address: Option<IpAddr>,
        request: Request<Incoming>,
    ) -> Response {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let format = self.error_format(&path);
        let response = match self.check(address, request) {
            Ok(request) => {
                let Ok(response) = self.parts.router.clone().oneshot(request).await;
                let response = self.explain_body_error(response, format);
                let response = with_reason(response, format, method.as_str(), &path);
                self.limit_response(response, format, address).await
            }
            Err(rejection) => {
                self.counters().count_rejected(rejection.reason);
                // These are due to a configuration, and those who meet them may not see the response.
                if let RejectReason::UnknownHost | RejectReason::CrossSite = rejection.reason {
                    let from =
                        address.map_or_else(String::new, |address| format!(" from {address}"));
                    self.log_rejection(&format!("request{from}"), &rejection);
                }
                rejection.response(format)
            }
        };
        self.counters().count_response(response.status());
        response
    }

    /// The request for the router, if it is within the limits and passes the listener's checks.
    fn check(
        &self,
        address: Option<IpAddr>,
        request: Request<Incoming>,
    ) -> Result<Request<Body>, Rejection> {
        // Again, since who may connect can have changed since the connection was accepted.
        self.parts.policy.check_source(address)?;
        self.check_rate(address)?;
        let (head, body) = request.into_parts();
        self.parts.policy.check_request(&head)?;
        let mut request = Request::from_parts(head, Body::new(body));
        request.extensions_mut().insert(ClientAddr(address));
        Ok(request)
    }

    fn check_rate(&self, address: Option<IpAddr>) -> Result<(), Rejection> {
        let (Some(limiter), Some(rate), Some(address)) =
            (&self.rate, self.parts.limits.rate, address)
        else {
            return Ok(());
        };
        limiter.check(address).map_err(|delay| Rejection {
            reason: RejectReason::RateLimit,
            status: StatusCode::TOO_MANY_REQUESTS,
            text: format!(
                "{address} sends too many requests: at most {} per second, {} at once",
                rate.per_second, rate.burst
            ),
            retry_after: Some(delay),
            closes: false,
        })
    }

    /// Responds with the reason why the body of the request could not be read, if that is so, and closes the
    /// connection, on which the rest of it may arrive.
    fn explain_body_error(&self, response: Response, format: ErrorFormat) -> Response {
        let status = response.status();
        let (reason, text) = match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let text = match self.parts.limits.body_bytes {
                    0 => "requests have no body here".to_owned(),
                    max => format!("the body is too long: the maximum is {max} bytes"),
                };
                (RejectReason::BodyTooLong, text)
            }
            StatusCode::REQUEST_TIMEOUT => {
                let within = humantime::format_duration(BODY_TIMEOUT);
                let text = format!("the body did not arrive within {within}");
                (RejectReason::RequestTimeout, text)
            }
            _ if response.extensions().get::<BodyUnreadable>().is_some() => (
                RejectReason::Malformed,
                "the body cannot be read".to_owned(),
            ),
            _ => return response,
        };
        self.counters().count_rejected(reason);
        Rejection::closing(reason, status, text).response(format)
    }

    /// The response, if it is small or within the budget. A stream makes its parts as they are read.
    async fn limit_response(
        &self,
        response: Response,
        format: ErrorFormat,
        address: Option<IpAddr>,
    ) -> Response {
        if response.body().size_hint().exact().is_none() {
            return response;
        }
        let (mut head, body) = response.into_parts();
        let shared = head.extensions.remove::<ReservedText>();
        // It is there: nothing is waited for, and nothing can fail.
        let text = body.collect().await.unwrap_or_default().to_bytes();
        let text = match shared {
            // A request for the head alone gets none of it.
            Some(shared) if !text.is_empty() => self.parts.budget.share(&shared, address),
            _ => self.parts.budget.reserve(text, address),
        };
        match text {
            Ok(text) => Response::from_parts(head, Body::from(text.into_bytes())),
            Err(rejection) => {
                self.counters().count_rejected(rejection.reason);
                rejection.response(format)
            }
        }
    }

    /// Logs that something was rejected, once in a while for each reason.
    fn log_rejection(&self, what: &str, rejection: &Rejection) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let throttle = logged.entry(rejection.reason.name()).or_default();
        if throttle.check(Instant::now()) {
            let (name, text) = (self.name(), &rejection.text);
            warn!("{name} rejected a {what}: {text}; logged at most once a minute");
        }
    }
}

/// An accepted connection. Dropping it releases its slot.
pub(super) struct Accepted {
    pub(super) service: Arc<ListenerService>,
    pub(super) address: Option<IpAddr>,
    /// The user at the other end, if known: on a Unix socket.
    pub(super) user: Option<PeerUser>,
    _slot: Slot,
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.service.counters().count_closed();
    }
}

/// The address that a request comes from, if it has one. An extension of each request.
#[derive(Clone, Copy)]
pub(crate) struct ClientAddr(pub(crate) Option<IpAddr>);

/// Marks a response to a request whose body could not be read.
#[derive(Clone, Copy)]
struct BodyUnreadable;

/// Reads the whole body before the handler runs.
async fn collect_body(request: RouterRequest, next: Next) -> Response {
    let (head, body) = request.into_parts();
    match timeout(BODY_TIMEOUT, body.collect()).await {
        Ok(Ok(body)) => {
            let body = Body::from(body.to_bytes());
            next.run(Request::from_parts(head, body)).await
        }
        Ok(Err(error)) if is_length_limit(&error) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Ok(Err(_)) => {
            let mut response = StatusCode::BAD_REQUEST.into_response();
            response.extensions_mut().insert(BodyUnreadable);
            response
        }
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(<dyn std::error::Error>::is::<LengthLimitError>)
}

/// A handler that panics fails alone. The panic itself has been logged.
fn internal_error(_: Box<dyn Any + Send>) -> Response {
    error!("a request handler panicked, as logged before this line; please report this bug");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

fn too_many_connections(full: Full, address: Option<IpAddr>) -> Rejection {
    let connections = |number| match number {
        1 => "1 connection".to_owned(),
        number => format!("{number} connections"),
    };
    let (reason, text) = match (full, address) {
        (Full::Address(number), Some(address)) => {
            let text = format!("{address} already has {}", connections(number));
            (RejectReason::AddressLimit, text)
        }
        (Full::All(number) | Full::Address(number), _) => {
            let text = format!("this listener already has {}", connections(number));
            (RejectReason::ConnectionLimit, text)
        }
    };
    Rejection {
        retry_after: Some(RETRY_AFTER),
        ..Rejection::closing(reason, StatusCode::SERVICE_UNAVAILABLE, text)
    }
}
