//! The audit trail of a deployment, read beside its server.

use std::sync::Arc;

use anyhow::Context;
use model::{Clock, Metrics, SystemClock};
use prometheus_client::registry::Registry;
use store::audit::AuditLine;
use store::mysql::MySqlStore;
use store::samples::{Sample, SampleQuery};
use store::sqlite::AuditFile;
use store::{ModerationStore, SampleStore};

use super::SQLITE_FILE;
use crate::config::Config;

/// Entries read at once.
const PAGE: usize = 1_000;

/// Where the trail is.
pub enum AuditTrail {
    File(AuditFile),
    Database(tokio::runtime::Runtime, Box<MySqlStore>),
}

impl AuditTrail {
    /// Opens the trail of the configured store.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        if config.store.url.is_empty() {
            let path = config.server.data.join(SQLITE_FILE);
            let file = AuditFile::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(Self::File(file));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let store = runtime.block_on(MySqlStore::open(&config.store.url, SystemClock.now_ms(), metrics));
        Ok(Self::Database(runtime, Box::new(store.context("store.url")?)))
    }

    fn lines(&self, after: i64) -> anyhow::Result<Vec<AuditLine>> {
        match self {
            Self::File(file) => Ok(file.lines(after, PAGE)?),
            Self::Database(runtime, store) => Ok(runtime.block_on(store.audit_lines(after, PAGE))?),
        }
    }

    /// Number and hash of the newest entry.
    pub fn head(&self) -> anyhow::Result<Option<(i64, String)>> {
        match self {
            Self::File(file) => Ok(file.head()?),
            Self::Database(runtime, store) => Ok(runtime.block_on(store.audit_head())?),
        }
    }

    /// Calls `with` with each entry, oldest first.
    pub fn each(&self, mut with: impl FnMut(&AuditLine) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut after = 0;
        loop {
            let lines = self.lines(after)?;
            let Some(last) = lines.last() else { return Ok(()) };
            after = last.line;
            lines.iter().try_for_each(&mut with)?;
        }
    }

    /// Calls `with` with each sample of passed comments, oldest first.
    pub fn each_sample(&self, mut with: impl FnMut(&Sample) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut after = None;
        loop {
            let query = SampleQuery { after, limit: PAGE, ..SampleQuery::default() };
            let samples = match self {
                Self::File(file) => file.samples(&query)?,
                Self::Database(runtime, store) => runtime.block_on(store.samples(&query))?,
            };
            let Some(last) = samples.last() else { return Ok(()) };
            after = Some(last.id);
            samples.iter().try_for_each(&mut with)?;
        }
    }
}
