//! Making pages: what is needed is asked for, the rest is done away from the doors' thread; and who
//! asks for the same while the same is so shares one text.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use rustix::system::uname;
use tokio::sync::OnceCell;
use tokio::time::sleep;

use super::csp;
use super::render::{About, Listed, Page};
use crate::api::event::event;
use crate::api::{self, State as NodeState};
use crate::control::{FullState, NodeAtSerial};
use crate::http::Shared;
use crate::http::cache::KEPT;
use crate::http::params::{Parameters, Problem, pool};
use crate::http::routes::read::{ask_perlbals, explanation_of};
use crate::http::server::response_budget::Held;
use crate::http::server::service::Asker;
use crate::http::view::node;
use crate::http::view::perlbal::Asked;
use crate::http::view::status::{Filter, nodes, without_nodes};
use crate::model::event::Event;
use crate::model::event_log::Part;
use crate::model::names::PoolName;

/// So many events are shown.
const EVENTS: usize = 50;

/// Among so many last events those of a pool are looked for.
const EVENTS_LOOKED_AT: usize = 1_000;

/// So many different pages are kept; whoever asks for yet another has one of his own.
const PAGES: usize = 16;

/// This machine's name: people have the pages of several load balancers open.
static HOST: LazyLock<String> = LazyLock::new(|| uname().nodename().to_string_lossy().into_owned());

/// A page that was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    code: StatusCode,
    /// For who asked first.
    text: Held,
}

impl IntoResponse for Made {
    fn into_response(self) -> Response {
        let text = self.text.clone().into_bytes();
        let mut response = (self.code, csp::headers(), Html(text)).into_response();
        response.extensions_mut().insert(self.text);
        response
    }
}

/// The pages that show the last view, by their query.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    view: Option<Arc<FullState>>,
    pages: HashMap<String, Arc<OnceCell<Made>>>,
}

impl Pages {
    /// The page of this query. Who comes while it is made waits for the same.
    pub(super) async fn page(
        self: &Arc<Self>,
        shared: &Shared,
        asker: Asker,
        query: &str,
    ) -> Result<Made, Problem> {
        let view = shared.view().await?;
        let page = self.place(&view, query);
        let made = page.get_or_try_init(|| make(shared, asker, view, query));
        made.await.cloned()
    }

    /// Where that page of that view is, or will be when it is made.
    fn place(self: &Arc<Self>, view: &Arc<FullState>, query: &str) -> Arc<OnceCell<Made>> {
        let mut kept = self.kept();
        if !kept.shows(view) {
            *kept = Kept {
                view: Some(view.clone()),
                pages: HashMap::new(),
            };
            tokio::spawn(self.clone().forget(view.clone()));
        }
        match kept.pages.get(query) {
            Some(page) => page.clone(),
            None if kept.pages.len() >= PAGES => Arc::default(),
            None => kept.pages.entry(query.to_owned()).or_default().clone(),
        }
    }

    /// Lets go of that view and its pages when nobody will be given it any more.
    async fn forget(self: Arc<Self>, view: Arc<FullState>) {
        sleep(KEPT).await;
        let mut kept = self.kept();
        if kept.shows(&view) {
            *kept = Kept::default();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn shows(&self, view: &Arc<FullState>) -> bool {
        let shown = self.view.as_ref();
        shown.is_some_and(|shown| Arc::ptr_eq(shown, view))
    }
}

async fn make(
    shared: &Shared,
    asker: Asker,
    view: Arc<FullState>,
    query: &str,
) -> Result<Made, Problem> {
    let matter = Matter::gather(shared, view, query).await?;
    let (code, text) = shared.long.make(move || matter.write()).await?;
    let failed = |why: askama::Error| {
        let why = format!("failed to write the page: {why}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    };
    let text = shared.hold(text.map_err(failed)?.into(), asker.0)?;
    Ok(Made { code, text })
}

/// All that a page is made of.
struct Matter {
    view: Arc<FullState>,
    perlbals: Vec<Asked>,
    events: Vec<Arc<Event>>,
    subject: Subject,
    /// All nodes, however many.
    all: bool,
    /// Only the part that changes.
    fragment: bool,
}

enum Subject {
    Site,
    Pool(PoolName),
    Node(Box<api::Explanation>),
    Nothing(Problem),
}

impl Subject {
    async fn find(shared: &Shared, parameters: &Parameters<'_>) -> Result<Self, Problem> {
        if let Some(word) = parameters.one("node") {
            // The search field sends what was typed, with the blanks around it.
            let explained = explanation_of(shared, word.trim()).await?;
            return Ok(Self::Node(Box::new(explained)));
        }
        let name = parameters.one("pool").map(pool).transpose()?;
        Ok(name.map_or(Self::Site, Self::Pool))
    }

    /// Of so many last events those that matter are shown.
    fn events(&self) -> usize {
        match self {
            Self::Site => EVENTS,
            Self::Pool(_) => EVENTS_LOOKED_AT,
            Self::Node(_) | Self::Nothing(_) => 0,
        }
    }
}

impl Matter {
    async fn gather(shared: &Shared, view: Arc<FullState>, query: &str) -> Result<Self, Problem> {
        let parameters = Parameters::read(Some(query), &["pool", "node", "all", "fragment"])?;
        let subject = match Subject::find(shared, &parameters).await {
            Ok(subject) => subject,
            // What has no answer because pollbal ends is no page.
            Err(problem) if problem.status == StatusCode::SERVICE_UNAVAILABLE => {
                return Err(problem);
            }
            Err(problem) => Subject::Nothing(problem),
        };
        let events = match subject.events() {
            0 => Vec::new(),
            count => shared.control.events(0, Part::Last(count)).await?,
        };
        Ok(Self {
            perlbals: ask_perlbals(&view.summary.managers).await,
            view,
            events,
            subject,
            all: parameters.one("all").is_some(),
            fragment: parameters.one("fragment").is_some(),
        })
    }

    /// The page, and the status of the answer that it is.
    fn write(&self) -> (StatusCode, askama::Result<String>) {
        let mut filter = Filter::default();
        if let Subject::Pool(name) = &self.subject {
            filter.pools.insert(name.clone());
        }
        let status = without_nodes(
            &self.view.summary,
            &self.perlbals,
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
        match &self.subject {
            Subject::Site => About::Site { all },
            Subject::Pool(name) => About::Pool {
                name: name.as_str(),
                all,
            },
            Subject::Node(explained) => About::Node(explained),
            Subject::Nothing(problem) => About::Nothing(&problem.error),
        }
    }

    fn code(&self) -> StatusCode {
        match &self.subject {
            Subject::Nothing(problem) => problem.status,
            _ => StatusCode::OK,
        }
    }

    fn pool(&self) -> Option<&str> {
        match &self.subject {
            Subject::Pool(name) => Some(name.as_str()),
            _ => None,
        }
    }

    fn list(&self, filter: &Filter, about: About<'_>) -> Listed {
        let view = &self.view;
        let mut wanted: Vec<_> = nodes(view, filter).collect();
        if self.pool().is_some() {
            // What may need a person stands first.
            wanted.sort_by_key(|seen| {
                node::state(&seen.view) == NodeState::Member && !node::is_failing(&seen.view)
            });
        }
        let whole = &view.summary;
        let tell = |seen: &NodeAtSerial| node::node(&whole.clock, &whole.perlbals, seen);
        Listed::of(wanted.into_iter(), about, tell)
    }

    /// The last ones that matter, the oldest first.
    fn events(&self) -> Vec<api::Event> {
        let matters = |event: &&Arc<Event>| match &self.subject {
            Subject::Pool(name) => event.pool.as_ref() == Some(name),
            _ => true,
        };
        let last = self.events.iter().rev().filter(matters).take(EVENTS);
        let mut last: Vec<_> = last.map(|happened| event(happened)).collect();
        last.reverse();
        last
    }
}
