//! A single request to a node, apart from its polls: with the same header fields, over a new connection.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::exchange::{Exchange, ExchangeError};
use super::request::{Template, host};
use crate::awake::timeout;
use crate::config::poll::PollSettings;
use crate::model::node::NodeAddr;
use crate::outgoing;

/// Why a node was not reached.
#[derive(Debug, Error)]
pub(crate) enum Unreached {
    #[error("cannot connect")]
    NoConnection(#[source] io::Error),
    #[error("no complete response within {0:?}")]
    NoResponse(Duration),
    #[error("{0}")]
    Broken(String),
}

/// Sends a request without a body, and waits for the response, which is ignored. `settings` has the timeout and the
/// header fields for this node.
pub(crate) async fn send(
    addr: NodeAddr,
    method: &str,
    path: &str,
    settings: &PollSettings,
) -> Result<(), Unreached> {
    let headers = settings.headers_of(addr);
    let template = Template::new(method, path, headers).with("Content-Length", "0");
    let request = template.request(&host(addr), false);
    let exchange = async {
        let stream = outgoing::connect((addr.ip(), addr.port())).await;
        let stream = stream.map_err(Unreached::NoConnection)?;
        match Exchange::new(stream, request).response().await {
            Ok(_) | Err(ExchangeError::InBody(..)) => Ok(()),
            Err(ExchangeError::BeforeHead(cause)) => Err(Unreached::Broken(cause.to_string())),
        }
    };
    let limit = settings.timeout;
    let result = timeout(limit, exchange).await;
    result.unwrap_or(Err(Unreached::NoResponse(limit)))
}
