//! What this node leans on, and how each of it stands.
//!
//! The server's wiring says what there is and how to ask; `/readyz` and the upkeep ask. Whoever uses a dependency says
//! in its own code what happens without it: here is only whether the node can serve at all then.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use model::Metrics;
use serde_json::{Map, Value, json};

/// A dependency that has not answered by then is away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks a dependency whether it is there.
type Ask = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// What waits in the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolDepth {
    /// Records to be handed over.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records put aside, because they were refused.
    pub aside: u64,
}

/// All of them.
pub struct Dependencies {
    shape: &'static str,
    list: Vec<Dependency>,
    spool: Option<Box<dyn Fn() -> SpoolDepth + Send + Sync>>,
    metrics: Arc<Metrics>,
}

struct Dependency {
    name: &'static str,
    needed: bool,
    ask: Ask,
}

/// How they stood when they were asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which of the shapes this node is.
    pub shape: &'static str,
    /// Each by its name, and whether it was there.
    pub dependencies: Vec<(&'static str, bool)>,
    /// Whether all that are needed were there.
    pub can_serve: bool,
    /// What waits in the spool, where there is one.
    pub spool: Option<SpoolDepth>,
}

impl Dependencies {
    /// None yet, for a node of this shape.
    #[must_use]
    pub fn new(shape: &'static str, metrics: Arc<Metrics>) -> Self {
        Self { shape, list: Vec::new(), spool: None, metrics }
    }

    /// One without which this node cannot serve.
    #[must_use]
    pub fn needs<F>(self, name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.with(name, true, ask)
    }

    /// One without which this node goes on, degraded.
    #[must_use]
    pub fn spares<F>(self, name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.with(name, false, ask)
    }

    /// The spool; while something waits in it the node is degraded.
    #[must_use]
    pub fn spool(mut self, depth: impl Fn() -> SpoolDepth + Send + Sync + 'static) -> Self {
        self.spool = Some(Box::new(depth));
        self
    }

    fn with<F>(mut self, name: &'static str, needed: bool, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.list.push(Dependency { name, needed, ask: Box::new(move || Box::pin(ask())) });
        self
    }

    /// Asks all of them, side by side, and shows the answers in the metrics. Takes a second at most.
    pub async fn look(&self) -> Standing {
        let answers = join_all(self.list.iter().map(Dependency::answers)).await;
        let named = self.list.iter().zip(&answers);
        for (dependency, up) in named.clone() {
            self.metrics.dependency_up.get_or_create(&vec![("name", dependency.name)]).set(i64::from(*up));
        }
        Standing {
            shape: self.shape,
            can_serve: named.clone().all(|(dependency, up)| *up || !dependency.needed),
            dependencies: named.map(|(dependency, up)| (dependency.name, *up)).collect(),
            spool: self.spool.as_ref().map(|depth| depth()),
        }
    }
}

impl Dependency {
    async fn answers(&self) -> bool {
        tokio::time::timeout(ANSWER_TIMEOUT, (self.ask)()).await.unwrap_or(false)
    }
}

impl Standing {
    /// Whether something is away, or waits to be handed over: all is served, some of it in a lesser way.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.dependencies.iter().any(|(_, up)| !up) || self.spool.is_some_and(|spool| spool != SpoolDepth::default())
    }

    /// `ready`, `degraded` or `unavailable`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match (self.can_serve, self.is_degraded()) {
            (false, _) => "unavailable",
            (true, true) => "degraded",
            (true, false) => "ready",
        }
    }

    /// `{name: {"state": "ok" | "away"}, …}`; the spool also says how much waits.
    pub(crate) fn to_json(&self) -> Value {
        let state = |up: bool| json!({ "state": if up { "ok" } else { "away" } });
        let named = self.dependencies.iter().map(|(name, up)| ((*name).to_owned(), state(*up)));
        let mut all: Map<String, Value> = named.collect();
        if let Some(SpoolDepth { records, bytes, aside }) = self.spool {
            let state = if records + aside > 0 { "waiting" } else { "ok" };
            let spool = json!({ "state": state, "records": records, "bytes": bytes, "aside": aside });
            all.insert("spool".to_owned(), spool);
        }
        Value::Object(all)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_spared_degrades_and_what_is_needed_ends_service() {
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let (store, redis) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let (asks_store, asks_redis) = (store.clone(), redis.clone());
        let dependencies = Dependencies::new("redis", metrics.clone())
            .needs("number", move || std::future::ready(asks_store.load(Ordering::Relaxed)))
            .spares("redis", move || {
                let up = asks_redis.load(Ordering::Relaxed);
                // One that is away may as well never answer.
                async move { if up { true } else { std::future::pending().await } }
            });
        assert_eq!(dependencies.look().await.status(), "ready");
        redis.store(false, Ordering::Relaxed);
        let standing = dependencies.look().await;
        assert_eq!((standing.status(), standing.can_serve), ("degraded", true));
        assert_eq!(standing.to_json(), json!({ "number": { "state": "ok" }, "redis": { "state": "away" } }));
        assert_eq!(metrics.dependency_up.get_or_create(&vec![("name", "redis")]).get(), 0);
        store.store(false, Ordering::Relaxed);
        assert_eq!(dependencies.look().await.status(), "unavailable");
    }

    #[tokio::test]
    async fn while_something_waits_in_the_spool_the_node_is_degraded() {
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let depth = |records| SpoolDepth { records, bytes: 10 * records, aside: 0 };
        let with = |records| Dependencies::new("redis", metrics.clone()).spool(move || depth(records));
        assert_eq!(with(0).look().await.status(), "ready");
        let standing = with(3).look().await;
        assert_eq!(standing.status(), "degraded");
        let spool = json!({ "state": "waiting", "records": 3, "bytes": 30, "aside": 0 });
        assert_eq!(standing.to_json(), json!({ "spool": spool }));
    }
}
