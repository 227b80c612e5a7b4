//! What a person must know, as long as it holds: computed from how things stand, never from events.

use std::collections::BTreeMap;
use std::time::Duration;

use super::names::PoolName;
use super::node::NodeAddr;
use super::text::{printable, shortened};

/// No text of a condition is longer, in characters.
const MAX_TEXT: usize = 1_000;

/// How things stand, as far as a person may have to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Each node was heard once, so that it is known what is wanted.
    pub first_round_done: bool,
    /// The declared pools; none before the first round is done.
    pub pools: Vec<PoolLevel>,
    /// The Perlbals, by their management address.
    pub perlbals: BTreeMap<String, PerlbalLevel>,
    /// Pool files that are not as they should be.
    pub files: Option<Fault>,
    /// A state file that cannot be written.
    pub state: Option<Fault>,
    /// A state file that was refused at the start.
    pub state_refused: Option<Fault>,
    /// A services file that was refused.
    pub services: Option<Fault>,
    /// A reload that was refused.
    pub reload: Option<Fault>,
}

/// How a declared pool stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLevel {
    /// Which.
    pub pool: PoolName,
    /// How many members serve, as far as is known: those that failed, and that only `min_members`
    /// or a freeze keeps in, do not count.
    pub serving: usize,
    /// Its `min_members`.
    pub min_members: usize,
    /// The sorry servers that stand in now; empty else.
    pub sorry: Vec<NodeAddr>,
}

/// How a Perlbal stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerlbalLevel {
    /// There is a connection, by which it could be read.
    pub connected: bool,
    /// All is there as it is wanted.
    pub in_sync: bool,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its path, or a directory's.
    pub path: String,
    /// What is wrong; may have several lines.
    pub text: String,
}

/// Something that holds and that a person must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What kind of thing it is.
    pub kind: Kind,
    /// What it is about: a pool, a Perlbal's address, a file.
    pub subject: String,
    /// The pool, if it is about one.
    pub pool: Option<PoolName>,
    /// What it is, for people: one printable line of bounded length.
    pub text: String,
}

/// What kind of thing a condition is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A pool has no member, and its sorry servers stand in.
    SorryServer,
    /// A pool has fewer serving members than its `min_members`.
    PoolShort,
    /// There is no connection to a Perlbal.
    PerlbalLost,
    /// A Perlbal is reached and not as it should be.
    PerlbalNotInSync,
    /// Pool files are not as they should be.
    FilesNotWritten,
    /// The state file was refused at the start: what was taken out by order is in.
    StateRefused,
    /// The configuration, or the services file with it, was refused at a reload.
    ReloadRefused,
    /// A changed services file was refused.
    ServicesRefused,
    /// The state file cannot be written.
    StateNotWritten,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::SorryServer,
        Self::PoolShort,
        Self::PerlbalLost,
        Self::PerlbalNotInSync,
        Self::FilesNotWritten,
        Self::StateRefused,
        Self::ReloadRefused,
        Self::ServicesRefused,
        Self::StateNotWritten,
    ];

    /// Its word, which stays the same for ever, so that programs may rely on it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::SorryServer => "sorry_server",
            Self::PoolShort => "pool_short",
            Self::PerlbalLost => "perlbal_lost",
            Self::PerlbalNotInSync => "perlbal_not_in_sync",
            Self::FilesNotWritten => "files_not_written",
            Self::StateRefused => "state_refused",
            Self::ReloadRefused => "reload_refused",
            Self::ServicesRefused => "services_refused",
            Self::StateNotWritten => "state_not_written",
        }
    }

    /// The kind that has this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// So long it must hold before it counts, and be away before it counts as over: what comes and
    /// goes by itself sooner is nothing to wake anyone for.
    #[must_use]
    pub fn settles(self) -> Duration {
        Duration::from_secs(match self {
            // Someone did it just now; or it is so from the start on.
            Self::ReloadRefused | Self::StateRefused => 0,
            // A node that changes its pool is in none for a moment.
            Self::SorryServer | Self::PoolShort => 2,
            // A restart of Perlbal; an editor that writes the services file in pieces.
            Self::PerlbalLost
            | Self::FilesNotWritten
            | Self::ServicesRefused
            | Self::StateNotWritten => 5,
            // What is put right at the next reading.
            Self::PerlbalNotInSync => 10,
        })
    }
}

impl Circumstances {
    /// What a person must know now, in order.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        let pools = self.pools.iter().flat_map(PoolLevel::conditions);
        let perlbals = self.perlbals.iter();
        let perlbals =
            perlbals.filter_map(|(address, level)| level.condition(address, self.first_round_done));
        let files = [
            (Kind::FilesNotWritten, &self.files),
            (Kind::StateRefused, &self.state_refused),
            (Kind::ReloadRefused, &self.reload),
            (Kind::ServicesRefused, &self.services),
            (Kind::StateNotWritten, &self.state),
        ];
        let files = files.into_iter().filter_map(|(kind, fault)| {
            let Fault { path, text } = fault.as_ref()?;
            Some(Condition::new(kind, path, text))
        });
        pools.chain(perlbals).chain(files).collect()
    }
}

impl PoolLevel {
    fn conditions(&self) -> impl Iterator<Item = Condition> {
        let Self {
            pool,
            serving,
            min_members,
            sorry,
        } = self;
        let addrs: Vec<_> = sorry.iter().map(ToString::to_string).collect();
        let sorry = (!sorry.is_empty()).then(|| {
            let text = format!(
                "pool {pool} has no member, and its sorry server stands in: {}",
                addrs.join(", ")
            );
            Condition::of_pool(Kind::SorryServer, pool, &text)
        });
        let short = (serving < min_members).then(|| {
            let text = format!(
                "pool {pool} is short of members: {serving} serving, and its min_members is {min_members}"
            );
            Condition::of_pool(Kind::PoolShort, pool, &text)
        });
        sorry.into_iter().chain(short)
    }
}

impl PerlbalLevel {
    fn condition(self, address: &str, first_round_done: bool) -> Option<Condition> {
        let (kind, text) = match (self.connected, self.in_sync || !first_round_done) {
            (true, true) => return None,
            (false, _) => (
                Kind::PerlbalLost,
                format!("there is no connection to Perlbal {address}"),
            ),
            (true, false) => (
                Kind::PerlbalNotInSync,
                format!("Perlbal {address} is not as it should be; the log says why"),
            ),
        };
        Some(Condition::new(kind, address, &text))
    }
}

impl Condition {
    fn new(kind: Kind, subject: &str, text: &str) -> Self {
        let one_line = text.lines().collect::<Vec<_>>().join("; ");
        Self {
            kind,
            subject: printable(subject),
            pool: None,
            text: shortened(&printable(&one_line), MAX_TEXT),
        }
    }

    fn of_pool(kind: Kind, pool: &PoolName, text: &str) -> Self {
        Self {
            pool: Some(pool.clone()),
            ..Self::new(kind, pool.as_str(), text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(serving: usize, min_members: usize, sorry: &[&str]) -> PoolLevel {
        PoolLevel {
            pool: "api".parse().unwrap(),
            serving,
            min_members,
            sorry: sorry.iter().map(|addr| addr.parse().unwrap()).collect(),
        }
    }

    fn kinds(circumstances: &Circumstances) -> Vec<Kind> {
        let conditions = circumstances.conditions();
        conditions.iter().map(|condition| condition.kind).collect()
    }

    #[test]
    fn nothing_is_told_of_what_is_in_order() {
        let perlbal = PerlbalLevel {
            connected: true,
            in_sync: true,
        };
        let circumstances = Circumstances {
            pools: vec![pool(2, 2, &[]), pool(0, 0, &[])],
            perlbals: [("127.0.0.1:16000".to_owned(), perlbal)].into(),
            ..Circumstances::default()
        };
        assert_eq!(circumstances.conditions(), []);
        assert_eq!(Circumstances::default().conditions(), []);
    }

    #[test]
    fn a_pool_is_short_of_serving_members_or_has_none_but_a_sorry_server() {
        let mut circumstances = Circumstances {
            pools: vec![pool(1, 2, &[])],
            ..Circumstances::default()
        };
        assert_eq!(kinds(&circumstances), [Kind::PoolShort]);
        let short = &circumstances.conditions()[0];
        assert_eq!(
            (short.subject.as_str(), &short.pool),
            ("api", &"api".parse().ok())
        );
        assert!(
            short.text.contains('1') && short.text.contains('2'),
            "{}",
            short.text
        );
        circumstances.pools = vec![pool(0, 1, &["10.0.0.9:80"])];
        assert_eq!(kinds(&circumstances), [Kind::SorryServer, Kind::PoolShort]);
        assert!(circumstances.conditions()[0].text.contains("10.0.0.9:80"));
    }

    #[test]
    fn a_perlbal_that_is_lost_is_not_also_out_of_sync() {
        let level = |first_round_done, connected, in_sync| {
            let level = PerlbalLevel { connected, in_sync };
            let perlbals = [("127.0.0.1:16000".to_owned(), level)].into();
            let circumstances = Circumstances {
                first_round_done,
                perlbals,
                ..Circumstances::default()
            };
            kinds(&circumstances)
        };
        assert_eq!(level(true, false, false), [Kind::PerlbalLost]);
        assert_eq!(level(true, false, true), [Kind::PerlbalLost]);
        assert_eq!(level(true, true, false), [Kind::PerlbalNotInSync]);
        assert_eq!(level(true, true, true), []);
        assert_eq!(level(false, true, false), [], "nothing is wanted of it yet");
        assert_eq!(level(false, false, false), [Kind::PerlbalLost]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_in_one_line_of_bounded_length() {
        let fault = Fault {
            path: "/etc/pollbal.services".to_owned(),
            text: format!("line 2: wrong\nline 3: \u{1b}[2J\n{}", "é".repeat(5_000)),
        };
        let circumstances = Circumstances {
            services: Some(fault),
            ..Circumstances::default()
        };
        let text = &circumstances.conditions()[0].text;
        assert!(text.starts_with("line 2: wrong; line 3: "), "{text}");
        assert!(!text.contains(char::is_control));
        assert_eq!(text.chars().count(), MAX_TEXT + 1);
    }
}
