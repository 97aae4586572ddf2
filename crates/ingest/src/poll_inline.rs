//! Polls work on the caller's thread first, and moves it to Tokio only if it has to wait.
//!
//! With the shared state in memory nearly every check answers at once, and a task for each would cost more than the
//! checks. Called by the gateway's shards and by [`crate::admit`]. The caller's thread must have entered the runtime,
//! because pending work may set timers. Never blocks. Work that moves to Tokio is one user's, and so is a panic in it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use model::panics::contained;
use tokio::runtime::Handle;

/// A future that was polled once and has to wait.
pub type PendingWork<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Polls `work` once.
///
/// # Errors
/// The work, when it has to wait; the caller drives it on.
pub fn poll_once<T>(work: impl Future<Output = T> + Send + 'static) -> Result<T, PendingWork<T>> {
    let mut work = Box::pin(work);
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(work),
    }
}

/// Polls `work` once here, and drives it on `runtime` if it has to wait.
pub fn poll_or_spawn(runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    if let Err(pending) = poll_once(work) {
        spawn(runtime, pending);
    }
}

/// Drives one user's `work` on `runtime`; a panic in it is that user's loss alone.
pub fn spawn(runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    runtime.spawn(contained(work));
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn pending_work_moves_to_the_runtime() {
        let (go, wait) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        poll_or_spawn(&Handle::current(), async move { drop(answer.send(wait.await)) });
        go.send(7).expect("the work waits");
        assert_eq!(answered.await, Ok(Ok(7)));
        assert!(matches!(poll_once(async { 8 }), Ok(8)));
    }
}
