//! Contains panics where one connection, request or room is concerned, and ends the process on all others.
//!
//! A panic is a fault of this program. Work for one connection, one request or one room runs inside [`contain`] or
//! [`contained`], and only that work is lost. Anywhere else a panic may have ended a loop that the node needs, while the
//! node looks alive: so the process ends at once, to be restarted. Nothing acknowledged is lost, because it is durable.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::task::Poll;

use prometheus_client::metrics::counter::Counter;

use crate::{reports, stderr};

/// Exit code of the process: EX_SOFTWARE of sysexits.h.
pub const EXIT_CODE: i32 = 70;

thread_local! {
    /// How deep this thread is in nested contained work.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work`; `None` when it panicked. The caller repairs what may be half done. Locks of `parking_lot` are released.
pub fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    INSIDE.set(INSIDE.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(INSIDE.get() - 1);
    outcome.ok()
}

/// As [`contain`], for a task. A task that panicked is dropped.
pub fn contained<F: Future>(task: F) -> impl Future<Output = Option<F::Output>> {
    let mut task = Some(Box::pin(task));
    poll_fn(move |context| {
        let polled = contain(|| task.as_mut().map(|task| task.as_mut().poll(context)));
        match polled.flatten() {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(output)) => Poll::Ready(Some(output)),
            None => {
                contain(|| task = None);
                Poll::Ready(None)
            }
        }
    })
}

/// Counts panics from here on, and ends the process with [`EXIT_CODE`] on those that nothing contains. The message of
/// every panic goes to standard error, if that can be written.
pub fn end_on_panic(panics: Counter) {
    set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map_or_else(String::new, |location| format!(" at {location}"));
        let trace = Backtrace::capture();
        let trace = if trace.status() == BacktraceStatus::Captured { format!("\n{trace}") } else { String::new() };
        let name = thread.name().unwrap_or("unnamed");
        stderr::complain("panic", &format!("thread {name} panicked{place}: {message}{trace}"));
        panics.inc();
        if INSIDE.get() == 0 {
            let end = "the panic concerns more than one connection, request or room; ending, to be restarted";
            stderr::complain("panic", end);
            stderr::flush();
            reports::flush();
            std::process::exit(EXIT_CODE);
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn contained_work_is_lost_alone() {
        assert_eq!(contain(|| 7), Some(7));
        assert_eq!(contain(|| contain(|| panic!("on purpose")).map_or(8, |()| 9)), Some(8));
        assert_eq!(INSIDE.get(), 0);
    }

    #[test]
    fn a_contained_task_waits_and_ends_like_any_other() {
        let mut polls = 0;
        let task = poll_fn(move |_| {
            polls += 1;
            match polls {
                1 => Poll::Pending,
                2 => Poll::Ready("done"),
                _ => panic!("on purpose"),
            }
        });
        let mut context = Context::from_waker(Waker::noop());
        let mut task = std::pin::pin!(contained(task));
        assert_eq!(task.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(task.as_mut().poll(&mut context), Poll::Ready(Some("done")));
        assert_eq!(task.as_mut().poll(&mut context), Poll::Ready(None));
    }

    /// Ends a child process: this test, run again.
    #[test]
    fn what_nothing_contains_ends_the_process() {
        const CHILD: &str = "BARRAGE_TEST_PANICS";
        let panics = Counter::default();
        match std::env::var(CHILD) {
            Ok(whose) => {
                end_on_panic(panics.clone());
                assert_eq!(contain(|| panic!("on purpose")), None::<()>);
                assert_eq!(panics.get(), 1);
                let _ = std::thread::spawn(move || assert_eq!(whose, "contained", "on purpose")).join();
            }
            Err(_) => {
                let run = |whose: &str| {
                    let test = "panics::tests::what_nothing_contains_ends_the_process";
                    let mut child = Command::new(std::env::current_exe().expect("this program"));
                    child.args(["--exact", test]).env(CHILD, whose).output().expect("a child")
                };
                assert_eq!(run("contained").status.code(), Some(0));
                assert_eq!(run("nobody's").status.code(), Some(EXIT_CODE));
            }
        }
    }
}
