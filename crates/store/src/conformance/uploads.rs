//! What every backend of uploads must do; called as [`super::suite`] is.

use model::Snowflake;
use model::chat::{ConversationId, MsgType, Recipient};

use super::{Case, DAY_MS, START_MS, user};
use crate::chat::{ChatStore, NewMessage};
use crate::uploads::{DayQuota, Upload, UploadStore};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: UploadStore + ChatStore>(fresh: impl Fn() -> S) -> Case {
    uploads_come_back_as_they_were(&fresh()).await?;
    a_user_announces_so_many_bytes_a_day(&fresh()).await?;
    what_was_recalled_ends(&fresh()).await?;
    who_sees_a_message_sees_its_upload(&fresh()).await?;
    an_encrypted_message_names_its_uploads(&fresh()).await?;
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

/// Ann sends Bob an upload, or a text with its number.
async fn send(store: &impl ChatStore, n: u64, upload: u64, msg_type: MsgType) -> Case {
    send_naming(store, n, &upload.to_string(), msg_type, Vec::new()).await
}

async fn send_naming(
    store: &impl ChatStore,
    n: u64,
    content: &str,
    msg_type: MsgType,
    uploads: Vec<Snowflake>,
) -> Case {
    let message = NewMessage {
        id: Snowflake(n),
        conversation_id: ConversationId(Snowflake(n + 1)),
        client_msg_id: format!("c{n}").into(),
        from_user: user("ann"),
        from_name: "Ann".into(),
        to: Recipient::User(user("bob")),
        content: content.into(),
        msg_type,
        created_at_ms: START_MS,
        outbox: false,
        reply_to: None,
        uploads,
    };
    store.append_messages(vec![message]).await.map(drop)
}

const PLENTY: DayQuota = DayQuota { day: 20_000, bytes_max: 1 << 40 };

async fn a_user_announces_so_many_bytes_a_day(store: &impl UploadStore) -> Case {
    let picture = |n| Upload { size_bytes: 40, ..picture(n) };
    let quota = |day| DayQuota { day, bytes_max: 100 };
    assert!(store.announce_upload(&picture(1), START_MS, quota(5)).await?);
    assert!(store.announce_upload(&picture(2), START_MS, quota(5)).await?);
    assert!(!store.announce_upload(&picture(3), START_MS, quota(5)).await?, "120 bytes");
    assert_eq!(store.upload(Snowflake(3)).await?, None);
    store.remove_upload(Snowflake(1)).await?;
    assert!(!store.announce_upload(&picture(3), START_MS, quota(5)).await?, "what was removed counts");
    let others = Upload { owner: user("bob"), ..picture(3) };
    assert!(store.announce_upload(&others, START_MS, quota(5)).await?, "of each user");
    assert!(store.announce_upload(&picture(4), START_MS, quota(6)).await?, "the next day");
    let large = Upload { size_bytes: 101, ..picture(5) };
    assert!(!store.announce_upload(&large, START_MS, quota(7)).await?, "more than a day's");
    Ok(())
}

async fn what_was_recalled_ends<S: UploadStore + ChatStore>(store: &S) -> Case {
    for n in [1, 2] {
        store.announce_upload(&picture(n), START_MS, PLENTY).await?;
        store.complete_upload(Snowflake(n), 5).await?;
    }
    send(store, 100, 1, MsgType::Image).await?;
    send(store, 200, 2, MsgType::Image).await?;
    send(store, 300, 2, MsgType::Image).await?;
    let complete =
        async |n| Ok::<_, crate::StoreError>(store.upload(Snowflake(n)).await?.is_some_and(|it| it.complete));
    store.recall(&user("ann"), Snowflake(100), START_MS, 0, true).await?;
    store.recall(&user("ann"), Snowflake(200), START_MS, 0, true).await?;
    assert!(!complete(1).await? && complete(2).await?, "another message refers to the second");
    store.recall(&user("ann"), Snowflake(300), START_MS, 0, false).await?;
    assert!(!complete(2).await?);
    Ok(())
}

async fn uploads_come_back_as_they_were(store: &impl UploadStore) -> Case {
    let nameless = Upload { name: None, msg_type: MsgType::Video, ..picture(8) };
    for upload in [picture(7), nameless] {
        assert_eq!(store.upload(upload.id).await?, None);
        store.announce_upload(&upload, START_MS, PLENTY).await?;
        assert_eq!(store.upload(upload.id).await?.as_ref(), Some(&upload));
        store.complete_upload(upload.id, 3).await?;
        let complete = Upload { complete: true, size_bytes: 3, ..upload.clone() };
        assert_eq!(store.upload(upload.id).await?, Some(complete));
        store.remove_upload(upload.id).await?;
        assert_eq!(store.upload(upload.id).await?, None);
    }
    Ok(())
}

async fn who_sees_a_message_sees_its_upload<S: UploadStore + ChatStore>(store: &S) -> Case {
    store.announce_upload(&picture(7), START_MS, PLENTY).await?;
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

async fn an_encrypted_message_names_its_uploads<S: UploadStore + ChatStore>(store: &S) -> Case {
    store.announce_upload(&picture(7), START_MS, PLENTY).await?;
    store.complete_upload(Snowflake(7), 3).await?;
    send_naming(store, 100, "{}", MsgType::Encrypted, vec![Snowflake(7)]).await?;
    for (name, sees) in [("ann", true), ("bob", true), ("cat", false)] {
        assert_eq!(store.sees_upload(&user(name), Snowflake(7)).await?, sees, "{name}");
    }
    let stale = |now_ms| store.stale_uploads(now_ms, now_ms + DAY_MS, 10);
    assert!(stale(START_MS + 1).await?.is_empty(), "it is needed");
    store.recall(&user("ann"), Snowflake(100), START_MS, 0, true).await?;
    assert!(!store.sees_upload(&user("bob"), Snowflake(7)).await?, "a recall ends it");
    assert_eq!(stale(START_MS + 1 + DAY_MS).await?, [Snowflake(7)]);
    Ok(())
}

async fn what_nobody_needs_is_stale<S: UploadStore + ChatStore>(store: &S) -> Case {
    for n in 1..=4 {
        store.announce_upload(&picture(n), START_MS + n.cast_signed(), PLENTY).await?;
        if n != 2 {
            store.complete_upload(Snowflake(n), 5).await?;
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
    assert_eq!(stale(START_MS + 3 + DAY_MS).await?, [Snowflake(1), Snowflake(4)], "what was recalled goes first");
    Ok(())
}
