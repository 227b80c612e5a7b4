//! An event that owns its data, so that another thread can write it later.

use std::cell::Cell;
use std::fmt;
use std::time::SystemTime;

use tracing::field::{Field, Value, Visit, display};
use tracing::{Event, Metadata};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::model::text::printable;

/// Maximum number of fields of an event, including its message; no event of pollbal's has more than five.
const MAX_FIELDS: usize = 8;

/// Maximum length of a field, in bytes: journald accepts datagrams of up to about 200 KB.
const MAX_FIELD_BYTES: usize = 32 * 1_024;

/// Approximate size of an event without its texts, in bytes.
const OVERHEAD: usize = 200;

thread_local! {
    /// The time of the event that this thread is writing.
    static HAPPENED: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

/// A captured event.
pub(super) struct Record {
    metadata: &'static Metadata<'static>,
    /// The values, each with the index of its field.
    fields: Vec<(usize, Text)>,
    happened: SystemTime,
}

/// A field's value. Strings are shown in quotation marks.
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

    /// Approximate memory use, in bytes.
    pub(super) fn size(&self) -> usize {
        let texts = self.fields.iter().map(|(_, text)| text.as_str().len());
        OVERHEAD + texts.sum::<usize>()
    }

    /// Passes the event to this thread's subscriber.
    pub(super) fn replay(&self) {
        let known: Vec<Field> = self.metadata.fields().iter().collect();
        let values: Vec<Box<dyn Value>> =
            self.fields.iter().map(|(_, text)| text.value()).collect();
        let Some(first) = known.first() else { return };
        // Missing fields have no value, so they are not shown.
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

/// Logs in the log's thread, with the time of another event.
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

/// The text with control characters escaped, and of limited length.
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

/// Formats the time of the event that is being written.
pub(super) struct Happened;

impl FormatTime for Happened {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let happened = HAPPENED.get().unwrap_or_else(SystemTime::now);
        let happened = jiff::Timestamp::try_from(happened).unwrap_or(jiff::Timestamp::MAX);
        write!(writer, "{happened:.6}")
    }
}
