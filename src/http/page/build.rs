//! Builds pages: queries what is needed, and renders it off the listeners' thread. Requests for the same
//! page share one text for as long as it is up to date.

use std::sync::{Arc, LazyLock};

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use rustix::system::uname;

use super::csp;
use super::render::{About, NodeTable, Page};
use crate::api::event::event;
use crate::api::{self, State as NodeState};
use crate::control::{FullState, NodeAtSerial};
use crate::http::AppState;
use crate::http::cache::{Cache, VIEW_TTL};
use crate::http::params::{HttpError, Parameters, parse_pool};
use crate::http::routes::read::{explanation_of, query_drivers};
use crate::http::server::response_budget::ReservedText;
use crate::http::server::service::ClientAddr;
use crate::http::view::load_balancer::DriverReport;
use crate::http::view::node;
use crate::http::view::status::{Filter, nodes, without_nodes};
use crate::model::event::Event;
use crate::model::event_log::Part;
use crate::model::names::PoolName;

/// Maximum number of events that are shown.
const EVENTS: usize = 50;

/// Number of recent events that are searched for those of a pool.
const EVENTS_SEARCHED: usize = 1_000;

/// Maximum number of pages that are kept; a request for another one has it rendered for itself.
const PAGES: usize = 16;

/// The name of this machine: people have the pages of several load balancers open.
static HOST: LazyLock<String> = LazyLock::new(|| uname().nodename().to_string_lossy().into_owned());

/// A rendered page.
#[derive(Clone, Debug)]
pub(super) struct RenderedPage {
    code: StatusCode,
    /// Reserved for the first client.
    text: ReservedText,
}

impl IntoResponse for RenderedPage {
    fn into_response(self) -> Response {
        let text = self.text.clone().into_bytes();
        let mut response = (self.code, csp::headers(), Html(text)).into_response();
        response.extensions_mut().insert(self.text);
        response
    }
}

/// The pages of the latest view, by view and query. Each keeps its view, so that no other can have its
/// address meanwhile.
pub(super) struct Pages(Cache<(usize, String), (Arc<FullState>, RenderedPage)>);

impl Default for Pages {
    fn default() -> Self {
        Self(Cache::new(VIEW_TTL, PAGES))
    }
}

impl Pages {
    pub(super) async fn page(
        &self,
        state: &AppState,
        client: ClientAddr,
        query: &str,
    ) -> Result<RenderedPage, HttpError> {
        let view = state.full_state().await?;
        let key = (Arc::as_ptr(&view).addr(), query.to_owned());
        let page = async {
            let page = render(state, client, view.clone(), query).await?;
            Ok::<_, HttpError>((view, page))
        };
        let (_, page) = self.0.get(key, page).await?;
        Ok(page)
    }
}

async fn render(
    state: &AppState,
    client: ClientAddr,
    view: Arc<FullState>,
    query: &str,
) -> Result<RenderedPage, HttpError> {
    let data = PageData::query(state, view, query).await?;
    let (code, text) = state.budget.make(move || data.render()).await?;
    let failed = |why: askama::Error| {
        let why = format!("failed to render the page: {why}");
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    };
    let text = state.reserve(text.map_err(failed)?.into(), client.0)?;
    Ok(RenderedPage { code, text })
}

/// Everything that a page shows.
struct PageData {
    view: Arc<FullState>,
    drivers: Vec<DriverReport>,
    events: Vec<Arc<Event>>,
    kind: PageKind,
    /// Whether all nodes are shown, however many.
    all: bool,
    /// Whether only the changing part is requested.
    fragment: bool,
}

enum PageKind {
    Site,
    Pool(PoolName),
    Node(Box<api::Explanation>),
    Nothing(HttpError),
}

impl PageKind {
    async fn find(state: &AppState, parameters: &Parameters<'_>) -> Result<Self, HttpError> {
        if let Some(word) = parameters.one("node") {
            // The search field sends what was typed, including blanks around it.
            let explained = explanation_of(state, word.trim()).await?;
            return Ok(Self::Node(Box::new(explained)));
        }
        let name = parameters.one("pool").map(parse_pool).transpose()?;
        Ok(name.map_or(Self::Site, Self::Pool))
    }

    /// What the page shows.
    fn filter(&self) -> Filter {
        let mut filter = Filter::default();
        if let Self::Pool(name) = self {
            filter.pools.insert(name.clone());
        }
        filter
    }

    /// Number of recent events to search for those that are shown.
    fn events_searched(&self) -> usize {
        match self {
            Self::Site => EVENTS,
            Self::Pool(_) => EVENTS_SEARCHED,
            Self::Node(_) | Self::Nothing(_) => 0,
        }
    }
}

impl PageData {
    async fn query(state: &AppState, view: Arc<FullState>, query: &str) -> Result<Self, HttpError> {
        let parameters = Parameters::read(Some(query), &["pool", "node", "all", "fragment"])?;
        let kind = match PageKind::find(state, &parameters).await {
            Ok(kind) => kind,
            // No page if pollbal is shutting down.
            Err(error) if error.status == StatusCode::SERVICE_UNAVAILABLE => {
                return Err(error);
            }
            Err(error) => PageKind::Nothing(error),
        };
        let events = match kind.events_searched() {
            0 => Vec::new(),
            count => state.control.events(0, Part::Last(count)).await?,
        };
        Ok(Self {
            drivers: query_drivers(&view.summary.handles, &kind.filter().pools_there()).await,
            view,
            events,
            kind,
            all: parameters.one("all").is_some(),
            fragment: parameters.one("fragment").is_some(),
        })
    }

    /// The status and the text of the response.
    fn render(&self) -> (StatusCode, askama::Result<String>) {
        let filter = self.kind.filter();
        let status = without_nodes(
            &self.view.summary,
            &self.drivers,
            &filter,
            std::iter::empty(),
        );
        let mut about = self.about();
        let listed = self.list(&filter, about);
        let missing = format!("there is no pool {}", self.pool().unwrap_or_default());
        let mut code = self.code();
        if self.pool().is_some() && status.pools.is_empty() && listed.is_empty() {
            (about, code) = (About::Nothing(&missing), StatusCode::NOT_FOUND);
        }
        let page = Page {
            host: &HOST,
            status: &status,
            listed: &listed,
            about,
            events: &self.events(),
        };
        let text = if self.fragment {
            page.fragment()
        } else {
            page.document()
        };
        (code, text)
    }

    fn about(&self) -> About<'_> {
        let all = self.all;
        match &self.kind {
            PageKind::Site => About::Site { all },
            PageKind::Pool(name) => About::Pool {
                name: name.as_str(),
                all,
            },
            PageKind::Node(explained) => About::Node(explained),
            PageKind::Nothing(error) => About::Nothing(&error.error),
        }
    }

    fn code(&self) -> StatusCode {
        match &self.kind {
            PageKind::Nothing(error) => error.status,
            _ => StatusCode::OK,
        }
    }

    fn pool(&self) -> Option<&str> {
        match &self.kind {
            PageKind::Pool(name) => Some(name.as_str()),
            _ => None,
        }
    }

    fn list(&self, filter: &Filter, about: About<'_>) -> NodeTable {
        let view = &self.view;
        let mut shown: Vec<_> = nodes(view, filter).collect();
        if self.pool().is_some() {
            // Those that may need attention first.
            shown.sort_by_key(|entry| {
                node::state(&entry.view) == NodeState::Member && !node::is_failing(&entry.view)
            });
        }
        let whole = &view.summary;
        let convert = |entry: &NodeAtSerial| node::node(&whole.clock, &whole.drivers, entry);
        NodeTable::of(shown.into_iter(), about, convert)
    }

    /// Those that are shown, the oldest first.
    fn events(&self) -> Vec<api::Event> {
        let matters = |event: &&Arc<Event>| match &self.kind {
            PageKind::Pool(name) => event.pool.as_ref() == Some(name),
            _ => true,
        };
        let last = self.events.iter().rev().filter(matters).take(EVENTS);
        let mut last: Vec<_> = last.map(|happened| event(happened)).collect();
        last.reverse();
        last
    }
}
