//! Traces: which comments are followed through the deployment, and the spans that were noted about them.
//!
//! A comment's trace follows from its id, and so does whether it is followed. So every role of every node decides alike, and
//! neither the log, Kafka nor Redis carries anything for it. Parts that handle comments note spans here; `outbound::otlp`
//! sends them to a collector. Noting never waits: when too many spans wait, the next ones are dropped and counted.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::Snowflake;
use crate::metrics::{Labelled, count};

/// Spans that may wait to be sent: a few megabytes.
const WAITING_MAX: usize = 16_384;

/// Decides what is followed, and keeps spans until they are sent. Clones share their state; the default follows nothing.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

struct Recorder {
    one_in: u64,
    seed: u64,
    waiting: Mutex<Vec<Span>>,
    counts: Labelled,
}

/// The trace of one comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    id: u128,
}

/// What one part did with a comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// What was done.
    pub name: &'static str,
    /// The comment's trace.
    pub trace: Trace,
    /// Unique in the trace.
    pub id: u64,
    /// The span that this one follows; `None` for the first.
    pub parent: Option<u64>,
    /// When it began.
    pub begun: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What else is known. Never the text of a comment, nor who wrote it.
    pub attributes: Vec<(&'static str, Value)>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl Tracer {
    /// Follows one comment in `one_in`; 0 follows none. Nodes of one `deployment` follow the same ones. Dropped spans are
    /// counted in `counts` by `outcome`.
    #[must_use]
    pub fn new(deployment: &str, one_in: u32, counts: Labelled) -> Self {
        if one_in == 0 {
            return Self(None);
        }
        // FNV-1a: every node and every version must come to the same number.
        let seed = deployment.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(Some(Arc::new(Recorder { one_in: one_in.into(), seed, waiting: Mutex::default(), counts })))
    }

    /// Whether anything is followed.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The trace of a comment, if it is followed.
    #[must_use]
    pub fn trace(&self, comment: Snowflake) -> Option<Trace> {
        let recorder = self.0.as_ref()?;
        let low = mix(comment.0 ^ recorder.seed);
        low.is_multiple_of(recorder.one_in)
            .then(|| Trace { id: u128::from(mix(low ^ recorder.seed)) << 64 | u128::from(low) })
    }

    /// Notes a span.
    pub fn note(&self, span: Span) {
        let Some(recorder) = &self.0 else { return };
        let mut waiting = recorder.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.push(span);
        } else {
            drop(waiting);
            count(&recorder.counts, "outcome", "dropped");
        }
    }

    /// Takes the spans that wait to be sent.
    #[must_use]
    pub fn take(&self) -> Vec<Span> {
        let Some(recorder) = &self.0 else { return Vec::new() };
        std::mem::take(&mut *recorder.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Trace {
    /// The id, as OTLP has it.
    #[must_use]
    pub fn id(self) -> [u8; 16] {
        self.id.to_be_bytes()
    }

    /// The id of the trace's first span, `publish`: other nodes name it as their parent without having seen it.
    #[must_use]
    pub fn first_span(self) -> u64 {
        mix(self.id as u64).max(1)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.id)
    }
}

/// The finaliser of SplitMix64: neighbouring ids get numbers that have nothing in common.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(one_in: u32) -> Tracer {
        Tracer::new("barrage", one_in, Labelled::default())
    }

    fn span(trace: Trace) -> Span {
        let now = SystemTime::UNIX_EPOCH;
        Span { name: "publish", trace, id: 1, parent: None, begun: now, ended: now, attributes: Vec::new() }
    }

    #[test]
    fn nodes_of_one_deployment_follow_the_same_comments_under_the_same_ids() {
        let (one, other, stranger) = (tracer(10), tracer(10), Tracer::new("else", 10, Labelled::default()));
        let ids = || (0..10_000).map(|n| Snowflake(1 << 40 | n << 22));
        let followed: Vec<_> = ids().filter_map(|id| one.trace(id)).collect();
        assert_eq!(followed, ids().filter_map(|id| other.trace(id)).collect::<Vec<_>>());
        assert_ne!(followed, ids().filter_map(|id| stranger.trace(id)).collect::<Vec<_>>());
        assert!((800..1_200).contains(&followed.len()), "{} of 10,000", followed.len());
    }

    #[test]
    fn all_are_followed_or_none() {
        assert!((0..100).all(|n| tracer(1).trace(Snowflake(n)).is_some()));
        assert!((0..100).all(|n| tracer(0).trace(Snowflake(n)).is_none()));
        assert!((0..100).all(|n| Tracer::default().trace(Snowflake(n)).is_none()));
    }

    #[test]
    fn spans_beyond_those_that_may_wait_are_dropped_and_counted() {
        let counts = Labelled::default();
        let tracer = Tracer::new("barrage", 1, counts.clone());
        let trace = tracer.trace(Snowflake(1)).expect("a trace");
        (0..WAITING_MAX + 7).for_each(|_| tracer.note(span(trace)));
        assert_eq!(tracer.take().len(), WAITING_MAX);
        assert_eq!(counts.get_or_create(&vec![("outcome", "dropped")]).get(), 7);
        assert!(tracer.take().is_empty());
    }
}
