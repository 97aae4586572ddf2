//! Panics: which of them stay with what caused them, and what becomes of the process after the others.
//!
//! A panic is a mistake of ours. Where the work was for one connection, one request or one room, it is done inside
//! [`contain`] or [`contained`], and that connection, request or run of comments is all that is lost. Anywhere else a
//! loop may have ended that a node cannot do without, while the node looks alive: so the process ends at once, to be
//! started anew. That loses nothing, since what was acknowledged is durable.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::task::Poll;

use prometheus_client::metrics::counter::Counter;

/// How the process ends: EX_SOFTWARE of sysexits.h.
pub const EXIT_CODE: i32 = 70;

thread_local! {
    /// How many pieces of contained work this thread is in, one inside the other.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// Does `work`; `None` when it has panicked. Whoever calls makes good what it may have left half done: locks are free
/// again, as those of `parking_lot` are.
pub fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    INSIDE.set(INSIDE.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(INSIDE.get() - 1);
    done.ok()
}

/// The same for a task. It is dropped where it panicked.
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

/// From now on panics are counted, and those that nothing contains end the process with [`EXIT_CODE`]. The message and
/// its place are on standard error in either case.
pub fn end_on_panic(panics: Counter) {
    let tell = take_hook();
    set_hook(Box::new(move |panic| {
        tell(panic);
        panics.inc();
        if INSIDE.get() == 0 {
            eprintln!("barrage: this concerns more than one connection, request or room; ending, to be started anew");
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

    /// What ends the process is tried in one of its own: this test again.
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
