//! Sources of nodes.
//!
//! A source returns the whole list each time. The task around it, [`run`], passes good lists on, and keeps the last
//! good one active while the source has none: it logs and reports what is wrong. [`NodeLists`] makes one list of them
//! all.

pub mod file;
mod node_lists;
pub mod resolver;
pub mod serf;

use tokio::sync::mpsc;
use tracing::{error, info};

use crate::alerts::StatusReporter;
use crate::config::ConfigError;
use crate::logging::{chain, errors};
use crate::model::problems::{FileFault, SystemStatus};
use crate::model::services::List;
pub use node_lists::{NodeLists, SerfNodes, Shared};

/// What a source has.
#[derive(Debug)]
pub enum SourceUpdate {
    /// The services file lists these nodes.
    File(List),
    /// This follows from a list of Serf's members.
    Serf(serf::Update),
}

/// Where nodes come from.
pub trait NodeSource: Send {
    /// Its name in the log, such as the path of a file.
    fn name(&self) -> String;

    /// Waits until the list has changed, or may be readable again, and returns it whole. The source determines how
    /// often it is read; it reports through `faults` when it hangs meanwhile.
    fn next(
        &mut self,
        faults: &Faults,
    ) -> impl Future<Output = Result<SourceUpdate, Rejection>> + Send;
}

/// Why there is no list.
#[derive(Debug)]
pub struct Rejection {
    /// What is wrong, to follow the source's name: `was rejected`.
    pub what: String,
    /// Details.
    pub error: Option<ConfigError>,
    /// The source is read again although it has not changed; the same rejection is logged only once then.
    pub is_retried: bool,
}

/// Reports what is wrong with a source.
#[derive(Debug)]
pub struct Faults {
    name: String,
    status_reporter: StatusReporter,
    field: FaultField,
    rejected: Option<Rejected>,
}

/// The last rejection.
#[derive(Debug)]
struct Rejected {
    /// In full, as the log has it.
    whole: String,
    /// In brief, with the consequence.
    text: String,
}

/// Where the status says that a source has no list.
pub type FaultField = fn(&mut SystemStatus) -> &mut Option<FileFault>;

/// Passes each good list of a source on, until nobody receives them any more.
pub async fn run(
    mut source: impl NodeSource,
    lists: mpsc::Sender<SourceUpdate>,
    (status_reporter, field): (StatusReporter, FaultField),
) {
    let mut faults = Faults {
        name: source.name(),
        status_reporter,
        field,
        rejected: None,
    };
    loop {
        match source.next(&faults).await {
            Ok(SourceUpdate::File(list)) if list.nodes.is_empty() => faults.reject(Rejection {
                what: "lists no nodes".to_owned(),
                error: None,
                is_retried: false,
            }),
            Ok(update) => {
                faults.rejected = None;
                faults.report(None);
                if !update.is_empty() && lists.send(update).await.is_err() {
                    return;
                }
            }
            Err(rejection) => faults.reject(rejection),
        }
    }
}

impl SourceUpdate {
    /// Whether nothing follows from it.
    fn is_empty(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Serf(update) => *update == serf::Update::default(),
        }
    }
}

impl Faults {
    /// Reports that the source hangs; the last good list stays active.
    pub fn report_hang(&self, what: &str) {
        let text = format!("{what}; the last good list stays active");
        error!("{text}");
        self.report(Some(text));
    }

    /// Reports that it does not hang any more.
    pub fn report_hang_over(&self) {
        info!("{} answers again", self.name);
        let rejected = self.rejected.as_ref();
        self.report(rejected.map(|rejected| rejected.text.clone()));
    }

    /// Logs and reports a rejection; its details only once as long as they stay the same.
    fn reject(&mut self, rejection: Rejection) {
        let Rejection {
            what,
            error,
            is_retried,
        } = rejection;
        let error = error.as_ref();
        let line = format!("{} {what}; the last good list stays active", self.name);
        let text = error.map_or(line.clone(), |error| {
            format!("{line}: {}", error.in_brief())
        });
        let whole = error.map_or(line.clone(), |error| chain(error));
        let rejected = self.rejected.as_ref();
        let is_same = rejected.is_some_and(|rejected| rejected.whole == whole);
        if is_same && is_retried {
            return;
        }
        if let Some(error) = error.filter(|_| !is_same) {
            errors(&chain(error));
        }
        error!("{line}");
        self.report(Some(text.clone()));
        self.rejected = Some(Rejected { whole, text });
    }

    fn report(&self, text: Option<String>) {
        let path = self.name.clone();
        let fault = text.map(|text| FileFault { path, text });
        self.status_reporter.set(self.field, fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::services::parse;

    /// Returns what comes through a channel.
    struct Script(mpsc::Receiver<Result<SourceUpdate, Rejection>>);

    impl NodeSource for Script {
        fn name(&self) -> String {
            "script".to_owned()
        }

        async fn next(&mut self, _: &Faults) -> Result<SourceUpdate, Rejection> {
            match self.0.recv().await {
                Some(next) => next,
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test]
    async fn what_is_rejected_is_reported_until_a_good_list_comes_and_none_is_passed_on() {
        let list = |text: &str| {
            let nodes = parse(text).unwrap();
            Ok(SourceUpdate::File(List {
                nodes,
                ..List::default()
            }))
        };
        let rejected = Err(Rejection {
            what: "was rejected".to_owned(),
            error: None,
            is_retried: false,
        });
        let (script, steps) = mpsc::channel(1);
        let reporter = StatusReporter::new();
        let (sender, mut lists) = mpsc::channel(1);
        let mut status = reporter.subscribe();
        let task = tokio::spawn(run(
            Script(steps),
            sender,
            (reporter, |status| &mut status.services),
        ));
        let first = |update: Option<SourceUpdate>| match update {
            Some(SourceUpdate::File(list)) => list.nodes[0].addr.to_string(),
            other => panic!("{other:?}"),
        };
        script.send(list("10.0.0.1:80\n")).await.unwrap();
        assert_eq!(first(lists.recv().await), "10.0.0.1:80");
        for wrong in [rejected, list("")] {
            script.send(wrong).await.unwrap();
        }
        let fault = status.wait_for(|status| status.services.is_some()).await;
        let text = fault.unwrap().services.clone().unwrap().text;
        assert!(text.starts_with("script "), "{text}");
        script.send(list("10.0.0.2:80\n")).await.unwrap();
        assert_eq!(first(lists.recv().await), "10.0.0.2:80");
        let fault = status.wait_for(|status| status.services.is_none()).await;
        assert!(fault.is_ok());
        task.abort();
    }
}
