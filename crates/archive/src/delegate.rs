//! Passes on what the archive does not touch: every other noun of the store.

use std::sync::Arc;

use async_trait::async_trait;
use model::chat::*;
use model::*;
use store::archive::*;
use store::audit::AuditLine;
use store::chat::*;
use store::erasure::*;
use store::keys::*;
use store::notes::*;
use store::samples::*;
use store::uploads::*;
use store::*;

use crate::archived_store::ArchivedStore;

macro_rules! delegate {
    ($($port:ident { $($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* })*) => {
        $(
            #[async_trait]
            impl $port for ArchivedStore {
                $(
                    async fn $name(&self, $($arg: $type),*) -> store::Result<$answer> {
                        self.inner.$name($($arg),*).await
                    }
                )*
            }
        )*
    };
}

delegate! {
    RoomStore {
        rooms(limit: usize) -> Vec<RoomRow>;
        open_rooms(owner: Option<&UserId>, limit: usize) -> Vec<RoomRow>;
        rooms_of(scope: &RoomScope, limit: usize) -> Vec<RoomRow>;
        room(room: &RoomId) -> Option<RoomRow>;
        put_room(room: &RoomId, before: &RoomSettings, after: &RoomSettings) -> bool;
        start_session(session: &Session) -> Option<Session>;
        end_session(room: &RoomId, only: Option<Snowflake>, at_ms: i64, close: bool) -> Option<Session>;
        sessions_before(room: &RoomId, before: Option<Snowflake>, limit: usize) -> Vec<SessionRow>;
        session(id: Snowflake) -> Option<Session>;
        set_session_title(id: Snowflake, title: &str) -> ();
    }
    ModerationStore {
        hold(review: &Review, client_msg_id: Option<&str>) -> Option<FirstAnswer>;
        review(id: Snowflake) -> Option<Review>;
        reviews(status: Option<ReviewStatus>, of: &RoomScope, after: Option<Snowflake>, limit: usize) -> Vec<Review>;
        erase_reviews(of: ReviewsOf<'_>, by: &str, at_ms: i64, receipt: Option<Snowflake>) -> Vec<Review>;
        held_of(user: &UserId, max: u32) -> u32;
        claim(id: Snowflake, by: &str, now_ms: i64, until_ms: i64) -> Option<Review>;
        due_reviews(until_ms: i64, limit: usize) -> Vec<Review>;
        forget_reviews(ids: &[Snowflake]) -> ();
        decide(id: Snowflake, status: ReviewStatus, by: &str, at_ms: i64) -> Option<Review>;
        undecide(id: Snowflake) -> ();
        words() -> Vec<(WordList, String)>;
        set_words(words: Vec<(WordList, String)>) -> ();
        add_word(list: WordList, word: &str) -> ();
        remove_word(list: WordList, word: &str) -> bool;
        add_ban(ban: &Ban) -> ();
        bans(now_ms: i64, of: &RoomScope, before: Option<Snowflake>, limit: usize) -> Vec<Ban>;
        bans_of(user: &UserId, now_ms: i64) -> Vec<Ban>;
        ban(id: Snowflake) -> Option<Ban>;
        remove_ban(id: Snowflake) -> Option<Ban>;
        revoke_tokens(user: &UserId, before_ms: i64) -> ();
        revocations() -> Vec<(UserId, i64)>;
        audit(entries: Vec<AuditEntry>) -> ();
        audit_trail(query: &AuditQuery) -> Vec<(i64, AuditEntry)>;
        audit_lines(after: i64, limit: usize) -> Vec<AuditLine>;
        audit_head() -> Option<(i64, String)>;
    }
    EventStore {
        keep_event(event: &Event, users: &[UserId]) -> ();
        users_with_events(limit: usize) -> Vec<UserId>;
        unacknowledged(user: &UserId, limit: usize) -> Vec<Event>;
        acknowledge(user: &UserId, event: Snowflake) -> ();
    }
    ChatStore {
        append_messages(batch: Vec<NewMessage>) -> Vec<Appended>;
        first_message(user: &UserId, client_msg_id: &str) -> Option<Arc<Message>>;
        message(user: &UserId, id: Snowflake) -> Option<Seen>;
        mark_read(user: &UserId, message: Snowflake, at_ms: i64) -> Option<Marked>;
        recall(user: &UserId, message: Snowflake, at_ms: i64, not_before_ms: i64, keep_content: bool) -> Recalled;
        edit(edit: Edit) -> Edited;
        react(react: React) -> Reacted;
        sync(query: SyncQuery) -> SyncPage;
        reached_since(users: &[UserId], since_ms: i64) -> Vec<UserId>;
        device_cursor(user: &UserId, device: &DeviceId) -> Option<Snowflake>;
        set_device_cursor(user: &UserId, device: &DeviceId, since: Snowflake, at_ms: i64) -> ();
        conversations(user: &UserId, before: Option<ConversationCursor>, limit: usize) -> Vec<Conversation>;
        history(user: &UserId, conversation: ConversationId, before: Option<Snowflake>, limit: usize) -> Option<HistoryPage>;
        search(query: SearchQuery) -> Option<SearchPage>;
        addable(actor: &UserId, users: &[UserId], contacts_only: bool) -> Vec<UserId>;
        create_group(group: NewGroup) -> ();
        change_group(group: GroupId, actor: &UserId, wish: GroupWish, at_ms: i64) -> GroupAnswer;
        group(user: &UserId, group: GroupId) -> Option<Group>;
        group_members(user: &UserId, group: GroupId, after: Option<&UserId>, limit: usize) -> Option<Vec<GroupMember>>;
        membership(group: GroupId) -> Membership;
        sight(seen: Vec<Sighting>) -> ();
        set_hidden(user: &UserId, hidden: bool) -> ();
        profiles(asker: &UserId, users: &[UserId]) -> Vec<Profile>;
        block(user: &UserId, other: &UserId, at_ms: i64, max: usize) -> bool;
        unblock(user: &UserId, other: &UserId) -> ();
        blocks(user: &UserId, limit: usize) -> Vec<UserId>;
        outbox_due(now_ms: i64, lease_ms: i64, limit: usize) -> Vec<OutboxCall>;
        outbox_retry(message: Snowflake, next_at_ms: i64) -> ();
        outbox_done(messages: &[Snowflake]) -> ();
        expire_chat(not_before_ms: i64, devices_not_before_ms: i64, limit: usize) -> u64;
    }
    KeyStore {
        publish_keys(user: &UserId, keys: NewKeys, limits: KeyLimits) -> u32;
        device_keys(user: &UserId) -> Vec<(DeviceKeys, u32)>;
        claim_keys(user: &UserId, devices: Option<Vec<DeviceId>>) -> Vec<ClaimedKey>;
        remove_keys(user: &UserId, device: &DeviceId) -> bool;
    }
    UploadStore {
        announce_upload(upload: &Upload, check_at_ms: i64, quota: DayQuota) -> bool;
        upload(id: Snowflake) -> Option<Upload>;
        complete_upload(id: Snowflake, size_bytes: u64) -> bool;
        sees_upload(user: &UserId, id: Snowflake) -> bool;
        stale_uploads(now_ms: i64, next_check_ms: i64, limit: usize) -> Vec<Snowflake>;
        remove_upload(id: Snowflake) -> ();
    }
    DocumentStore {
        add_document(document: &Document) -> bool;
        replace_document(document: &Document) -> bool;
        document(kind: &'static str, id: &str) -> Option<Document>;
        documents(query: DocumentQuery<'_>) -> Vec<Document>;
        remove_document(kind: &'static str, id: &str) -> bool;
        mark_document(kind: &'static str, id: &str, user: &UserId, value: i64) -> bool;
        document_marks(kind: &'static str, id: &str) -> Vec<(i64, u64)>;
    }
    NoteStore {
        add_note(note: &Note, max: usize) -> bool;
        note(id: Snowflake) -> Option<Note>;
        notes(user: &UserId, of: &RoomScope, before: Option<Snowflake>, limit: usize) -> Vec<Note>;
        remove_note(id: Snowflake) -> bool;
    }
    SampleStore {
        add_samples(comments: Vec<Arc<Comment>>) -> ();
        samples(query: &SampleQuery) -> Vec<Sample>;
        erase_samples(user: &UserId, room: Option<&RoomId>, limit: usize) -> u64;
        expire_samples(before_ms: i64, limit: usize) -> u64;
    }
    MaintenanceStore {
        high_water() -> (u64, Option<Snowflake>);
        probe() -> ();
        expire(now_ms: i64, default_days: u32, client_msg_days: u32, limit: usize) -> u64;
    }
    ArchiveStore {
        archived_segments(session: Snowflake) -> Vec<ArchivedSegment>;
        archived_segments_of_room(room: &RoomId, numbers: (i64, i64), by_user: Option<i64>) -> Vec<ArchivedSegment>;
        archived_segments_of_user(room: Option<&RoomId>, user: i64) -> Vec<ArchivedSegment>;
        archived_places(ids: &[Snowflake]) -> Vec<(Snowflake, ArchivedSegment)>;
        archived_likes_of_user(user: &UserId, room: Option<&RoomId>, limit: usize) -> Vec<Snowflake>;
        archived_likes(room: &RoomId, session: Option<Snowflake>, limit: usize) -> Vec<(Snowflake, u64)>;
        sessions_to_archive(until_ms: i64, limit: usize) -> Vec<Session>;
        changed_archives(limit: usize) -> Vec<Session>;
        archived_sessions(after: Snowflake, limit: usize) -> Vec<(Session, u64)>;
        hot_fingerprints(session: Snowflake) -> Vec<(i64, Fingerprint)>;
        hot_segment(session: Snowflake, n: i64) -> HotSegment;
        segments_with_unseen(session: Snowflake) -> Vec<i64>;
        swap_segment(session: Snowflake, n: i64, old: Option<&str>, new: Option<&ArchivedSegment>, ids: &[Snowflake], users: &[i64]) -> bool;
        drop_archived(segment: &ArchivedSegment, comments: &[(Snowflake, u64)]) -> u64;
        thaw(segment: &ArchivedSegment, comments: &[Positioned]) -> ();
        finish_archive(session: Snowflake) -> bool;
        finish_restore(session: Snowflake, at_ms: i64) -> bool;
        expired_segments(now_ms: i64, default_days: u32, limit: usize) -> Vec<(ArchivedSegment, Snowflake)>;
        named_objects(objects: &[String]) -> Vec<String>;
    }
}

#[async_trait]
impl ErasureStore for ArchivedStore {
    async fn request_erasure(&self, id: Snowflake, user: &UserId, at_ms: i64) -> store::Result<()> {
        self.inner.request_erasure(id, user, at_ms).await
    }

    async fn erasure(&self, id: Snowflake) -> store::Result<Option<ErasureReceipt>> {
        self.inner.erasure(id).await
    }

    async fn claim_erasure(&self, now_ms: i64, until_ms: i64) -> store::Result<Option<Erasure>> {
        self.inner.claim_erasure(now_ms, until_ms).await
    }

    async fn renew_erasure(&self, id: Snowflake, until_ms: i64) -> store::Result<()> {
        self.inner.renew_erasure(id, until_ms).await
    }

    async fn end_erasure(&self, id: Snowflake, status: ErasureStatus) -> store::Result<()> {
        self.inner.end_erasure(id, status).await
    }

    async fn note_purge(&self, user: &UserId, room: Option<&RoomId>, before_ms: i64) -> store::Result<()> {
        self.inner.note_purge(user, room, before_ms).await
    }

    async fn purged_rooms(&self, erasure: Snowflake, limit: usize) -> store::Result<Vec<RoomId>> {
        self.inner.purged_rooms(erasure, limit).await
    }

    async fn purged_room_told(&self, erasure: Snowflake, room: &RoomId) -> store::Result<()> {
        self.inner.purged_room_told(erasure, room).await
    }

    async fn erase_messages(
        &self,
        user: &UserId,
        after: Option<&str>,
        at_ms: i64,
        limit: usize,
        receipt: Snowflake,
    ) -> store::Result<ErasedMessages> {
        self.inner.erase_messages(user, after, at_ms, limit, receipt).await
    }

    async fn uploads_of(&self, user: &UserId, limit: usize) -> store::Result<Vec<Snowflake>> {
        self.inner.uploads_of(user, limit).await
    }

    async fn erase_upload(&self, id: Snowflake, receipt: Snowflake) -> store::Result<()> {
        self.inner.erase_upload(id, receipt).await
    }

    async fn erase_audit(&self, user: &UserId, at_ms: i64, limit: usize, receipt: Snowflake) -> store::Result<u64> {
        self.inner.erase_audit(user, at_ms, limit, receipt).await
    }

    async fn erase_profile(&self, user: &UserId, at_ms: i64, limit: usize) -> store::Result<u64> {
        self.inner.erase_profile(user, at_ms, limit).await
    }

    async fn erase_likes(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
        receipt: Option<Snowflake>,
    ) -> store::Result<Vec<Snowflake>> {
        self.thaw_liked_by(user, room, limit).await?;
        self.inner.erase_likes(user, room, limit, receipt).await
    }
}
