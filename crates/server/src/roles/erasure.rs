//! The erasure of people: one job a process, which runs what was asked for, here or on another node.
//!
//! The store leases each erasure to one node. Every step is a row of small commits that may be repeated, so a job that ends in
//! the middle, by `kill -9` or because a dependency is away, is run again from its beginning. Decides nothing: each store of
//! what a person left is asked to erase it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chat::{Chat, Uploads};
use ingest::Ingest;
use store::Store;
use store::erasure::{Erasure, ErasureStatus};

/// How often the store is asked for erasures that other nodes left.
const LOOK: Duration = Duration::from_secs(2);
/// An erasure is another node's, or this one's after a kill, when its node has not renewed the lease for this long, in
/// milliseconds.
const LEASE_MS: i64 = 8_000;
/// How often a node renews it.
const RENEWAL: Duration = Duration::from_secs(2);
/// Rows of one commit.
const BATCH: usize = 200;
/// Attempts, and the longest pause between two, in milliseconds. All of them take a day.
const ATTEMPTS_MAX: u32 = 150;
const PAUSE_MS_MAX: i64 = 600_000;

/// All that keeps something of a person.
pub struct Eraser {
    pub ingest: Arc<Ingest>,
    pub chat: Arc<Chat>,
    pub uploads: Arc<Uploads>,
    pub store: Arc<dyn Store>,
}

impl Eraser {
    /// Runs erasures until it is dropped.
    pub async fn run(self) {
        loop {
            match self.next().await {
                Ok(true) => {}
                // The store has logged and counted its failure.
                Ok(false) | Err(_) => {
                    let requested = self.ingest.erasure_requested.notified();
                    let _ = tokio::time::timeout(LOOK, requested).await;
                }
            }
        }
    }

    /// Runs one erasure; false when there is none to run.
    async fn next(&self) -> Result<bool, store::StoreError> {
        let now_ms = self.ingest.clock.now_ms();
        let Some(erasure) = self.store.claim_erasure(now_ms, now_ms + LEASE_MS).await? else { return Ok(false) };
        match self.erase_while_leased(&erasure).await {
            Ok(()) => {
                self.store.end_erasure(erasure.id, ErasureStatus::Done).await?;
                tracing::info!(id = %erasure.id, "a person was erased");
            }
            Err(error) if erasure.attempts + 1 >= ATTEMPTS_MAX => {
                tracing::error!(id = %erasure.id, %error, "gave an erasure up; ask for it again");
                self.store.end_erasure(erasure.id, ErasureStatus::Failed).await?;
            }
            Err(error) => {
                let pause_ms = 1_000_i64.saturating_mul(1 << erasure.attempts.min(20)).min(PAUSE_MS_MAX);
                tracing::warn!(id = %erasure.id, %error, pause_ms, "an erasure did not come to its end; will go on");
                self.store.renew_erasure(erasure.id, self.ingest.clock.now_ms() + pause_ms).await?;
            }
        }
        Ok(true)
    }

    async fn erase_while_leased(&self, erasure: &Erasure) -> anyhow::Result<()> {
        let mut erased = pin!(self.erase(erasure));
        let mut beat = tokio::time::interval(RENEWAL);
        loop {
            tokio::select! {
                done = &mut erased => return done,
                _ = beat.tick() => {
                    let until_ms = self.ingest.clock.now_ms() + LEASE_MS;
                    // Should it end all the same, two nodes erase the same, each batch once.
                    let _ = self.store.renew_erasure(erasure.id, until_ms).await;
                }
            }
        }
    }

    async fn erase(&self, erasure: &Erasure) -> anyhow::Result<()> {
        let Erasure { id, user_id, .. } = erasure;
        // With an archive the store erases what lies in objects, too.
        self.ingest.erase_from_rooms(erasure).await?;
        self.erase_messages(erasure).await?;
        self.erase_uploads(erasure).await?;
        let now_ms = self.ingest.clock.now_ms();
        while self.store.erase_profile(user_id, now_ms, BATCH).await? > 0 {}
        // Last: the steps before it may have written about the person.
        while self.store.erase_audit(user_id, now_ms, BATCH, *id).await? > 0 {}
        Ok(())
    }

    async fn erase_messages(&self, Erasure { id, user_id, .. }: &Erasure) -> anyhow::Result<()> {
        let (mut after, now_ms) = (None::<Box<str>>, self.ingest.clock.now_ms());
        loop {
            let erased = self.store.erase_messages(user_id, after.as_deref(), now_ms, BATCH, *id).await?;
            self.chat.notify_erased(&erased.messages).await;
            match erased.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn erase_uploads(&self, Erasure { id, user_id, .. }: &Erasure) -> anyhow::Result<()> {
        loop {
            let uploads = self.store.uploads_of(user_id, BATCH).await?;
            for upload in &uploads {
                self.uploads.remove_bytes(*upload).await?;
                self.store.erase_upload(*upload, *id).await?;
            }
            if uploads.len() < BATCH {
                return Ok(());
            }
        }
    }
}
