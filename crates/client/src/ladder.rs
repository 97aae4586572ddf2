//! Which transport the next attempt takes: the first that works here. Owned by the driver.
//!
//! One that never connects here makes way for the next at once; one that has worked before only after several failures in a row,
//! because then it is the server that is away. While a lesser one is in use, the first is tried out now and then. A server with
//! too much to do sends its viewers to live segments at once.

use std::sync::Arc;
use std::time::Duration;

use crate::transport::{SEGMENTS, Transport};

/// A transport that has worked is not blocked here: so many failures in a row say otherwise.
const FAILURES_AFTER_SUCCESS: u32 = 6;
/// Connections as short as this, so many in a row, are as good as none.
const SHORT: Duration = Duration::from_secs(10);
const SHORT_MAX: u32 = 3;
const FIRST_PROBE: Duration = Duration::from_secs(30);
/// The first one has worked before: most likely it was the server that was away.
const PROBE_AFTER_SUCCESS: Duration = Duration::from_secs(2);
const LAST_PROBE: Duration = Duration::from_secs(300);

pub(crate) struct Ladder {
    rungs: Vec<Rung>,
    index: usize,
    failures: u32,
    short: u32,
    probe: Duration,
}

struct Rung {
    transport: Arc<dyn Transport>,
    has_worked: bool,
}

impl Ladder {
    /// Of at least one transport.
    pub fn new(transports: Vec<Arc<dyn Transport>>) -> Self {
        let rungs = transports.into_iter().map(|transport| Rung { transport, has_worked: false }).collect();
        Self { rungs, index: 0, failures: 0, short: 0, probe: FIRST_PROBE }
    }

    pub fn current(&self) -> Option<&Arc<dyn Transport>> {
        self.rungs.get(self.index).map(|rung| &rung.transport)
    }

    /// The one to try out while a lesser one is in use, and after how long.
    pub fn better(&self) -> Option<(Arc<dyn Transport>, Duration)> {
        let first = self.rungs.first().filter(|_| self.index > 0)?;
        let is_first_probe = self.probe == FIRST_PROBE;
        let after = if first.has_worked && is_first_probe { PROBE_AFTER_SUCCESS } else { self.probe };
        Some((first.transport.clone(), after))
    }

    /// Takes live segments for the next. False when they are taken already, or there are none.
    pub fn take_segments(&mut self) -> bool {
        let segments = self.rungs.iter().position(|rung| rung.transport.name() == SEGMENTS);
        let Some(index) = segments.filter(|index| *index != self.index) else { return false };
        self.climb();
        self.index = index;
        true
    }

    /// It does not work yet.
    pub fn probed_in_vain(&mut self) {
        self.probe = (self.probe * 2).min(LAST_PROBE);
    }

    /// The better one works.
    pub fn climb(&mut self) {
        (self.index, self.failures, self.short, self.probe) = (0, 0, 0, FIRST_PROBE);
    }

    /// A connection stood for so long; `None` when it never did.
    pub fn ended(&mut self, lived: Option<Duration>) {
        let count = self.rungs.len();
        let Some(rung) = self.rungs.get_mut(self.index) else { return };
        match lived {
            Some(lived) => {
                rung.has_worked = true;
                self.failures = 0;
                self.short = if lived < SHORT { self.short + 1 } else { 0 };
            }
            None => self.failures += 1,
        }
        let failures_max = if rung.has_worked { FAILURES_AFTER_SUCCESS } else { 1 };
        if self.failures >= failures_max || self.short >= SHORT_MAX {
            (self.index, self.failures, self.short) = ((self.index + 1) % count, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;

    use super::*;
    use crate::transport::{Closed, Link, Target};

    struct Named(&'static str);

    impl Transport for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn connect(&self, _: Target) -> BoxFuture<'static, Result<Link, Closed>> {
            Box::pin(std::future::pending())
        }
    }

    fn ladder() -> Ladder {
        Ladder::new(vec![Arc::new(Named("a")), Arc::new(Named("b"))])
    }

    fn name(ladder: &Ladder) -> &'static str {
        ladder.current().map_or("none", |transport| transport.name())
    }

    #[test]
    fn what_never_works_makes_way_at_once_and_what_has_worked_later() {
        let mut new = ladder();
        new.ended(None);
        assert_eq!(name(&new), "b");
        new.ended(None);
        assert_eq!(name(&new), "a", "after the last comes the first");

        let mut old = ladder();
        old.ended(Some(Duration::from_secs(60)));
        (0..FAILURES_AFTER_SUCCESS - 1).for_each(|_| old.ended(None));
        assert_eq!(name(&old), "a");
        old.ended(None);
        assert_eq!(name(&old), "b");
        let mut probe = || {
            let after = old.better().map(|(_, after)| after.as_secs());
            old.probed_in_vain();
            after
        };
        assert_eq!([0; 6].map(|_| probe()), [2, 60, 120, 240, 300, 300].map(Some));
        old.climb();
        assert!(name(&old) == "a" && old.better().is_none());

        let transports: [Arc<dyn Transport>; 3] =
            [Arc::new(Named("a")), Arc::new(Named("b")), Arc::new(Named(SEGMENTS))];
        let mut full = Ladder::new(transports.into());
        assert!(full.take_segments() && !full.take_segments());
        assert_eq!((name(&full), full.better().map(|(_, after)| after)), (SEGMENTS, Some(FIRST_PROBE)));
        assert!(!ladder().take_segments(), "there are none");

        let mut flapping = ladder();
        (0..SHORT_MAX).for_each(|_| flapping.ended(Some(Duration::from_millis(5))));
        assert_eq!(name(&flapping), "b");
        assert_eq!(flapping.better().map(|(_, after)| after), Some(PROBE_AFTER_SUCCESS));
    }
}
