//! Work that rarely waits: begun on the caller's thread, and gone on with on Tokio only if it has to wait.
//!
//! With the shared state in memory nearly every check is answered at once, and a task for each would cost more than
//! the checks. Used by the gateway's shards and by [`crate::admit`]; the caller's thread must have entered the
//! runtime, because what waits may set timers. Never blocks. What goes on there is one user's, and so is a panic in it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use model::panics::contained;
use tokio::runtime::Handle;

/// A future that has been begun and had to wait.
pub type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Polls `work` once.
///
/// # Errors
/// It waits: somebody has to go on with it.
pub fn begin<T>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Waiting<T>> {
    let mut work = Box::pin(work);
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => Err(work),
    }
}

/// Does `work` here as far as it goes without waiting, and the rest on `runtime`.
pub fn run(runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    if let Err(waiting) = begin(work) {
        spawn(runtime, waiting);
    }
}

/// Does `work`, which is for one user, on `runtime`: a panic in it is that user's loss alone.
pub fn spawn(runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    runtime.spawn(contained(work));
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_waits_goes_on_elsewhere() {
        let (go, wait) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        run(&Handle::current(), async move { drop(tell.send(wait.await)) });
        go.send(7).expect("somebody waits");
        assert_eq!(told.await, Ok(Ok(7)));
        assert!(matches!(begin(async { 8 }), Ok(8)));
    }
}
