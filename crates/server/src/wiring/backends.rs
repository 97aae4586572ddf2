//! What a shape consists of, opened.

use std::sync::Arc;

use anyhow::Context;
use api::Dependencies;
use bus::{Places, Position};
use model::{Clock, Metrics, SnowflakeGenerator};
use state::{Gate, MemoryGate, MemoryPresence, MemoryReservations, Presence, Reservations};
use store::Store;
use store::chat::ChatStore;
use store::keys::KeyStore;
use store::sqlite::SqliteStore;
use store::uploads::UploadStore;

use crate::config::Config;

/// The backends of a node.
pub(super) struct Backends {
    pub store: Arc<dyn Store>,
    pub chat: Arc<dyn ChatStore>,
    pub keys: Arc<dyn KeyStore>,
    pub uploads: Arc<dyn UploadStore>,
    pub gate: Arc<dyn Gate>,
    pub reservations: Arc<dyn Reservations>,
    pub presence: Arc<dyn Presence>,
    pub ids: Arc<SnowflakeGenerator>,
    pub places: Places,
    pub dependencies: Dependencies,
}

impl Backends {
    /// Opens those of the shape that is configured.
    pub async fn open(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        anyhow::ensure!(config.redis.url.is_empty(), "several nodes over redis.url are not wired yet");
        Self::alone(config, clock, metrics).await
    }

    /// Everything in this process.
    async fn alone(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let store = open_sqlite(config, metrics)?;
        let (offset, last_id) = store.high_water().await?;
        let probe = |store: &Arc<SqliteStore>| {
            let store = store.clone();
            move || {
                let store = store.clone();
                async move { store.probe().await.is_ok() }
            }
        };
        // The log is as durable as the store that commits it.
        let dependencies =
            Dependencies::new("alone", metrics.clone()).needs("store", probe(&store)).needs("log", probe(&store));
        Ok(Self {
            store: store.clone(),
            chat: store.clone(),
            keys: store.clone(),
            uploads: store,
            gate: Arc::new(MemoryGate::new(state::memory::KEYS_MAX)),
            reservations: Arc::new(MemoryReservations::new(state::memory::ANSWERS_MAX)),
            presence: Arc::new(MemoryPresence::default()),
            ids: Arc::new(SnowflakeGenerator::new(clock.clone(), config.server.node_id, last_id)),
            places: Places::Counted(Position { epoch: 1, offset }),
            dependencies,
        })
    }
}

fn open_sqlite(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<SqliteStore>> {
    let data = &config.server.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let path = data.join("barrage.sqlite");
    let store = SqliteStore::open(&path, metrics.clone()).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Arc::new(store))
}
