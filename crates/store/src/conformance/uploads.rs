//! What every backend of uploads must do; called as [`super::suite`] is.

use model::Snowflake;
use model::chat::{ConversationId, MsgType, Recipient};

use super::{Case, DAY_MS, START_MS, user};
use crate::chat::{ChatStore, NewMessage};
use crate::uploads::{Upload, UploadStore};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: UploadStore + ChatStore>(fresh: impl Fn() -> S) -> Case {
    uploads_come_back_as_they_were(&fresh()).await?;
    who_sees_a_message_sees_its_upload(&fresh()).await?;
    what_nobody_needs_is_stale(&fresh()).await
}

fn picture(n: u64) -> Upload {
    Upload {
        id: Snowflake(n),
        owner: user("ann"),
        msg_type: MsgType::Image,
        content_type: "image/png".into(),
        size_bytes: 3_000_000_000,
        name: Some("猫.png".into()),
        complete: false,
    }
}

/// Ann sends an upload to Bob, or says its number.
async fn send(store: &impl ChatStore, n: u64, upload: u64, msg_type: MsgType) -> Case {
    let message = NewMessage {
        id: Snowflake(n),
        conversation_id: ConversationId(Snowflake(n + 1)),
        client_msg_id: format!("c{n}").into(),
        from_user: user("ann"),
        from_name: "Ann".into(),
        to: Recipient::User(user("bob")),
        content: upload.to_string().into(),
        msg_type,
        created_at_ms: START_MS,
        outbox: false,
    };
    store.append_messages(vec![message]).await.map(drop)
}

async fn uploads_come_back_as_they_were(store: &impl UploadStore) -> Case {
    let nameless = Upload { name: None, msg_type: MsgType::Video, ..picture(8) };
    for upload in [picture(7), nameless] {
        assert_eq!(store.upload(upload.id).await?, None);
        store.announce_upload(&upload, START_MS).await?;
        assert_eq!(store.upload(upload.id).await?.as_ref(), Some(&upload));
        store.complete_upload(upload.id).await?;
        assert_eq!(store.upload(upload.id).await?, Some(Upload { complete: true, ..upload.clone() }));
        store.remove_upload(upload.id).await?;
        assert_eq!(store.upload(upload.id).await?, None);
    }
    Ok(())
}

async fn who_sees_a_message_sees_its_upload<S: UploadStore + ChatStore>(store: &S) -> Case {
    store.announce_upload(&picture(7), START_MS).await?;
    send(store, 100, 7, MsgType::Text).await?;
    assert!(!store.sees_upload(&user("bob"), Snowflake(7)).await?, "a number is only a number");
    send(store, 200, 7, MsgType::Image).await?;
    for (name, sees) in [("ann", true), ("bob", true), ("cat", false)] {
        assert_eq!(store.sees_upload(&user(name), Snowflake(7)).await?, sees, "{name}");
    }
    store.recall(&user("ann"), Snowflake(200), START_MS, 0, true).await?;
    assert!(!store.sees_upload(&user("bob"), Snowflake(7)).await?, "recalled");
    Ok(())
}

async fn what_nobody_needs_is_stale<S: UploadStore + ChatStore>(store: &S) -> Case {
    for n in 1..=4 {
        store.announce_upload(&picture(n), START_MS + n.cast_signed()).await?;
        if n != 2 {
            store.complete_upload(Snowflake(n)).await?;
        }
    }
    send(store, 100, 1, MsgType::Image).await?;
    send(store, 200, 2, MsgType::Image).await?;
    let stale = |now_ms| store.stale_uploads(now_ms, now_ms + DAY_MS, 10);
    assert_eq!(stale(START_MS + 3).await?, [Snowflake(2), Snowflake(3)], "without bytes, and without a message");
    store.remove_upload(Snowflake(2)).await?;
    store.remove_upload(Snowflake(3)).await?;
    assert_eq!(stale(START_MS + 5).await?, [Snowflake(4)], "the first is needed for another day");
    store.recall(&user("ann"), Snowflake(100), START_MS, 0, false).await?;
    assert_eq!(stale(START_MS + 3 + DAY_MS).await?, [Snowflake(4), Snowflake(1)], "longest due first");
    Ok(())
}
