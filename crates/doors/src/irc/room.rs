//! One room that a connection has joined: a task that writes what happens there as lines.
//!
//! The session starts it and drops it. It ends by itself when the reader may read no longer, after it has said so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hub::Sanction;
use hub::batch::{SharedEvent, TapBatch};
use ingest::Refusal;
use model::panics::contained;
use model::{Comment, EventBody, RoomId, RoomSettings, Snowflake, UserId};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::codec::{Line, nick_of};
use super::render;
use super::session::notice_id;
use crate::edge::Edge;
use crate::feed::{Feed, Happening};
use crate::link::Outbox;

/// Comments remembered, so that a deletion can say what it deletes, and a moderator's nick whom it means.
const RECENT: usize = 256;
/// Own comments remembered, so that they are not sent back.
const OWN: usize = 64;

/// What the client asked for with `CAP REQ`.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    pub tags: AtomicBool,
    pub commands: AtomicBool,
    pub membership: AtomicBool,
}

/// Writes lines as the client wants them.
#[derive(Clone)]
pub(super) struct LineWriter {
    pub outbox: Outbox,
    pub capabilities: Arc<Capabilities>,
}

impl LineWriter {
    /// Sends a line.
    pub fn send(&self, line: &Line) {
        self.outbox.send(&line.encode(self.capabilities.tags.load(Ordering::Relaxed)));
    }

    /// Sends a line that only clients understand which asked for commands.
    pub fn send_command(&self, line: &Line) {
        if self.capabilities.commands.load(Ordering::Relaxed) {
            self.send(line);
        }
    }
}

/// Keeps own comments from coming back. What arrives while one is being said waits until its id is known.
#[derive(Default)]
pub(super) struct OwnComments(Mutex<Own>);

#[derive(Default)]
struct Own {
    is_saying: bool,
    said: VecDeque<Snowflake>,
    held: Vec<Arc<Comment>>,
}

impl OwnComments {
    /// Something is about to be said.
    pub fn begin(&self) {
        self.0.lock().is_saying = true;
    }

    /// It was said under this id, or not at all. Returns what waited and is of another connection of the same user.
    pub fn end(&self, id: Option<Snowflake>) -> Vec<Arc<Comment>> {
        let mut own = self.0.lock();
        own.is_saying = false;
        if let Some(id) = id {
            if own.said.len() == OWN {
                own.said.pop_front();
            }
            own.said.push_back(id);
        }
        let mut held = std::mem::take(&mut own.held);
        held.retain(|comment| !own.said.contains(&comment.id));
        held
    }

    /// Whether a comment of this connection's user is to be written now.
    fn is_to_be_written(&self, comment: &Arc<Comment>) -> bool {
        let mut own = self.0.lock();
        if own.said.contains(&comment.id) {
            return false;
        }
        if own.is_saying && own.held.len() < OWN {
            own.held.push(comment.clone());
            return false;
        }
        true
    }
}

/// The comments that a room showed last.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<Arc<Comment>>>);

impl Recent {
    fn push(&self, comment: Arc<Comment>) {
        let mut recent = self.0.lock();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(comment);
    }

    fn find(&self, id: Snowflake) -> Option<Arc<Comment>> {
        self.0.lock().iter().rev().find(|comment| comment.id == id).cloned()
    }

    /// Who last spoke under a nick.
    pub fn user(&self, nick: &str) -> Option<UserId> {
        let recent = self.0.lock();
        let said = recent.iter().rev().find(|comment| nick_of(comment.user_id.as_str()).eq_ignore_ascii_case(nick));
        said.map(|comment| comment.user_id.clone())
    }
}

/// A room that is read until this is dropped.
pub(super) struct JoinedRoom {
    task: JoinHandle<()>,
    pub own: Arc<OwnComments>,
    pub recent: Arc<Recent>,
}

impl Drop for JoinedRoom {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl JoinedRoom {
    /// Starts to write what happens.
    pub fn start(edge: Arc<Edge>, feed: Feed, writer: LineWriter, user: Option<UserId>, nick: String) -> Self {
        let (own, recent) = (Arc::<OwnComments>::default(), Arc::<Recent>::default());
        let reader = RoomReader {
            edge,
            room: feed.room().clone(),
            writer,
            user,
            nick,
            own: own.clone(),
            recent: recent.clone(),
            settings: None,
        };
        let task = tokio::spawn(async move {
            contained(reader.run(feed)).await;
        });
        Self { task, own, recent }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

struct RoomReader {
    edge: Arc<Edge>,
    room: RoomId,
    writer: LineWriter,
    user: Option<UserId>,
    nick: String,
    own: Arc<OwnComments>,
    recent: Arc<Recent>,
    /// The settings that the client was told.
    settings: Option<(u32, model::Speakers)>,
}

impl RoomReader {
    async fn run(mut self, mut feed: Feed) {
        if let Ok(info) = self.edge.app.ingest.rooms.info(&self.room).await {
            self.settings = Some((info.settings.slow_mode_s, info.settings.speakers));
        }
        loop {
            match feed.next().await {
                Happening::Comments(batch) => self.comments(&batch),
                Happening::Event(event) => self.event(&event),
                Happening::Sanction(sanction) => self.sanction(&sanction),
                Happening::Settings(settings) => self.changed(&settings),
                Happening::Refused(refusal) => return self.refused(refusal),
            }
        }
    }

    fn comments(&self, batch: &TapBatch) {
        for item in batch.items() {
            let comment = &item.comment;
            self.recent.push(comment.clone());
            let is_own = self.user.as_ref() == Some(&comment.user_id);
            if !is_own || self.own.is_to_be_written(comment) {
                self.writer.send(&render::comment(comment));
            }
        }
    }

    fn event(&self, shared: &SharedEvent) {
        let event = &shared.event;
        match &event.body {
            EventBody::Announcement { content } => {
                self.writer.send_command(&render::announcement(&self.room, event.id, content, event.at_ms));
            }
            EventBody::Gift(gift) => {
                self.writer.send_command(&render::gift(&self.room, event.id, gift, event.at_ms));
            }
            EventBody::CommentsDeleted { comment_ids } | EventBody::CommentsHidden { comment_ids } => {
                for id in comment_ids {
                    let comment = self.recent.find(*id);
                    self.writer.send_command(&render::clear_message(&self.room, *id, comment.as_deref(), event.at_ms));
                }
            }
            EventBody::Notice { message, .. } => {
                self.writer.send(&render::notice(&render::channel(&self.room), None, message));
            }
            // What else a room tells has no line in this dialect.
            _ => {}
        }
    }

    fn sanction(&self, sanction: &Sanction) {
        let now_ms = self.edge.app.clock.now_ms();
        let line = render::clear_chat(&self.room, sanction.user_id.as_str(), sanction.until_ms, now_ms);
        self.writer.send_command(&line);
    }

    fn changed(&mut self, settings: &RoomSettings) {
        let shown = (settings.slow_mode_s, settings.speakers);
        let before = self.settings.replace(shown);
        if before.is_none_or(|before| before.0 != shown.0) {
            self.writer.send_command(&render::slow_mode(&self.room, settings));
        }
        if before.is_none_or(|before| before.1 != shown.1) {
            self.writer.send_command(&render::speakers(&self.room, settings));
        }
    }

    /// Says why, and parts.
    fn refused(&self, refusal: Refusal) {
        // The reader's own ban ends the feed before it is heard of otherwise.
        if let (Refusal::Banned { retry_after_ms, .. }, Some(user)) = (&refusal, &self.user) {
            let now_ms = self.edge.app.clock.now_ms();
            let until_ms = now_ms.saturating_add(i64::try_from(*retry_after_ms).unwrap_or(i64::MAX));
            self.writer.send_command(&render::clear_chat(&self.room, user.as_str(), until_ms, now_ms));
        }
        let error = model::WireError::from(refusal);
        let channel = render::channel(&self.room);
        self.writer.send(&render::notice(&channel, Some(notice_id(error.code)), &error.message));
        self.writer.send(&Line::user(&self.nick, "PART").parameter(&channel));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(id: u64) -> Arc<Comment> {
        Arc::new(Comment {
            id: Snowflake(id),
            room_id: RoomId::new("r").expect("an id"),
            session_id: None,
            user_id: UserId::new("Ann.B").expect("an id"),
            username: "Ann".into(),
            level: model::Level::Normal,
            content: "hi".into(),
            style: model::Style::default(),
            kind: model::Kind::Comment,
            mentions: Box::new([]),
            created_at_ms: 0,
            offset_ms: 0,
            like_count: 0,
            shadow: false,
        })
    }

    #[test]
    fn what_a_connection_said_never_comes_back_to_it() {
        let own = OwnComments::default();
        own.begin();
        assert!(!own.is_to_be_written(&said(1)) && !own.is_to_be_written(&said(2)));
        let others = own.end(Some(Snowflake(1)));
        assert_eq!(others.iter().map(|comment| comment.id.0).collect::<Vec<_>>(), [2]);
        assert!(!own.is_to_be_written(&said(1)) && own.is_to_be_written(&said(3)));
    }

    #[test]
    fn a_nick_means_who_last_spoke_under_it() {
        let recent = Recent::default();
        recent.push(said(1));
        assert_eq!(recent.user("ann_b"), UserId::new("Ann.B").ok());
        assert_eq!(recent.user("ann"), None);
        (2..1_000).for_each(|id| recent.push(said(id)));
        assert!(recent.find(Snowflake(1)).is_none() && recent.find(Snowflake(999)).is_some());
    }
}
