//! Keeps the log from flooding: one line a cause and interval, then a count.
//!
//! A layer of the [log](crate::logging). A cause is where a line is written and what it says; digits do not tell two causes
//! apart, because attempts and ports differ where the cause is one. One place writes a bounded number of different lines an
//! interval. What was held back is counted in a line at the interval's end. Lines below `info` are never held back: whoever
//! asks for them wants all.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How long a cause is held back after a line.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Different lines of one place in an interval.
const LINES_OF_A_PLACE: u32 = 10;
/// The longest text that tells causes apart, in characters.
const TEXT_MAX: usize = 160;
/// Causes remembered; further ones are not held back.
const CAUSES_MAX: usize = 4_096;
/// The target of the lines with the counts, which are never held back.
const COUNTS: &str = "barrage::log";

/// The layer. Clones share their state.
#[derive(Clone, Default)]
pub struct LogLimit(Arc<Mutex<Causes>>);

/// Where a line is written. Lines of the `log` crate share a callsite a level; the second part tells them apart.
type PlaceKey = (Identifier, u64);

#[derive(Default)]
struct Causes {
    causes: HashMap<(PlaceKey, String), Cause>,
    places: HashMap<PlaceKey, Place>,
}

struct Cause {
    begun: Instant,
    held_back: u64,
}

struct Place {
    begun: Instant,
    lines: u32,
    held_back: u64,
    text: String,
}

impl LogLimit {
    /// Starts the thread that writes the counts.
    #[allow(clippy::disallowed_methods)] // A thread of its own, so that it runs while the runtime is stuck.
    pub fn start_counting(&self) {
        let limit = self.clone();
        let count = move || loop {
            std::thread::sleep(Duration::from_secs(1));
            limit.count(Instant::now());
        };
        // Without the thread lines are held back all the same, and not counted.
        let _ = std::thread::Builder::new().name("log counts".into()).spawn(count);
    }

    /// Writes what was held back in the intervals that have ended.
    fn count(&self, now: Instant) {
        let mut counts = Vec::new();
        {
            let Causes { causes, places } = &mut *self.0.lock();
            causes.retain(|(_, text), cause| {
                let over = now.duration_since(cause.begun) >= INTERVAL;
                if over && cause.held_back > 0 {
                    counts.push((cause.held_back, text.clone()));
                    *cause = Cause { begun: now, held_back: 0 };
                    return true;
                }
                !over
            });
            places.retain(|_, place| {
                let over = now.duration_since(place.begun) >= INTERVAL;
                if over && place.held_back > 0 {
                    counts.push((place.held_back, std::mem::take(&mut place.text)));
                }
                !over
            });
        }
        for (held_back, text) in counts {
            tracing::warn!(target: COUNTS, held_back, "more lines like: {text}");
        }
    }

    /// Whether a line may be written.
    fn allows(&self, place: PlaceKey, text: String, now: Instant) -> bool {
        let Causes { causes, places } = &mut *self.0.lock();
        let over = |begun: Instant| now.duration_since(begun) >= INTERVAL;
        let key = (place, text);
        // A cause that goes on is counted at the end of each interval, and gets no second line.
        if let Some(cause) = causes.get_mut(&key).filter(|cause| cause.held_back > 0 || !over(cause.begun)) {
            cause.held_back += 1;
            return false;
        }
        let (place, text) = key;
        let of_place = places.entry(place.clone()).or_insert_with(|| Place::new(now));
        if over(of_place.begun) && of_place.held_back == 0 {
            *of_place = Place::new(now);
        }
        if of_place.lines >= LINES_OF_A_PLACE {
            of_place.held_back += 1;
            of_place.text = text;
            return false;
        }
        of_place.lines += 1;
        if causes.len() < CAUSES_MAX {
            causes.insert((place, text), Cause { begun: now, held_back: 0 });
        }
        true
    }
}

impl Place {
    fn new(now: Instant) -> Self {
        Self { begun: now, lines: 0, held_back: 0, text: String::new() }
    }
}

impl<S: Subscriber> Layer<S> for LogLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == COUNTS {
            return true;
        }
        let digits = *metadata.level() == Level::INFO;
        let mut text = Text { text: String::new(), digits, place: DefaultHasher::new() };
        event.record(&mut text);
        self.allows((metadata.callsite(), text.place.finish()), text.text, Instant::now())
    }
}

/// The fields of a line as one text.
struct Text {
    text: String,
    /// Whether digits tell two lines apart: of news, not of complaints.
    digits: bool,
    /// What the `log` crate says of its place.
    place: DefaultHasher,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name().starts_with("log.") {
            format!("{value:?}").hash(&mut self.place);
        } else {
            // A writer to a string does not fail; a value that cannot be written adds nothing.
            let _ = write!(self, "{value:?} ");
        }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.text.len() >= TEXT_MAX {
                break;
            }
            if self.digits || !c.is_ascii_digit() {
                self.text.push(c);
            } else if !self.text.ends_with('#') {
                self.text.push('#');
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// The lines that come of some work and of counting afterwards.
    fn lines(work: impl FnOnce()) -> Vec<String> {
        let (limit, lines) = (LogLimit::default(), Lines::default());
        let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone()).with_ansi(false).without_time();
        let subscriber = tracing_subscriber::registry().with(layer).with(limit.clone());
        tracing::subscriber::with_default(subscriber, || {
            work();
            limit.count(Instant::now() + INTERVAL);
        });
        let text = String::from_utf8(lines.0.lock().clone()).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn one_cause_is_one_line_and_a_count() {
        let lines = lines(|| {
            for attempt in 0..3_142 {
                tracing::warn!("the server 10.0.0.{} is away, attempt {attempt}", attempt % 6);
            }
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("attempt 0") && lines[1].contains("held_back=3141"), "{lines:?}");
    }

    #[test]
    fn two_causes_are_two_lines_and_one_place_has_a_bound() {
        let few = lines(|| {
            for cause in ["refused", "reset", "refused"] {
                tracing::error!(error = cause, "cannot store");
            }
        });
        assert_eq!(few.len(), 3, "{few:?}");
        let many = lines(|| (b'a'..=b'z').for_each(|room| tracing::warn!(room = %char::from(room), "cannot store")));
        assert_eq!(many.len(), 11, "{many:?}");
        assert!(many[10].contains("held_back=16"), "{many:?}");
    }

    #[test]
    fn news_are_told_apart_by_their_numbers_and_details_are_never_held_back() {
        let lines = lines(|| {
            (1..=3).for_each(|node| tracing::info!(node, "a node has come"));
            (0..20).for_each(|_| tracing::debug!("a detail"));
        });
        assert_eq!(lines.len(), 23, "{lines:?}");
    }
}
