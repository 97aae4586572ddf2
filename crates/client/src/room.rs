//! One joined room: what it asked for, and the last comment seen, so that the connection's task can join it again where it left
//! off. Opens and closes no connection.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::{Client, read};
use crate::driver::Command;
use crate::feed::{self, Reader, Source as FeedSource, Store};
use crate::seen::SeenIds;
use crate::types::{Comment, CommentAck, CommentDraft, Event, Id, JoinOptions, Joined};
use crate::{Error, retry};

/// Ids remembered to drop repeats: well over what a resume can bring back.
const SEEN: usize = 4_096;
/// Comments that may wait for a reader.
const COMMENTS_MAX: usize = 10_000;
/// Other items that may.
const ITEMS_MAX: usize = 1_024;
/// How long until a join that was refused for a passing reason is tried again, if the server does not say.
const REJOIN: Duration = Duration::from_secs(3);
/// Comments that coming back may bring.
const RESUMED_MAX: u32 = 100;
/// Comments of history when nobody says how many.
const HISTORY: u32 = 50;
/// The cursor before the first comment of a room.
const BEGINNING: &str = "0";

/// Where a batch comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Said before we joined.
    History,
    /// Missed while we were away.
    Resumed,
    /// Live.
    Live,
}

/// New comments, none of them told before, in the order of publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The comments.
    pub comments: Vec<Comment>,
    /// How many more there were that this reader is not given.
    pub omitted: u64,
    /// Where they come from.
    pub source: Source,
}

/// Comments that were said while this reader was away and that it does not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub omitted: u64,
    /// The last comment seen before.
    pub after_id: Id,
    /// The first one after.
    pub before_id: Option<Id>,
}

/// What happens in a room.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomItem {
    /// The server let us in: for the first time, again after a lost connection, or with new options.
    Joined(Joined),
    /// Coming back did not bring everything that was missed. The batch that follows carries the same number.
    Gap(Gap),
    /// New comments.
    Comments(Batch),
    /// Something else that happened; each `event_id` once.
    Event(Event),
    /// The server would not let us in. It is tried again only if the error says that it may pass.
    Refused(Error),
    /// The reader was slow: so many items other than comments made way.
    Lagged(u64),
}

/// What waits for a reader. Of too many comments the oldest make way and count as omitted.
#[derive(Default)]
pub(crate) struct RoomQueue {
    items: VecDeque<RoomItem>,
    comments: usize,
    others: usize,
    /// Comments that made way and that no batch has told of yet.
    owed: u64,
    /// Other items that did.
    lost: u64,
}

impl RoomQueue {
    fn make_way(&mut self) {
        while self.comments > COMMENTS_MAX {
            let oldest = self.items.iter().position(|item| matches!(item, RoomItem::Comments(_)));
            let Some(RoomItem::Comments(batch)) = oldest.and_then(|at| self.items.remove(at)) else { return };
            self.comments -= batch.comments.len();
            self.owed += batch.comments.len() as u64 + batch.omitted;
        }
    }
}

impl Store<RoomItem> for RoomQueue {
    fn push(&mut self, item: RoomItem) -> bool {
        match item {
            RoomItem::Comments(batch) => {
                self.comments += batch.comments.len();
                self.make_way();
                // One batch is never longer than what may wait.
                self.items.push_back(RoomItem::Comments(batch));
                true
            }
            // An event that the server repeats may be taken up with its repeat.
            RoomItem::Event(event) if self.others >= ITEMS_MAX && event.critical => {
                self.lost += 1;
                false
            }
            other => {
                if self.others >= ITEMS_MAX {
                    self.lost += 1;
                    let oldest = self.items.iter().position(|item| !matches!(item, RoomItem::Comments(_)));
                    oldest.and_then(|at| self.items.remove(at));
                } else {
                    self.others += 1;
                }
                self.items.push_back(other);
                true
            }
        }
    }

    fn pop(&mut self) -> Option<RoomItem> {
        if self.lost > 0 {
            return Some(RoomItem::Lagged(std::mem::take(&mut self.lost)));
        }
        let mut item = self.items.pop_front();
        match &mut item {
            Some(RoomItem::Comments(batch)) => {
                self.comments -= batch.comments.len();
                batch.omitted += std::mem::take(&mut self.owed);
            }
            Some(_) => self.others -= 1,
            None => {}
        }
        item
    }
}

/// A reader of [`Room::subscribe`].
pub struct RoomItems(Reader<RoomQueue>);

impl RoomItems {
    /// The next item; nothing once the client is gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<RoomItem> {
        self.0.next().await
    }

    /// The next item that is here already.
    pub fn try_next(&mut self) -> Option<RoomItem> {
        self.0.try_next()
    }
}

/// A room of a client.
#[derive(Clone)]
pub struct Room {
    client: Client,
    id: String,
}

impl Room {
    pub(crate) fn new(client: Client, id: &str) -> Self {
        Self { client, id: id.to_owned() }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What happens in it from here on, as soon as it is joined. A reader that falls behind loses the oldest comments, which
    /// are then counted as omitted.
    #[must_use]
    pub fn subscribe(&self) -> RoomItems {
        let (source, reader) = feed::queue();
        self.client.read_room(&self.id, source);
        RoomItems(reader)
    }

    /// Joins; or changes the options of a room that is joined already. Without a connection it is done on the next one, and
    /// waits for that. On every further connection the room is joined again by itself.
    ///
    /// # Errors
    /// The server's refusal. If it may pass, the join is tried again by itself.
    pub async fn join(&self, options: JoinOptions) -> Result<Joined, Error> {
        let (answer, answered) = oneshot::channel();
        self.client.ask(Command::Join { room_id: self.id.clone(), options, answer }, answered).await
    }

    /// Leaves; nothing of this room arrives any more.
    ///
    /// # Errors
    /// `disconnected` when the connection was lost meanwhile: the room is left all the same.
    pub async fn leave(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.client.ask(Command::Leave { room_id: self.id.clone(), answer }, answered).await.map(drop)
    }

    /// Says something. Returns when the server has it safely, or holds it for review. Without a connection it waits for one; it
    /// is said once, however often the connection is lost.
    ///
    /// # Errors
    /// The server's refusal, or as [`Client::request`].
    pub async fn comment(&self, draft: impl Into<CommentDraft>) -> Result<CommentAck, Error> {
        let draft: CommentDraft = draft.into();
        let message = with_type("comment", &draft, &[("room_id", &self.id)]);
        read(self.client.request(message, true).await?)
    }
}

/// Something to be sent as a message of this type, under a `client_msg_id`.
pub(crate) fn with_type(kind: &str, fields: &impl serde::Serialize, more: &[(&str, &str)]) -> Value {
    let mut message = serde_json::to_value(fields).unwrap_or_else(|_| json!({}));
    message["type"] = kind.into();
    for (name, value) in more {
        message[*name] = (*value).into();
    }
    if message["client_msg_id"].is_null() {
        message["client_msg_id"] = format!("{:032x}", rand::random::<u128>()).into();
    }
    message
}

type JoinAnswer = oneshot::Sender<Result<Joined, Error>>;

/// A room as the connection's task knows it.
pub(crate) struct RoomState {
    options: JoinOptions,
    /// Whether it is (to be) joined.
    pub wanted: bool,
    last_id: Option<Id>,
    seen: SeenIds,
    readers: Vec<FeedSource<RoomQueue>>,
    waiters: Vec<JoinAnswer>,
    /// When a refused join is tried again.
    pub rejoin_at: Option<Instant>,
}

impl RoomState {
    pub fn new() -> Self {
        Self {
            options: JoinOptions::default(),
            wanted: false,
            last_id: None,
            seen: SeenIds::new(SEEN),
            readers: Vec::new(),
            waiters: Vec::new(),
            rejoin_at: None,
        }
    }

    pub fn subscribe(&mut self, source: FeedSource<RoomQueue>) {
        self.readers.retain(FeedSource::is_read);
        self.readers.push(source);
    }

    /// Whether anybody reads what happens in it.
    pub fn is_read(&self) -> bool {
        self.readers.iter().any(FeedSource::is_read)
    }

    pub fn want(&mut self, mut options: JoinOptions, answer: JoinAnswer) {
        self.last_id = options.since_id.take().or_else(|| self.last_id.take());
        self.options = options;
        self.wanted = true;
        self.waiters.push(answer);
    }

    /// The message that joins, after the last comment seen.
    pub fn join_message(&mut self, room_id: &str) -> Value {
        self.rejoin_at = None;
        let mut message = serde_json::to_value(&self.options).unwrap_or_else(|_| json!({}));
        message["type"] = "join_room".into();
        message["room_id"] = room_id.into();
        let JoinOptions { history, max_per_s, .. } = &self.options;
        match &self.last_id {
            Some(last_id) => {
                message["since_id"] = last_id.as_str().into();
                if *max_per_s != Some(0) {
                    message["history"] = RESUMED_MAX.into();
                }
            }
            // One comment at least, which says where a new connection goes on.
            None if *max_per_s != Some(0) => message["history"] = history.unwrap_or(HISTORY).max(1).into(),
            None => {}
        }
        message
    }

    /// The server let us in.
    pub fn joined(&mut self, answer: Value) {
        let mut joined: Joined = match read(answer) {
            Ok(joined) => joined,
            Err(error) => return self.refused(&error),
        };
        let before = self.last_id.clone();
        if before.is_none() && self.options.history == Some(0) {
            self.note_last(&joined.history);
            for comment in joined.history.drain(..) {
                self.seen.add(&comment.id);
            }
        }
        self.tell(&RoomItem::Joined(joined.clone()));
        let Joined { history, omitted, .. } = joined.clone();
        let source = if before.is_some() { Source::Resumed } else { Source::History };
        if let Some(after_id) = before.filter(|_| omitted > 0) {
            let before_id = history.first().map(|comment| comment.id.clone());
            self.tell(&RoomItem::Gap(Gap { omitted, after_id, before_id }));
        }
        self.comments(history, omitted, source);
        // Nothing was said yet, as far as this reader would be told: whatever comes is new.
        let shows_all = self.options.history_s.is_none() && self.options.max_per_s != Some(0);
        if self.last_id.is_none() && shows_all {
            self.last_id = Some(BEGINNING.to_owned());
        }
        for waiter in self.waiters.drain(..) {
            // Whoever asked may have lost interest.
            let _ = waiter.send(Ok(joined.clone()));
        }
    }

    /// The server did not let us in, or the connection was lost before it did.
    pub fn refused(&mut self, error: &Error) {
        if matches!(error.code.as_str(), "disconnected" | "closed") {
            return;
        }
        self.tell(&RoomItem::Refused(error.clone()));
        match error.retry_after.or_else(|| error.is_passing().then_some(REJOIN)) {
            // Not everybody at once.
            Some(after) => self.rejoin_at = Some(Instant::now() + retry::spread(after)),
            None => self.wanted = false,
        }
        self.fail_waiters(error);
    }

    pub fn fail_waiters(&mut self, error: &Error) {
        for waiter in self.waiters.drain(..) {
            let _ = waiter.send(Err(error.clone()));
        }
    }

    /// Comments as they came.
    pub fn comments(&mut self, mut comments: Vec<Comment>, omitted: u64, source: Source) {
        self.note_last(&comments);
        comments.retain(|comment| self.seen.add(&comment.id));
        if !comments.is_empty() || omitted > 0 {
            self.tell(&RoomItem::Comments(Batch { comments, omitted, source }));
        }
    }

    fn note_last(&mut self, comments: &[Comment]) {
        if let Some(last) = comments.last() {
            self.last_id = Some(last.id.clone());
        }
    }

    /// Gives an item to everybody who reads: whether anybody took it, or nothing where nobody reads.
    pub fn tell(&mut self, item: &RoomItem) -> Option<bool> {
        feed::push_all(&mut self.readers, item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comment(id: u32) -> Value {
        json!({ "id": id.to_string(), "room_id": "r", "user_id": "u", "content": "x" })
    }

    fn comments(ids: impl IntoIterator<Item = u32>) -> Vec<Comment> {
        ids.into_iter().map(|id| serde_json::from_value(comment(id)).expect("a comment")).collect()
    }

    fn joined(ids: impl IntoIterator<Item = u32>, omitted: u64) -> Value {
        let history: Vec<Value> = ids.into_iter().map(comment).collect();
        json!({ "type": "room_joined", "room_id": "r", "history": history, "omitted": omitted })
    }

    fn room(options: JoinOptions) -> (RoomState, RoomItems) {
        let (source, reader) = feed::queue();
        let mut room = RoomState::new();
        room.subscribe(source);
        room.want(options, oneshot::channel().0);
        (room, RoomItems(reader))
    }

    fn told(items: &mut RoomItems) -> Vec<String> {
        let ids = |batch: &Batch| {
            let ids: Vec<&str> = batch.comments.iter().map(|comment| comment.id.as_str()).collect();
            ids.join(",")
        };
        let describe = |item| match item {
            RoomItem::Joined(_) => "joined".to_owned(),
            RoomItem::Gap(gap) => format!("gap {} after {}", gap.omitted, gap.after_id),
            RoomItem::Comments(batch) => format!("{:?} +{}: {}", batch.source, batch.omitted, ids(&batch)),
            RoomItem::Event(event) => event.kind,
            RoomItem::Refused(error) => error.code,
            RoomItem::Lagged(lost) => format!("lagged {lost}"),
        };
        std::iter::from_fn(|| items.try_next()).map(describe).collect()
    }

    #[test]
    fn coming_back_repeats_nothing_and_says_what_is_missing() {
        let (mut room, mut items) = room(JoinOptions::default());
        assert_eq!(room.join_message("r")["since_id"], Value::Null);
        room.joined(joined([1, 2], 0));
        room.comments(comments([3]), 0, Source::Live);
        assert_eq!(told(&mut items), ["joined", "History +0: 1,2", "Live +0: 3"]);
        let again = room.join_message("r");
        assert_eq!((&again["since_id"], &again["history"]), (&json!("3"), &json!(100)));
        // Another node may repeat what was published within five seconds.
        room.joined(joined([2, 3, 9], 5));
        assert_eq!(told(&mut items), ["joined", "gap 5 after 3", "Resumed +5: 9"]);
        room.comments(comments([9, 10]), 0, Source::Live);
        assert_eq!(told(&mut items), ["Live +0: 10"]);
    }

    #[test]
    fn a_reader_who_has_seen_nothing_misses_nothing() {
        let (mut empty, mut items) = room(JoinOptions::default());
        empty.joined(joined([], 0));
        assert_eq!(empty.join_message("r")["since_id"], "0", "what comes first is missed by nobody");
        // Whoever wants no history is told none, and remembers where it ended.
        let (mut live, mut live_items) = room(JoinOptions { history: Some(0), ..JoinOptions::default() });
        assert_eq!(live.join_message("r")["history"], 1);
        live.joined(joined([7], 0));
        assert_eq!((told(&mut live_items), told(&mut items)), (vec!["joined".to_owned()], vec!["joined".to_owned()]));
        assert_eq!(live.join_message("r")["since_id"], "7");
        // Events alone have no cursor.
        let (mut events, _) = room(JoinOptions { max_per_s: Some(0), ..JoinOptions::default() });
        events.joined(joined([], 0));
        let again = events.join_message("r");
        assert_eq!((&again["since_id"], &again["history"]), (&Value::Null, &Value::Null));
        let (mut resumed, _) = room(JoinOptions { since_id: Some("44".into()), ..JoinOptions::default() });
        assert_eq!(resumed.join_message("r")["since_id"], "44");
    }

    #[test]
    fn a_slow_reader_is_told_what_made_way_and_the_queue_is_bounded() {
        let (mut room, mut items) = room(JoinOptions::default());
        for batch in 0..300_u32 {
            room.comments(comments(batch * 100..(batch + 1) * 100), 1, Source::Live);
        }
        let (mut given, mut omitted) = (0, 0);
        while let Some(RoomItem::Comments(batch)) = items.try_next() {
            given += batch.comments.len() as u64;
            omitted += batch.omitted;
        }
        assert!(given <= COMMENTS_MAX as u64 && given > COMMENTS_MAX as u64 / 2, "{given}");
        assert_eq!(given + omitted, 30_300);
        let event = |critical: bool| {
            let event = json!({ "event_id": "1", "kind": "gift", "critical": critical });
            RoomItem::Event(serde_json::from_value(event).expect("an event"))
        };
        for _ in 0..2 * ITEMS_MAX {
            room.tell(&event(false));
        }
        assert_eq!(room.tell(&event(true)), Some(false), "the server repeats it");
        let told = told(&mut items);
        assert_eq!((told.len(), told[0].as_str()), (ITEMS_MAX + 1, "lagged 1025"));
        assert_eq!(room.tell(&event(true)), Some(true));
        drop(items);
        assert_eq!(room.tell(&event(true)), None);
    }

    #[test]
    fn a_refusal_that_may_pass_is_tried_again() {
        let (mut room, mut items) = room(JoinOptions::default());
        room.refused(&Error::new("disconnected", ""));
        room.refused(&Error::new("overloaded", ""));
        assert!(room.wanted && room.rejoin_at.is_some());
        room.refused(&Error::new("forbidden", ""));
        assert!(!room.wanted);
        assert_eq!(told(&mut items), ["overloaded", "forbidden"]);
    }
}
