//! The clock of several nodes: Redis's.
//!
//! Cursors follow places that are made of time, on whatever node. A node whose own clock is wrong would put its comments
//! where nobody looks any more, or make others skip theirs; so no node's own clock is asked.

use std::sync::Arc;
use std::time::Duration;

use model::{Clock, Metrics, SystemClock};
use redis_client::Redis;
use tokio::time::sleep;

/// Between looks at this machine's own clock.
const LOOK: Duration = Duration::from_secs(5);
/// It is wrong when it is off by more.
const OFF_MS: u64 = 1_000;

/// Redis's clock, once there is a connection; says when this machine's own is off.
pub(super) fn shared(redis: &Redis, metrics: &Arc<Metrics>) -> Arc<dyn Clock> {
    let clock = Arc::new(redis.clock());
    tokio::spawn(compare(clock.clone(), metrics.clone()));
    clock
}

async fn compare(shared: Arc<dyn Clock>, metrics: Arc<Metrics>) {
    let mut told = false;
    loop {
        let off_ms = SystemClock.now_ms() - shared.now_ms();
        metrics.clock_off_ms.set(off_ms);
        let is_off = off_ms.unsigned_abs() > OFF_MS;
        match (is_off, told) {
            (true, false) => tracing::warn!(off_ms, "this machine's clock is wrong; that of Redis is used"),
            (false, true) => tracing::info!(off_ms, "this machine's clock is right again"),
            _ => {}
        }
        told = is_off;
        sleep(LOOK).await;
    }
}
