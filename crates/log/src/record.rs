//! Records as bytes, for other nodes: `proto/barrage/record/v1/record.proto`.
//!
//! Pure. What a newer node writes and this one does not understand is skipped, never fatal.

use std::str::FromStr;
use std::sync::Arc;

use model::{Comment, Kind, Level, Mode, RoomId, Session, Size, Snowflake, Style, UserId};
use prost::Message;

use crate::port::{Change, Entry, Position, Record};
pub(crate) use crate::proto::record::v1 as proto;

/// Entries of one room from one node.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The pushing node.
    pub source: String,
    /// The epoch of the node's counter for this room.
    pub epoch: u64,
    /// Number of the room's batch, from 1.
    pub seq: u64,
    /// The room.
    pub room_id: RoomId,
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// Comments sent since this moment (Unix milliseconds) reached the store only now.
    pub kept_late_since_ms: Option<i64>,
}

/// One record as it stands on a log outside of this process.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The record with its room and position.
    pub entry: Entry,
    /// Viewers already have it; only the store still needs it.
    pub delivered: bool,
}

impl Logged {
    /// The bytes; `None` for a snapshot, which every node makes itself and no log has.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let Self { entry, delivered } = self;
        let logged = proto::Logged {
            room_id: entry.room_id.to_string(),
            entry: Some(entry_out(entry)?),
            delivered: *delivered,
            block: Vec::new(),
        };
        Some(logged.encode_to_vec())
    }

    /// Decodes a record; `None` when a newer node wrote what this one does not understand.
    ///
    /// # Errors
    /// [`BadBatch`] when the bytes are malformed or name an impossible room.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, BadBatch> {
        let logged = proto::Logged::decode(bytes)?;
        let room_id = RoomId::new(&logged.room_id).map_err(|error| BadBatch::Room(error.to_string()))?;
        let entry = logged.entry.and_then(|entry| entry_in(entry, &room_id));
        Ok(entry.map(|entry| Self { entry, delivered: logged.delivered }))
    }
}

/// The field `block` of a message, with its length before it. A record by itself begins with its room, the first field.
const BLOCK: u8 = 4 << 3 | 2;

/// Encoded records that become one message.
#[derive(Debug, Default)]
pub struct Block {
    bytes: Vec<u8>,
}

impl Block {
    /// Adds a record of [`Logged::encode`].
    pub fn push(&mut self, logged: &[u8]) {
        self.bytes.push(BLOCK);
        // Memory always takes it.
        let _ = prost::encode_length_delimiter(logged.len(), &mut self.bytes);
        self.bytes.extend_from_slice(logged);
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The records of a message, whether it is a block or one record, each decoded by itself as [`Logged::decode`] does. What
/// follows a broken length cannot be read, and is one error.
pub fn decode_message(mut bytes: &[u8]) -> impl Iterator<Item = Result<Option<Logged>, BadBatch>> {
    let is_block = bytes.first() == Some(&BLOCK);
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let record = if is_block { next_of_block(&mut bytes) } else { Ok(std::mem::take(&mut bytes)) };
        is_over = bytes.is_empty() || record.is_err();
        Some(record.and_then(Logged::decode))
    })
}

fn next_of_block<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], BadBatch> {
    let (tag, mut rest) = bytes.split_first().ok_or(BadBatch::Block)?;
    let length = prost::decode_length_delimiter(&mut rest)?;
    if *tag != BLOCK || length > rest.len() {
        return Err(BadBatch::Block);
    }
    let (record, rest) = rest.split_at(length);
    *bytes = rest;
    Ok(record)
}

/// Malformed bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBatch {
    /// Not Protobuf.
    #[error("not a batch or record: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// An impossible name.
    #[error("an impossible room: {0}")]
    Room(String),
    /// A block whose records cannot be told apart.
    #[error("a block that is cut off or holds something else")]
    Block,
}

impl Batch {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let batch = proto::Batch {
            source: self.source.clone(),
            epoch: self.epoch,
            seq: self.seq,
            room_id: self.room_id.to_string(),
            entries: self.entries.iter().filter_map(entry_out).collect(),
            kept_late_since_ms: self.kept_late_since_ms.unwrap_or(0),
        };
        batch.encode_to_vec()
    }

    /// Decodes a batch, without the entries that this node does not understand.
    ///
    /// # Errors
    /// [`BadBatch`] when the bytes are malformed or name an impossible room.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadBatch> {
        let batch = proto::Batch::decode(bytes)?;
        let room_id = RoomId::new(&batch.room_id).map_err(|error| BadBatch::Room(error.to_string()))?;
        let entries = batch.entries.into_iter().filter_map(|entry| entry_in(entry, &room_id)).collect();
        let kept_late_since_ms = Some(batch.kept_late_since_ms).filter(|ms| *ms != 0);
        Ok(Self { source: batch.source, epoch: batch.epoch, seq: batch.seq, room_id, entries, kept_late_since_ms })
    }
}

fn entry_out(entry: &Entry) -> Option<proto::Entry> {
    let Position { epoch, offset } = entry.position;
    Some(proto::Entry { epoch, offset, record: Some(record_out(&entry.record)?) })
}

fn record_out(record: &Record) -> Option<proto::entry::Record> {
    use proto::entry::Record as Out;
    Some(match record {
        Record::Comment { comment, client_msg_id, keep } => Out::Comment(proto::CommentEntered {
            comment: Some(comment_out(comment)),
            client_msg_id: client_msg_id.as_deref().unwrap_or_default().to_owned(),
            keep: *keep,
        }),
        Record::Early(comment) => Out::Early(comment_out(comment)),
        Record::Liked { comment, taken_back: false } => Out::Liked(comment_out(comment)),
        Record::Liked { comment, taken_back: true } => Out::Unliked(comment_out(comment)),
        Record::Event(event) => Out::Event(serde_json::to_string(&**event).ok()?),
        Record::Settings(settings) => Out::Settings(serde_json::to_string(&**settings).ok()?),
        Record::SessionStarted(session) => Out::SessionStarted(session_out(session)),
        Record::SessionEnded(session) => Out::SessionEnded(session_out(session)),
        Record::Revoked { user_id, before_ms } => {
            Out::Revoked(proto::Revoked { user_id: user_id.to_string(), before_ms: *before_ms })
        }
        Record::Banned { user_id, room_id, until_ms, reason } => Out::Banned(proto::Banned {
            user_id: user_id.to_string(),
            everywhere: room_id.is_none(),
            until_ms: *until_ms,
            reason: reason.clone(),
        }),
        Record::Changed(change) => Out::Changed(change_out(change)),
    })
}

fn change_out(change: &Change) -> proto::Changed {
    let (subject, user_id, before_ms) = match change {
        Change::Words => (proto::Subject::Words, None, 0),
        Change::Bans(user) => (proto::Subject::Bans, Some(user), 0),
        Change::PendingEvents(user) => (proto::Subject::Awaited, Some(user), 0),
        Change::Room => (proto::Subject::Room, None, 0),
        Change::Purged { user_id, before_ms } => (proto::Subject::Purged, Some(user_id), *before_ms),
    };
    proto::Changed { subject: subject.into(), user_id: user_id.map(UserId::to_string).unwrap_or_default(), before_ms }
}

fn comment_out(comment: &Comment) -> proto::Comment {
    proto::Comment {
        id: comment.id.0,
        session_id: comment.session_id.map_or(0, |id| id.0),
        user_id: comment.user_id.to_string(),
        username: comment.username.to_string(),
        level: level_out(comment.level).into(),
        content: comment.content.to_string(),
        mode: mode_out(comment.style.mode).into(),
        color: comment.style.color,
        size: size_out(comment.style.size).into(),
        kind: kind_out(comment.kind).into(),
        mentions: comment.mentions.iter().map(UserId::to_string).collect(),
        created_at_ms: comment.created_at_ms,
        offset_ms: comment.offset_ms,
        like_count: comment.like_count,
        shadow: comment.shadow,
    }
}

fn session_out(session: &Session) -> proto::Session {
    let Session { id, started_at_ms, ended_at_ms, explicit, .. } = *session;
    proto::Session { id: id.0, started_at_ms, ended_at_ms, explicit }
}

fn entry_in(entry: proto::Entry, room_id: &RoomId) -> Option<Entry> {
    let position = Position { epoch: entry.epoch, offset: entry.offset };
    Some(Entry { room_id: room_id.clone(), position, record: record_in(entry.record?, room_id)? })
}

fn record_in(record: proto::entry::Record, room_id: &RoomId) -> Option<Record> {
    use proto::entry::Record as In;
    Some(match record {
        In::Comment(entered) => Record::Comment {
            comment: comment_in(entered.comment?, room_id)?,
            client_msg_id: Some(entered.client_msg_id.into_boxed_str()).filter(|id| !id.is_empty()),
            keep: entered.keep,
        },
        In::Early(comment) => Record::Early(comment_in(comment, room_id)?),
        In::Liked(comment) => Record::Liked { comment: comment_in(comment, room_id)?, taken_back: false },
        In::Unliked(comment) => Record::Liked { comment: comment_in(comment, room_id)?, taken_back: true },
        In::Event(json) => Record::Event(Arc::new(serde_json::from_str(&json).ok()?)),
        In::Settings(json) => Record::Settings(Arc::new(serde_json::from_str(&json).ok()?)),
        In::SessionStarted(session) => Record::SessionStarted(Arc::new(session_in(session, room_id))),
        In::SessionEnded(session) => Record::SessionEnded(Arc::new(session_in(session, room_id))),
        In::Revoked(revoked) => Record::Revoked { user_id: user(&revoked.user_id)?, before_ms: revoked.before_ms },
        In::Banned(banned) => Record::Banned {
            user_id: user(&banned.user_id)?,
            room_id: (!banned.everywhere).then(|| room_id.clone()),
            until_ms: banned.until_ms,
            reason: banned.reason,
        },
        In::Changed(changed) => Record::Changed(change_in(&changed)?),
    })
}

fn change_in(changed: &proto::Changed) -> Option<Change> {
    Some(match changed.subject() {
        proto::Subject::Unspecified => return None,
        proto::Subject::Words => Change::Words,
        proto::Subject::Bans => Change::Bans(user(&changed.user_id)?),
        proto::Subject::Awaited => Change::PendingEvents(user(&changed.user_id)?),
        proto::Subject::Room => Change::Room,
        proto::Subject::Purged => Change::Purged { user_id: user(&changed.user_id)?, before_ms: changed.before_ms },
    })
}

fn user(text: &str) -> Option<UserId> {
    UserId::from_str(text).ok()
}

fn comment_in(comment: proto::Comment, room_id: &RoomId) -> Option<Arc<Comment>> {
    let (level, mode, size, kind) = (comment.level(), comment.mode(), comment.size(), comment.kind());
    Some(Arc::new(Comment {
        id: Snowflake(comment.id),
        room_id: room_id.clone(),
        session_id: Some(Snowflake(comment.session_id)).filter(|id| id.0 > 0),
        user_id: user(&comment.user_id)?,
        username: comment.username.into(),
        level: level_in(level),
        content: comment.content.into(),
        style: Style { mode: mode_in(mode), color: comment.color, size: size_in(size) },
        kind: kind_in(kind),
        mentions: comment.mentions.iter().map(|text| user(text)).collect::<Option<_>>()?,
        created_at_ms: comment.created_at_ms,
        offset_ms: comment.offset_ms,
        like_count: comment.like_count,
        shadow: comment.shadow,
    }))
}

fn session_in(session: proto::Session, room_id: &RoomId) -> Session {
    let proto::Session { id, started_at_ms, ended_at_ms, explicit } = session;
    Session { id: Snowflake(id), room_id: room_id.clone(), started_at_ms, ended_at_ms, explicit }
}

/// Converts between an enumeration of the model and that of the schema, in both directions.
macro_rules! both_ways {
    ($out:ident, $in:ident, $type:ident { $($variant:ident),+ }) => {
        fn $out(value: $type) -> proto::$type {
            match value { $($type::$variant => proto::$type::$variant),+ }
        }
        fn $in(value: proto::$type) -> $type {
            match value { $(proto::$type::$variant => $type::$variant),+ }
        }

        impl From<$type> for proto::$type {
            fn from(value: $type) -> Self {
                $out(value)
            }
        }

        impl From<proto::$type> for $type {
            fn from(value: proto::$type) -> Self {
                $in(value)
            }
        }
    };
}

both_ways!(level_out, level_in, Level { Normal, Vip, Owner, Moderator, Admin });
both_ways!(mode_out, mode_in, Mode { Scroll, Top, Bottom });
both_ways!(size_out, size_in, Size { Normal, Small, Large });
both_ways!(kind_out, kind_in, Kind { Comment, Imported, Recorded });

#[cfg(test)]
mod tests {
    use model::{Audience, Event, EventBody, RankingEntry, RoomSettings};
    use proptest::prelude::*;

    use super::*;

    fn room() -> RoomId {
        RoomId::new("hall").expect("an id")
    }

    fn any_user() -> impl Strategy<Value = UserId> {
        "[A-Za-z0-9_:@-][A-Za-z0-9_.:@-]{0,63}".prop_map(|text| UserId::new(&text).expect("an id"))
    }

    prop_compose! {
        fn any_comment()(
            id in 1u64..=i64::MAX as u64, session in prop::option::of(1u64..=i64::MAX as u64), user_id in any_user(),
            (username, content) in (".{0,32}", ".{0,200}"), created_at_ms: i64, offset_ms: i64, like_count: u64, shadow: bool,
            level in prop::sample::select(vec![Level::Normal, Level::Vip, Level::Owner, Level::Moderator, Level::Admin]),
            mode in prop::sample::select(vec![Mode::Scroll, Mode::Top, Mode::Bottom]),
            size in prop::sample::select(vec![Size::Small, Size::Normal, Size::Large]),
            kind in prop::sample::select(vec![Kind::Comment, Kind::Imported, Kind::Recorded]),
            color in 0u32..=0xFF_FF_FF, mentions in prop::collection::vec(any_user(), 0..4),
        ) -> Arc<Comment> {
            Arc::new(Comment {
                id: Snowflake(id), room_id: room(), session_id: session.map(Snowflake), user_id,
                username: username.into(), level, content: content.into(), style: Style { mode, color, size }, kind,
                mentions: mentions.into(), created_at_ms, offset_ms, like_count, shadow,
            })
        }
    }

    fn any_change() -> impl Strategy<Value = Change> {
        prop_oneof![
            Just(Change::Words),
            Just(Change::Room),
            (any_user(), any::<i64>()).prop_map(|(user_id, before_ms)| Change::Purged { user_id, before_ms }),
            any_user().prop_map(Change::Bans),
            any_user().prop_map(Change::PendingEvents),
        ]
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let session = (1u64..9, any::<i64>(), any::<Option<i64>>(), any::<bool>()).prop_map(
            |(id, started_at_ms, ended_at_ms, explicit)| {
                Arc::new(Session { id: Snowflake(id), room_id: room(), started_at_ms, ended_at_ms, explicit })
            },
        );
        let body = prop_oneof![
            ".{0,20}".prop_map(|content| EventBody::Announcement { content }),
            (any_user(), ".{1,20}", any::<u64>()).prop_map(|(user_id, username, score)| EventBody::Ranking {
                entries: Arc::new([RankingEntry { rank: 1, user_id, username: username.into(), score }]),
            }),
            any_comment().prop_map(|comment| EventBody::HotComments { comments: Arc::new([comment]) }),
        ];
        let event = (any_user(), any::<i64>(), body).prop_map(|(user_id, at_ms, body)| {
            Record::Event(Arc::new(Event {
                id: Snowflake(7),
                room_id: room(),
                audience: Audience::Everyone,
                critical_for: Audience::Users(vec![user_id]),
                at_ms,
                body,
            }))
        });
        prop_oneof![
            (any_comment(), prop::option::of("[^\u{0}]{1,64}"), any::<bool>()).prop_map(|(comment, id, keep)| {
                Record::Comment { comment, client_msg_id: id.map(String::into_boxed_str), keep }
            }),
            (any_comment(), any::<bool>()).prop_map(|(comment, taken_back)| Record::Liked { comment, taken_back }),
            any_comment().prop_map(Record::Early),
            event,
            (".{0,20}", any::<u16>()).prop_map(|(name, reader_groups)| Record::Settings(Arc::new(RoomSettings {
                name,
                reader_groups,
                ..RoomSettings::default()
            }))),
            session.clone().prop_map(Record::SessionStarted),
            session.prop_map(Record::SessionEnded),
            (any_user(), any::<i64>()).prop_map(|(user_id, before_ms)| Record::Revoked { user_id, before_ms }),
            (any_user(), any::<bool>(), any::<i64>(), prop::option::of(".{0,20}")).prop_map(
                |(user_id, here, until_ms, reason)| Record::Banned {
                    user_id,
                    room_id: here.then(room),
                    until_ms,
                    reason
                }
            ),
            any_change().prop_map(Record::Changed),
        ]
    }

    proptest! {
        #[test]
        fn what_goes_out_comes_in_as_it_was(records in prop::collection::vec(any_record(), 0..8), seq: u64) {
            let entry = |(offset, record)| Entry { room_id: room(), position: Position { epoch: 3, offset }, record };
            let entries = (1..).zip(records).map(entry).collect();
            let batch = Batch { source: "node-1".into(), epoch: 9, seq, room_id: room(), entries, kept_late_since_ms: Some(3) };
            let back = Batch::decode(&batch.encode()).expect("ours");
            prop_assert_eq!(format!("{batch:?}"), format!("{back:?}"));
        }

        #[test]
        fn one_record_by_itself_does_so_too(record in any_record(), delivered: bool) {
            let entry = Entry { room_id: room(), position: Position { epoch: 1, offset: 9 }, record };
            let logged = Logged { entry, delivered };
            let back = Logged::decode(&logged.encode().expect("it has bytes")).expect("ours").expect("known");
            prop_assert_eq!(format!("{logged:?}"), format!("{back:?}"));
        }

        #[test]
        fn a_block_comes_in_as_its_records_and_a_record_as_itself(
            records in prop::collection::vec((any_record(), any::<bool>()), 1..8),
        ) {
            let logged = |(offset, (record, delivered))| {
                Logged { entry: Entry { room_id: room(), position: Position { epoch: 1, offset }, record }, delivered }
            };
            let all: Vec<_> = (1..).zip(records).map(logged).collect();
            let mut block = Block::default();
            for logged in &all {
                let bytes = logged.encode().expect("it has bytes");
                block.push(&bytes);
                let alone: Vec<_> = decode_message(&bytes).map(|back| back.expect("ours").expect("known")).collect();
                prop_assert_eq!(format!("{alone:?}"), format!("{:?}", [logged]));
            }
            let back: Vec<_> = decode_message(block.bytes()).map(|back| back.expect("ours").expect("known")).collect();
            prop_assert_eq!(format!("{all:?}"), format!("{back:?}"));
            // The schema says the same as this hand-written framing.
            let schema = proto::Logged::decode(block.bytes()).expect("a message of the schema");
            prop_assert_eq!(schema.block.len(), all.len());
        }

        #[test]
        fn no_bytes_are_fatal(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Batch::decode(&bytes);
            let _ = Logged::decode(&bytes);
            prop_assert!(decode_message(&bytes).count() <= 200);
            bytes.insert(0, BLOCK);
            prop_assert!(decode_message(&bytes).count() <= 201);
        }
    }

    #[test]
    fn one_poisoned_record_spoils_no_other_of_its_block() {
        let revoked = |user_id: &str| Logged {
            entry: Entry {
                room_id: room(),
                position: Position { epoch: 1, offset: 9 },
                record: Record::Revoked { user_id: UserId::new(user_id).expect("an id"), before_ms: 5 },
            },
            delivered: false,
        };
        let (ann, bo) = (revoked("ann").encode().expect("bytes"), revoked("bo").encode().expect("bytes"));
        let impossible = proto::Logged { room_id: "no room".into(), ..proto::Logged::default() }.encode_to_vec();
        let unknown = proto::Logged { room_id: "hall".into(), ..proto::Logged::default() }.encode_to_vec();
        let mut block = Block::default();
        [&ann[..], b"\xff\xff", &impossible, &unknown, &bo].into_iter().for_each(|record| block.push(record));
        let read = |bytes: &[u8]| {
            let kind = |record| match record {
                Ok(Some(Logged { entry: Entry { record: Record::Revoked { user_id, .. }, .. }, .. })) => {
                    user_id.to_string()
                }
                Ok(_) => "skipped".to_owned(),
                Err(_) => "bad".to_owned(),
            };
            decode_message(bytes).map(kind).collect::<Vec<_>>()
        };
        assert_eq!(read(block.bytes()), ["ann", "bad", "bad", "skipped", "bo"]);
        assert_eq!(read(&block.bytes()[..block.bytes().len() - 1]), ["ann", "bad", "bad", "skipped", "bad"], "cut off");
        assert_eq!(read(&[block.bytes(), b"\x0a"].concat()).last().map(String::as_str), Some("bad"), "something else");
    }

    #[test]
    fn what_a_newer_node_adds_is_left_out() {
        let unknown = proto::Entry { epoch: 1, offset: 2, record: None };
        let known = proto::Entry {
            record: Some(proto::entry::Record::Revoked(proto::Revoked { user_id: "ann".into(), before_ms: 5 })),
            ..unknown.clone()
        };
        let event = proto::Entry {
            record: Some(proto::entry::Record::Event(r#"{"kind": "of tomorrow"}"#.into())),
            ..unknown.clone()
        };
        let subject = proto::Changed { subject: 99, ..proto::Changed::default() };
        let changed = proto::Entry { record: Some(proto::entry::Record::Changed(subject)), ..unknown.clone() };
        let entries = vec![unknown, event, changed, known];
        let batch = proto::Batch { room_id: "hall".into(), entries, ..proto::Batch::default() };
        let back = Batch::decode(&batch.encode_to_vec()).expect("a batch");
        assert_eq!(back.entries.len(), 1);
    }
}
