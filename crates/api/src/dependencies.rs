//! The node's dependencies and their state.
//!
//! The server lists them with a check for each; `/readyz` and the periodic upkeep run the checks. The code that uses a
//! dependency decides what happens without it; this module knows only whether the node can serve at all.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use model::Metrics;
use serde::Serialize;
use utoipa::ToSchema;

/// A dependency that has not answered within this time is away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks a dependency whether it is available.
type Ask = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// Records that wait in the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolDepth {
    /// Records to hand over.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records set aside because the sink refused them.
    pub aside: u64,
}

/// The list of a node's dependencies.
pub struct Dependencies {
    shape: &'static str,
    list: Vec<Dependency>,
    spool: Option<Box<dyn Fn() -> SpoolDepth + Send + Sync>>,
    metrics: Arc<Metrics>,
}

struct Dependency {
    name: &'static str,
    required: bool,
    ask: Ask,
}

/// The state of the dependencies at one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Which of the shapes this node is.
    pub shape: &'static str,
    /// Name of each dependency, and whether it was available.
    pub dependencies: Vec<(&'static str, bool)>,
    /// Whether all required ones were available.
    pub can_serve: bool,
    /// The spool's depth, where there is a spool.
    pub spool: Option<SpoolDepth>,
}

impl Dependencies {
    /// An empty list for a node of this shape.
    #[must_use]
    pub fn new(shape: &'static str, metrics: Arc<Metrics>) -> Self {
        Self { shape, list: Vec::new(), spool: None, metrics }
    }

    /// Adds a dependency without which this node cannot serve.
    #[must_use]
    pub fn required<F>(self, name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.with(name, true, ask)
    }

    /// Adds a dependency without which this node serves on, degraded.
    #[must_use]
    pub fn optional<F>(self, name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.with(name, false, ask)
    }

    /// Adds the spool: while records wait in it the node is degraded.
    #[must_use]
    pub fn spool(mut self, depth: impl Fn() -> SpoolDepth + Send + Sync + 'static) -> Self {
        self.spool = Some(Box::new(depth));
        self
    }

    fn with<F>(mut self, name: &'static str, required: bool, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.list.push(Dependency { name, required, ask: Box::new(move || Box::pin(ask())) });
        self
    }

    /// Checks all dependencies concurrently and publishes the answers as metrics. Takes a second at most.
    pub async fn check(&self) -> Readiness {
        let answers = join_all(self.list.iter().map(Dependency::answers)).await;
        let named = self.list.iter().zip(&answers);
        for (dependency, up) in named.clone() {
            self.metrics.dependency_up.get_or_create(&vec![("name", dependency.name)]).set(i64::from(*up));
        }
        Readiness {
            shape: self.shape,
            can_serve: named.clone().all(|(dependency, up)| *up || !dependency.required),
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

impl Readiness {
    /// Whether a dependency is away or records wait in the spool: the node serves, with less.
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

    /// State by name of each dependency, and of the spool where there is one.
    pub(crate) fn states(&self) -> BTreeMap<&'static str, DependencyState> {
        let state = |up: bool| DependencyState { state: if up { "ok" } else { "away" }, spool: SpoolCounts::default() };
        let mut states: BTreeMap<_, _> = self.dependencies.iter().map(|(name, up)| (*name, state(*up))).collect();
        if let Some(SpoolDepth { records, bytes, aside }) = self.spool {
            let state = if records + aside > 0 { "waiting" } else { "ok" };
            let spool = SpoolCounts { records: Some(records), bytes: Some(bytes), aside: Some(aside) };
            states.insert("spool", DependencyState { state, spool });
        }
        states
    }
}

/// The counts of [`SpoolDepth`], which only the spool has.
#[derive(Default, Serialize, ToSchema)]
struct SpoolCounts {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bytes: Option<u64>,
    /// Records set aside because the sink refused them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    aside: Option<u64>,
}

/// A dependency in the answer of `/readyz`.
#[derive(Serialize, ToSchema)]
pub(crate) struct DependencyState {
    #[schema(pattern = "^(ok|away|waiting)$")]
    state: &'static str,
    #[serde(flatten)]
    spool: SpoolCounts,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use prometheus_client::registry::Registry;
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_an_optional_one_the_node_is_degraded_and_without_a_required_one_unavailable() {
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let (store, redis) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let (asks_store, asks_redis) = (store.clone(), redis.clone());
        let dependencies = Dependencies::new("redis", metrics.clone())
            .required("number", move || std::future::ready(asks_store.load(Ordering::Relaxed)))
            .optional("redis", move || {
                let up = asks_redis.load(Ordering::Relaxed);
                // One that is away may as well never answer.
                async move { if up { true } else { std::future::pending().await } }
            });
        assert_eq!(dependencies.check().await.status(), "ready");
        redis.store(false, Ordering::Relaxed);
        let readiness = dependencies.check().await;
        assert_eq!((readiness.status(), readiness.can_serve), ("degraded", true));
        assert_eq!(
            serde_json::to_value(readiness.states()).expect("plain data"),
            json!({ "number": { "state": "ok" }, "redis": { "state": "away" } })
        );
        assert_eq!(metrics.dependency_up.get_or_create(&vec![("name", "redis")]).get(), 0);
        store.store(false, Ordering::Relaxed);
        assert_eq!(dependencies.check().await.status(), "unavailable");
    }

    #[tokio::test]
    async fn while_something_waits_in_the_spool_the_node_is_degraded() {
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let depth = |records| SpoolDepth { records, bytes: 10 * records, aside: 0 };
        let with = |records| Dependencies::new("redis", metrics.clone()).spool(move || depth(records));
        assert_eq!(with(0).check().await.status(), "ready");
        let readiness = with(3).check().await;
        assert_eq!(readiness.status(), "degraded");
        let spool = json!({ "state": "waiting", "records": 3, "bytes": 30, "aside": 0 });
        assert_eq!(serde_json::to_value(readiness.states()).expect("plain data"), json!({ "spool": spool }));
    }
}
