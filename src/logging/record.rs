//! An event that owns all that it says, so that another thread can write it later.

use std::cell::Cell;
use std::fmt;
use std::time::SystemTime;

use tracing::field::{Field, Value, Visit, display};
use tracing::{Event, Metadata};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::model::text::printable;

/// Maximum number of fields of an event, its message included; no event of ours has more than five.
const MAX_FIELDS: usize = 8;

/// Maximum length of a field, in bytes: journald takes no datagram above some 200 KB, and nobody reads such a line.
const MAX_FIELD_BYTES: usize = 32 * 1_024;

/// What an event takes beside its texts, in bytes, roughly.
const OVERHEAD: usize = 200;

thread_local! {
    /// When the event happened that this thread writes now.
    static HAPPENED: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

/// An event.
pub(super) struct Record {
    metadata: &'static Metadata<'static>,
    /// Each with its place among the event's fields.
    fields: Vec<(usize, Text)>,
    happened: SystemTime,
}

/// A field's value. The two differ in how they are shown: a string has quotation marks.
enum Text {
    Quoted(Box<str>),
    Plain(Box<str>),
}

impl Record {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        Self {
            metadata: event.metadata(),
            fields: fields.0,
            happened: SystemTime::now(),
        }
    }

    /// How much memory it takes, roughly, in bytes.
    pub(super) fn size(&self) -> usize {
        let texts = self.fields.iter().map(|(_, text)| text.as_str().len());
        OVERHEAD + texts.sum::<usize>()
    }

    /// Gives the event to this thread's subscriber.
    pub(super) fn replay(&self) {
        let known: Vec<Field> = self.metadata.fields().iter().collect();
        let values: Vec<Box<dyn Value>> =
            self.fields.iter().map(|(_, text)| text.value()).collect();
        let Some(first) = known.first() else { return };
        // What is not there has no value, and so is not shown.
        let mut all: [(&Field, Option<&dyn Value>); MAX_FIELDS] = [(first, None); MAX_FIELDS];
        for ((place, (index, _)), value) in all.iter_mut().zip(&self.fields).zip(&values) {
            if let Some(field) = known.get(*index) {
                *place = (field, Some(&**value));
            }
        }
        at(self.happened, || {
            Event::dispatch(self.metadata, &self.metadata.fields().value_set(&all));
        });
    }
}

/// Logs something in the log's own thread, as of another time.
pub(super) fn at(happened: SystemTime, log: impl FnOnce()) {
    HAPPENED.set(Some(happened));
    log();
    HAPPENED.set(None);
}

impl Text {
    fn as_str(&self) -> &str {
        let (Self::Quoted(text) | Self::Plain(text)) = self;
        text
    }

    fn value(&self) -> Box<dyn Value + '_> {
        match self {
            Self::Quoted(text) => Box::new(&**text),
            Self::Plain(text) => Box::new(display(text)),
        }
    }
}

/// Collects the fields of an event.
struct Fields(Vec<(usize, Text)>);

impl Fields {
    fn add(&mut self, field: &Field, text: Text) {
        if self.0.len() < MAX_FIELDS {
            self.0.push((field.index(), text));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Text::Quoted(bounded(value.to_owned())));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Text::Plain(bounded(format!("{value:?}"))));
    }
}

/// Harmless, whoever wrote parts of it, and of bounded length.
fn bounded(text: String) -> Box<str> {
    let mut text = if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        text
    } else {
        printable(&text)
    };
    if text.len() > MAX_FIELD_BYTES {
        let mut ends = (0..=MAX_FIELD_BYTES).rev();
        let end = ends.find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text.into_boxed_str()
}

/// Tells when the event happened that is being written.
pub(super) struct Happened;

impl FormatTime for Happened {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let happened = HAPPENED.get().unwrap_or_else(SystemTime::now);
        let happened = jiff::Timestamp::try_from(happened).unwrap_or(jiff::Timestamp::MAX);
        write!(writer, "{happened:.6}")
    }
}
