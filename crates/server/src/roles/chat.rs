//! Private and group chat, uploads and the notification hook: what the roles `gateway` and `api` both serve.

use std::sync::Arc;

use ::chat::{Chat, ChatPorts, Keys, LinkSigner, LocalUserFanout, MessageFilter, MessageScreen, UploadParts, Uploads};
use ::ingest::Ingest;
use anyhow::Context;
use archive::objects::Location;
use fanout::UserFanout;
use model::MsgType;
use webhook::Webhook;

use crate::backends::Backends;
use crate::config::{self, Config};
use crate::server::Core;

/// Chat as the edges use it.
pub struct ChatParts {
    pub chat: Arc<Chat>,
    pub uploads: Arc<Uploads>,
    pub keys: Arc<Keys>,
    /// Notifies people who are offline, if that is configured.
    pub hook: Option<Webhook>,
    /// The sockets of this node, by user.
    pub local_users: Arc<LocalUserFanout>,
}

/// Starts chat. `signer` signs the links of uploads.
pub fn start(
    core: &Core<'_>,
    backends: &Backends,
    ingest: &Arc<Ingest>,
    signer: LinkSigner,
) -> anyhow::Result<ChatParts> {
    let Core { config, ids, clock, metrics, .. } = core;
    let place = uploads_location(config)?;
    let uploads = Arc::new(Uploads::new(UploadParts {
        settings: config.uploads.clone(),
        store: backends.uploads.clone(),
        archive: place.open().context("cannot use the place for uploads")?,
        part_bytes: place.part_bytes(),
        message_filter: message_filter(ingest, config.chat.word_filter),
        signer,
        rate_limiter: backends.rate_limiter.clone(),
        ids: ids.clone(),
        clock: clock.clone(),
    }));
    let local_users = Arc::new(LocalUserFanout::new());
    let fanout: Arc<dyn UserFanout> = match &backends.cluster {
        Some(cluster) => cluster.user_fanout(&local_users)?,
        None => local_users.clone(),
    };
    let chat = Chat::start(ChatPorts {
        settings: config.chat.clone(),
        hook: config.hook.clone(),
        store: backends.chat.clone(),
        rate_limiter: backends.rate_limiter.clone(),
        presence: backends.presence.clone(),
        fanout,
        local_fanout: local_users.clone(),
        message_filter: message_filter(ingest, config.chat.word_filter),
        message_screen: config.moderation_hook.as_ref().filter(|hook| hook.chat).map(|_| message_screen(ingest)),
        attachments: uploads.clone(),
        ids: ids.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });
    let keys = Arc::new(Keys::new(backends.keys.clone(), backends.rate_limiter.clone(), clock.clone()));
    let hook = open_hook(core, backends, &chat)?;
    Ok(ChatParts { chat, uploads, keys, hook, local_users })
}

fn open_hook(core: &Core<'_>, backends: &Backends, chat: &Arc<Chat>) -> anyhow::Result<Option<Webhook>> {
    let hook = &core.config.hook;
    if hook.url.is_empty() {
        return Ok(None);
    }
    let hook =
        Webhook::new(hook.clone(), backends.chat.clone(), chat.clone(), core.clock.clone(), core.metrics.clone());
    hook.map(Some).context("cannot prepare the notification hook")
}

/// Where uploads lie. A directory syncs each file to the disk before it acknowledges it.
fn uploads_location(config: &Config) -> anyhow::Result<Location> {
    let (named, usual) = (&config.uploads.directory, config.server.data.join("uploads"));
    // Uploads of earlier versions are there, and stay readable.
    let location = match config::archive_location(config) {
        _ if !named.as_os_str().is_empty() => Location::Directory(named.clone()),
        Some(archive) if !usual.exists() => archive.within("uploads"),
        _ => Location::Directory(usual),
    };
    if let Location::Directory(path) = &location {
        crate::private::directory(path)?;
    }
    Ok(location)
}

/// What comments and messages have in common: bans and mutes that hold everywhere and, if it is configured, the word
/// lists. Only text that people read is filtered.
fn message_filter(ingest: &Arc<Ingest>, word_filter: bool) -> MessageFilter {
    let ingest = ingest.clone();
    Arc::new(move |who, text, msg_type| {
        let readable = word_filter && msg_type == MsgType::Text;
        ingest.filter_message(who, text, readable).map_err(Into::into)
    })
}

/// The moderation hook, asked about messages too.
fn message_screen(ingest: &Arc<Ingest>) -> MessageScreen {
    let ingest = ingest.clone();
    Arc::new(move |who, raw_text, text| {
        let ingest = ingest.clone();
        Box::pin(async move { ingest.screen_message(&who, &raw_text, text).await.map_err(Into::into) })
    })
}
