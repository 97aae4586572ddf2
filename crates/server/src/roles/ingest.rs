//! The role `ingest`: the rules for comments, and where they run.
//!
//! Every process loads the rules, because settings, bans and words also decide who may read. Only nodes with the role admit
//! comments; others hand them over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::ingest::filter::WordFilter;
use ::ingest::{
    AccessChanges, Admission, Bans, CountingLog, Delays, Ingest, Interactions, KeyFiles, PendingEventUsers, People,
    Raids, Rooms, SampleLog, Screening, Tokens, WebhookLog, Webhooks, hot_rooms,
};
use anyhow::Context;
use model::moderation::Fallback;
use moderation::Classifier;
use outbound::guard;
use outbound::hook::{Dialect, Hook, HookSettings};
use outbound::sign::AddressHasher;

use crate::backends::{Backends, SharedLog};
use crate::config::Config;
use crate::server::Core;

/// Loads the rules from the store. Comments are counted on their way to the log, by room.
pub async fn load(
    core: &Core<'_>,
    backends: &Backends,
    tokens: Arc<Tokens>,
    secret: &str,
) -> anyhow::Result<Arc<Ingest>> {
    let Core { config, store, ids, clock, metrics, hot_rooms, .. } = core;
    tokio::spawn(hot_rooms::update_every_second(Arc::downgrade(hot_rooms), clock.clone()));
    let webhooks = Webhooks::open(store.clone(), ids.clone(), clock.clone(), metrics.clone()).await?;
    let log: Arc<dyn log::Log> = Arc::new(CountingLog::new(backends.logs.log.clone(), hot_rooms.clone()));
    let log: Arc<dyn log::Log> = Arc::new(WebhookLog::new(log, webhooks.clone()));
    let log: Arc<dyn log::Log> = match config.moderation.sample_one_in {
        0 => log,
        one_in => Arc::new(SampleLog::start(log, one_in, store.clone(), clock.clone(), metrics.clone())),
    };
    let rooms = Rooms::new(store.clone(), log.clone(), ids.clone(), clock.clone(), config.rooms.clone());
    rooms.load_live().await?;
    let bans = Bans::default();
    bans.reload_all(&**store, clock.now_ms()).await?;
    let (raids, said) = Raids::new();
    let review_listener = backends.logs.shared.as_ref().map(SharedLog::review_export);
    let ingest = Arc::new(Ingest {
        rooms,
        access_changes: AccessChanges::default(),
        tokens,
        bans,
        pending_event_users: PendingEventUsers::load(&**store).await?,
        filter: WordFilter::new(store.words().await?)?,
        limits: config.limits.clone(),
        anonymous_read: config.auth.anonymous_read,
        rate_limiter: backends.rate_limiter.clone(),
        reservations: backends.reservations.clone(),
        review_listener: review_listener.unwrap_or_else(|| Arc::new(|_, _| {})),
        store: store.clone(),
        log,
        ids: ids.clone(),
        clock: clock.clone(),
        delays: Delays::default(),
        people: People::default(),
        screening: screening(core, secret)?,
        raids,
        interactions: Interactions::default(),
        webhooks,
        webhooks_allow_private: config.webhooks.allow_private,
        erasure_requested: Default::default(),
        metrics: metrics.clone(),
    });
    tokio::spawn(Ingest::publish_delayed(Arc::downgrade(&ingest)));
    tokio::spawn(Ingest::run_interactions(Arc::downgrade(&ingest)));
    tokio::spawn(Ingest::store_moderators(Arc::downgrade(&ingest)));
    tokio::spawn(Ingest::watch_raids(Arc::downgrade(&ingest), said));
    Ok(ingest)
}

/// The keys that verify tokens, and the tokens that were revoked.
pub async fn load_tokens(core: &Core<'_>, secret: String) -> anyhow::Result<Arc<Tokens>> {
    let tokens = Arc::new(Tokens::new(Some(secret), key_files(core.config))?);
    for (user, before_ms) in core.store.revocations().await? {
        tokens.revoke(user, before_ms);
    }
    Ok(tokens)
}

/// Where comments of this node's clients are admitted.
pub fn admission(backends: &Backends, ingest: &Arc<Ingest>) -> Admission {
    match &backends.remote_ingest {
        Some(nodes) => Admission::Remote(nodes.clone()),
        None => Admission::Local(ingest.clone()),
    }
}

/// The hook, where one is configured.
fn screening(core: &Core<'_>, secret: &str) -> anyhow::Result<Screening> {
    let moderation = &core.config.moderation;
    let claim_ms = i64::from(moderation.claim_s) * 1_000;
    let classifier = (moderation.classifier == "builtin").then(Classifier::builtin).flatten();
    let Some(hook) = &core.config.moderation_hook else {
        let mut screening = Screening::new(classifier, None, Fallback::Allow, claim_ms);
        screening.raid_alarm = moderation.raid_alarm;
        screening.reasons.clone_from(&moderation.reasons);
        return Ok(screening);
    };
    let fallback = match hook.fallback.as_str() {
        "hold" => Fallback::Hold,
        "deny" => Fallback::Deny,
        _ => Fallback::Allow,
    };
    let settings = HookSettings {
        url: guard::check_url(&hook.url, hook.allow_private).context("moderation.hook.url")?,
        dialect: Dialect::load(&hook.dialect).context("moderation.hook.dialect")?,
        secret: hook.secret.clone(),
        budget: Duration::from_millis(hook.budget_ms.into()),
        batch_max: hook.batch_max,
        allow_private: hook.allow_private,
        breaker_failures: hook.breaker_failures,
        breaker_probe_ms: hook.breaker_probe_ms,
    };
    tracing::info!(dialect = hook.dialect, "asking a moderation hook about comments");
    let hook = Hook::start(settings, core.clock.clone(), core.metrics.clone())?;
    let mut screening = Screening::new(classifier, Some(hook), fallback, claim_ms);
    screening.raid_alarm = moderation.raid_alarm;
    screening.reasons.clone_from(&moderation.reasons);
    screening.address_hasher = Some(AddressHasher::new(secret.as_bytes()));
    Ok(screening)
}

fn key_files(config: &Config) -> KeyFiles {
    let given = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    KeyFiles { public_key_pem: given(&config.auth.public_key_file), jwks: given(&config.auth.jwks_file) }
}
