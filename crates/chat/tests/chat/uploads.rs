//! What becomes of uploads over time: those that a message refers to stay, the others go after a day.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use chat::{Attachments, ChatError, LinkSigner, SignedLink, UploadDraft, UploadParts, Uploads};
use futures::{StreamExt, stream};
use model::chat::{ConversationId, MsgType, Recipient};
use model::snowflake::EPOCH_MS;
use model::{Identity, Level, ManualClock, Metrics, Snowflake, SnowflakeGenerator, UserId};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use state::MemoryRateLimiter;
use store::chat::{ChatStore, NewMessage};
use store::sqlite::SqliteStore;

const HOUR_MS: i64 = 3_600_000;

struct World {
    uploads: Uploads,
    store: Arc<SqliteStore>,
    archive: Arc<InMemory>,
    clock: Arc<ManualClock>,
    _data: tempfile::TempDir,
}

fn world() -> World {
    let data = tempfile::tempdir().expect("a directory");
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = Arc::new(SqliteStore::open(&data.path().join("barrage.db"), metrics).expect("a store"));
    let clock = Arc::new(ManualClock::at(EPOCH_MS + HOUR_MS));
    let archive = Arc::new(InMemory::new());
    let settings = settings::Uploads {
        image_bytes_max: 100,
        video_bytes_max: 100,
        file_bytes_max: 100,
        types: vec!["image/png".into()],
        ..Default::default()
    };
    let uploads = Uploads::new(UploadParts {
        settings,
        store: store.clone(),
        archive: archive.clone(),
        part_bytes: 1024 * 1024,
        message_filter: Arc::new(|_, text, _| Ok(text.to_owned())),
        signer: LinkSigner::new(b"secret"),
        rate_limiter: Arc::new(MemoryRateLimiter::default()),
        ids: Arc::new(SnowflakeGenerator::new(clock.clone(), 1, None)),
        clock: clock.clone(),
    });
    World { uploads, store, archive, clock, _data: data }
}

fn who(name: &str) -> Identity {
    Identity {
        user_id: UserId::new(name).expect("an id"),
        username: name.into(),
        level: Level::Normal,
        rooms: None,
        expires_at_ms: None,
        issued_at_ms: 0,
        standing: None,
    }
}

impl World {
    async fn announce(&self) -> SignedLink {
        let draft =
            UploadDraft { msg_type: MsgType::Image, content_type: "image/png".into(), size_bytes: 5, name: None };
        self.uploads.announce(&who("alice"), draft).await.expect("announced").1
    }

    async fn bring(&self, ticket: &SignedLink, parts: &[&'static str]) -> chat::Result<()> {
        let parts: Vec<_> = parts.iter().map(|part| Ok::<_, Infallible>(Bytes::from_static(part.as_bytes()))).collect();
        self.uploads.receive(ticket, "image/png", stream::iter(parts)).await
    }

    async fn send(&self, id: Snowflake) {
        let message = NewMessage {
            id: Snowflake(id.0 + 1_000),
            conversation_id: ConversationId(Snowflake(id.0 + 2_000)),
            client_msg_id: id.to_string().into(),
            from_user: who("alice").user_id,
            from_name: "alice".into(),
            to: Recipient::User(who("bob").user_id),
            content: id.to_string().into(),
            msg_type: MsgType::Image,
            created_at_ms: EPOCH_MS,
            outbox: false,
            reply_to: None,
            uploads: Vec::new(),
        };
        self.store.append_messages(vec![message]).await.expect("stored");
    }

    async fn is_there(&self, id: Snowflake) -> bool {
        let path = format!("{:02}/{id}", id.0 % 100).into();
        let bytes = self.archive.get_opts(&path, object_store::GetOptions::new()).await.is_ok();
        let known = self.uploads.show(&who("alice"), id).await.is_ok();
        assert_eq!(bytes, known, "{id}: row and bytes go together");
        known
    }

    async fn usable(&self, ticket: &SignedLink) -> bool {
        let alice = who("alice").user_id;
        self.uploads.usable(&alice, &ticket.id.to_string(), MsgType::Image).await.expect("no error")
    }
}

#[tokio::test]
async fn what_a_message_refers_to_stays_and_the_rest_goes() {
    let world = world();
    let (sent, unsent, unfinished) = (world.announce().await, world.announce().await, world.announce().await);
    world.bring(&sent, &["he", "llo"]).await.expect("brought");
    world.bring(&unsent, &["hello"]).await.expect("brought");
    assert!(matches!(world.bring(&unfinished, &["hel"]).await, Err(ChatError::Invalid(_))));
    assert!(world.usable(&sent).await && !world.usable(&unfinished).await);
    world.send(sent.id).await;
    world.clock.advance(23 * HOUR_MS);
    world.uploads.sweep().await;
    assert!(world.is_there(sent.id).await && world.is_there(unsent.id).await);
    assert!(!world.usable(&unsent).await, "too late to be sent for the first time");
    assert!(world.usable(&sent).await, "what was sent can be sent again");

    world.clock.advance(2 * HOUR_MS);
    world.uploads.sweep().await;
    assert!(world.is_there(sent.id).await && !world.is_there(unsent.id).await && !world.is_there(unfinished.id).await);

    let message = Snowflake(sent.id.0 + 1_000);
    world.store.recall(&who("alice").user_id, message, EPOCH_MS, 0, false).await.expect("recalled");
    world.uploads.sweep().await;
    assert!(!world.is_there(sent.id).await, "a recall ends it at the next sweep");
}

#[tokio::test]
async fn a_link_ends_and_bytes_stay_as_they_first_came() {
    let world = world();
    let ticket = world.announce().await;
    world.bring(&ticket, &["hello"]).await.expect("brought");
    world.bring(&ticket, &["other"]).await.expect("nothing is changed");
    let (_, read) = world.uploads.show(&who("alice"), ticket.id).await.expect("shown");
    let served = world.uploads.read(&read, |size| 0..size).await.expect("read");
    let parts: Vec<_> = served.bytes.map(|part| part.expect("no error")).collect().await;
    assert_eq!(parts.concat(), b"hello");
    world.clock.advance(HOUR_MS);
    assert!(matches!(world.uploads.read(&read, |size| 0..size).await, Err(ChatError::Forbidden(_))));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_too_slowly_lose_their_place() {
    let world = world();
    let link = world.announce().await;
    // A byte in twelve seconds is never silent for long.
    let drip = stream::unfold(0, async |n| {
        tokio::time::sleep(std::time::Duration::from_secs(12)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), n + 1))
    });
    let begun = tokio::time::Instant::now();
    let refused = world.uploads.receive(&link, "image/png", drip.boxed()).await;
    assert!(matches!(refused, Err(ChatError::Invalid(_))), "{refused:?}");
    assert_eq!(begun.elapsed().as_secs(), 15, "the place is free again");
    world.bring(&link, &["hello"]).await.expect("another attempt");
}
