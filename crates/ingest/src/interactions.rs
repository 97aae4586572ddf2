//! What a room does together beside comments: a pinned comment, polls, questions, gift combos.
//!
//! A pin is a setting of its room; polls and questions are documents of the store, and a vote or upvote is a mark that each
//! user makes once. Texts of viewers pass the same words and rules as comments. The numbers of a poll are told at most four
//! times a second, and exactly at its end. Called by the API.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use model::moderation::Pin;
use model::{
    EventBody, Gift, Identity, Poll, PollOption, PollState, Question, QuestionState, RoomId, RoomSettings, Snowflake,
    UserId,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::{Document, DocumentQuery};
use tokio::time::sleep;

use crate::access::Target;
use crate::admit::Attempt;
use crate::events::Importance;
use crate::moderation::{ModerationError, Moderator};
use crate::moments::Moment;
use crate::rights::Action;
use crate::{Ingest, Reader, Refusal};

/// The kinds of documents.
const POLL: &str = "poll";
const QUESTION: &str = "question";
/// Answers of one poll, and how long one runs, in seconds.
const OPTIONS_MAX: usize = 20;
const POLL_S_MAX: u64 = 86_400;
/// Polls of a room that run at once.
const POLLS_MAX: usize = 10;
/// Questions of a room that wait for an answer.
const QUESTIONS_MAX: usize = 500;
/// Longest question of a poll, in characters.
const POLL_CHARS_MAX: usize = 200;
/// How long a pin may stand, in seconds: a week.
const PIN_S_MAX: u64 = 7 * 86_400;
/// How often changed polls are told.
const TELL_INTERVAL: Duration = Duration::from_millis(250);
/// How long the same gift again continues a combo, in milliseconds.
const COMBO_MS: i64 = 5_000;
/// Combos remembered.
const COMBOS_MAX: usize = 65_536;
/// Attempts to change a document while others change it.
const ATTEMPTS: usize = 32;

/// What this node has to tell later.
#[derive(Default)]
pub struct Interactions {
    /// Polls with votes that viewers were not told of.
    changed: Mutex<HashSet<Snowflake>>,
    combos: DashMap<(RoomId, UserId, String), (u64, i64), ahash::RandomState>,
}

/// A poll to open.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct NewPoll {
    /// What is asked.
    #[schema(min_length = 1, max_length = 200)]
    pub question: String,
    /// What can be answered.
    #[schema(min_items = 2, max_items = 20)]
    pub options: Vec<String>,
    /// For how long.
    #[schema(minimum = 1, maximum = 86_400)]
    pub duration_s: u64,
}

/// A poll as it is kept; its votes are marks.
#[derive(Serialize, Deserialize)]
struct KeptPoll {
    question: String,
    options: Vec<String>,
    ends_at_ms: i64,
}

/// Why a vote or an upvote does not count.
#[derive(Debug, thiserror::Error)]
pub enum VoteError {
    /// The user may not, or the text may not be published.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This user has voted.
    #[error("you have voted already")]
    Voted,
    /// It is over.
    #[error("it is closed")]
    Closed,
}

impl From<store::StoreError> for VoteError {
    fn from(_: store::StoreError) -> Self {
        Self::Refused(Refusal::Unavailable)
    }
}

impl From<VoteError> for model::WireError {
    fn from(error: VoteError) -> Self {
        match error {
            VoteError::Refused(refusal) => refusal.into(),
            VoteError::Voted => Self::new(model::Code::AlreadyVoted, "you have voted already"),
            VoteError::Closed => Self::new(model::Code::TooLate, "it is closed"),
        }
    }
}

impl Ingest {
    /// Pins a comment of the room, until a moment if one is given.
    ///
    /// # Errors
    /// When the room has no such comment, or this moderator may not.
    pub async fn pin(
        self: &Arc<Self>,
        who: &Moderator,
        room: &RoomId,
        comment: Snowflake,
        duration_s: Option<u64>,
    ) -> Result<Pin, ModerationError> {
        self.authorise_action(who, Some(room), Action::Decide).await?;
        if duration_s.is_some_and(|s| !(1..=PIN_S_MAX).contains(&s)) {
            return Err(ModerationError::Invalid(format!("duration_s must be 1 to {PIN_S_MAX} seconds")));
        }
        let found = match self.store.comment(comment).await? {
            None if self.wait_until_persisted(comment).await? => self.store.comment(comment).await?,
            found => found,
        };
        let Some(found) = found.filter(|found| found.room_id == *room) else {
            return Err(ModerationError::NotFound("there is no such comment in this room"));
        };
        let until_ms = duration_s.map(|s| self.clock.now_ms() + s.cast_signed() * 1_000);
        let pin = Pin { comment: found.clone(), by: who.name().into(), until_ms };
        self.set_pin(room, Some(&pin)).await?;
        self.publish_event(room, Importance::Plain, EventBody::Pin { comment: Some(found), until_ms }).await?;
        self.keep_moment(room, Moment::Pin { comment_id: Some(comment), until_ms }).await;
        if let Some(seconds) = duration_s {
            tokio::spawn(unpin_after(Arc::downgrade(self), room.clone(), comment, Duration::from_secs(seconds)));
        }
        self.audit(who, "pin", Some(room), comment.to_string(), None).await?;
        Ok(pin)
    }

    /// Takes the room's pin off.
    ///
    /// # Errors
    /// When this moderator may not.
    pub async fn unpin(&self, who: &Moderator, room: &RoomId) -> Result<(), ModerationError> {
        self.authorise_action(who, Some(room), Action::Decide).await?;
        if self.rooms.info(room).await?.settings.pin.is_some() {
            self.set_pin(room, None).await?;
            self.publish_event(room, Importance::Plain, EventBody::Pin { comment: None, until_ms: None }).await?;
            self.keep_moment(room, Moment::Pin { comment_id: None, until_ms: None }).await;
            self.audit(who, "unpin", Some(room), room.to_string(), None).await?;
        }
        Ok(())
    }

    async fn set_pin(&self, room: &RoomId, pin: Option<&Pin>) -> Result<(), ModerationError> {
        let change = |settings: &RoomSettings| {
            Ok(RoomSettings { pin: pin.map(|pin| Box::new(pin.clone())), ..settings.clone() })
        };
        self.rooms.change(room, change).await?;
        Ok(())
    }

    /// Takes the pin off if it is of this comment: it has ended, or the comment was removed.
    pub(crate) async fn end_pin(&self, room: &RoomId, comment: Snowflake) -> Result<(), ModerationError> {
        let pinned = self.rooms.info(room).await?.settings.pin.as_ref().is_some_and(|pin| pin.is_of(comment));
        if pinned {
            self.set_pin(room, None).await?;
            self.publish_event(room, Importance::Plain, EventBody::Pin { comment: None, until_ms: None }).await?;
            self.keep_moment(room, Moment::Pin { comment_id: None, until_ms: None }).await;
        }
        Ok(())
    }

    /// Opens a poll.
    ///
    /// # Errors
    /// When a field is out of range, or this moderator may not.
    pub async fn open_poll(
        self: &Arc<Self>,
        who: &Moderator,
        room: &RoomId,
        new: &NewPoll,
    ) -> Result<Poll, ModerationError> {
        self.authorise_action(who, Some(room), Action::Decide).await?;
        let fits = |text: &String| (1..=POLL_CHARS_MAX).contains(&text.chars().count());
        let question = self.operator_text(&new.question)?;
        let options = new.options.iter().map(|option| self.operator_text(option)).collect::<Result<Vec<_>, _>>()?;
        if !(fits(&question) && (2..=OPTIONS_MAX).contains(&options.len()) && options.iter().all(fits)) {
            let expected = "a poll has a question and 2-20 options, each of 1-200 characters";
            return Err(ModerationError::Invalid(expected.into()));
        }
        if !(1..=POLL_S_MAX).contains(&new.duration_s) {
            return Err(ModerationError::Invalid(format!("duration_s must be 1 to {POLL_S_MAX} seconds")));
        }
        if self.open_polls(room).await?.len() >= POLLS_MAX {
            return Err(ModerationError::Invalid(format!("a room runs at most {POLLS_MAX} polls at once")));
        }
        let id = self.ids.next()?;
        let ends_at_ms = self.clock.now_ms() + new.duration_s.cast_signed() * 1_000;
        let kept = KeptPoll { question, options, ends_at_ms };
        let body = serde_json::to_string(&kept).unwrap_or_default();
        let document = Document {
            kind: POLL,
            id: id.to_string(),
            room_id: Some(room.clone()),
            state: "open".into(),
            due_ms: ends_at_ms,
            version: 0,
            user_id: None,
            body,
        };
        self.store.add_document(&document).await?;
        let poll = self.poll_of(&document).await?.ok_or(ModerationError::Away)?;
        self.publish_event(room, Importance::Plain, EventBody::Poll(poll.clone())).await?;
        self.keep_moment(room, Moment::Poll(poll.clone())).await;
        tokio::spawn(close_after(Arc::downgrade(self), id, Duration::from_secs(new.duration_s)));
        self.audit(who, "poll.open", Some(room), id.to_string(), None).await?;
        Ok(poll)
    }

    /// The polls of a room that run.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn open_polls(&self, room: &RoomId) -> Result<Vec<Poll>, store::StoreError> {
        let query = DocumentQuery {
            kind: POLL,
            rooms: Some(std::slice::from_ref(room)),
            state: Some("open"),
            limit: POLLS_MAX,
            ..DocumentQuery::default()
        };
        let mut polls = Vec::new();
        for document in self.store.documents(query).await? {
            polls.extend(self.poll_of(&document).await?);
        }
        Ok(polls)
    }

    /// One poll of a room.
    ///
    /// # Errors
    /// When there is none, or the store is away.
    pub async fn poll(&self, room: &RoomId, id: Snowflake) -> Result<Poll, Refusal> {
        let found = self.store.document(POLL, &id.to_string()).await?;
        let found = found.filter(|found| found.room_id.as_ref() == Some(room));
        let none = Refusal::NotFound("there is no such poll in this room");
        let Some(found) = found else { return Err(none) };
        self.poll_of(&found).await?.ok_or(none)
    }

    async fn poll_of(&self, document: &Document) -> Result<Option<Poll>, store::StoreError> {
        let (Ok(kept), Ok(poll_id)) = (serde_json::from_str::<KeptPoll>(&document.body), document.id.parse()) else {
            return Ok(None);
        };
        let marks = self.store.document_marks(POLL, &document.id).await?;
        let votes = |n: usize| marks.iter().find(|(value, _)| *value == n as i64).map_or(0, |(_, votes)| *votes);
        let options =
            kept.options.into_iter().enumerate().map(|(n, text)| PollOption { text, votes: votes(n) }).collect();
        let open = document.state == "open" && kept.ends_at_ms > self.clock.now_ms();
        let state = if open { PollState::Open } else { PollState::Closed };
        Ok(Some(Poll { poll_id, question: kept.question, options, state, ends_at_ms: kept.ends_at_ms }))
    }

    /// Votes, once a user.
    ///
    /// # Errors
    /// [`VoteError`].
    pub async fn vote(&self, who: &Identity, room: &RoomId, id: Snowflake, option: usize) -> Result<Poll, VoteError> {
        self.may_take_part(who, room).await?;
        let poll = self.poll(room, id).await?;
        if poll.state == PollState::Closed {
            return Err(VoteError::Closed);
        }
        if option >= poll.options.len() {
            return Err(Refusal::Invalid("option must be the number of an option, from 0".into()).into());
        }
        if !self.store.mark_document(POLL, &id.to_string(), &who.user_id, option as i64).await? {
            return Err(VoteError::Voted);
        }
        self.interactions.changed.lock().insert(id);
        Ok(self.poll(room, id).await?)
    }

    /// Closes a poll before its end.
    ///
    /// # Errors
    /// When there is none, it is closed, or this moderator may not.
    pub async fn close_poll(&self, who: &Moderator, room: &RoomId, id: Snowflake) -> Result<Poll, ModerationError> {
        self.authorise_action(who, Some(room), Action::Decide).await?;
        let none = ModerationError::NotFound("there is no such poll in this room");
        let found = self.store.document(POLL, &id.to_string()).await?;
        if found.is_none_or(|found| found.room_id.as_ref() != Some(room)) {
            return Err(none);
        }
        let poll = self.end_poll(id).await?.ok_or(ModerationError::TooLate("it is closed"))?;
        self.audit(who, "poll.close", Some(room), id.to_string(), None).await?;
        Ok(poll)
    }

    /// Closes a poll and tells the final numbers; `None` when it is closed already.
    async fn end_poll(&self, id: Snowflake) -> Result<Option<Poll>, ModerationError> {
        let Some(found) = self.store.document(POLL, &id.to_string()).await? else { return Ok(None) };
        let closed = Document { state: "closed".into(), ..found.clone() };
        if found.state != "open" || !self.store.replace_document(&closed).await? {
            return Ok(None);
        }
        let (poll, room) = (self.poll_of(&closed).await?, closed.room_id);
        if let (Some(poll), Some(room)) = (&poll, &room) {
            self.publish_event(room, Importance::Plain, EventBody::Poll(poll.clone())).await?;
            self.keep_moment(room, Moment::Poll(poll.clone())).await;
        }
        Ok(poll)
    }

    /// Asks the house something.
    ///
    /// # Errors
    /// Why it was refused: as a comment would be.
    pub async fn ask(&self, who: &Identity, room: &RoomId, content: &str) -> Result<Question, Refusal> {
        let attempt = Attempt::of_text(who, room, self.ids.next()?);
        let asked = self.ask_as(&attempt, content).await;
        if asked.is_err() {
            self.take_back(&attempt).await;
        }
        asked
    }

    async fn ask_as(&self, attempt: &Attempt, content: &str) -> Result<Question, Refusal> {
        let Attempt { who, room, id, .. } = attempt;
        let content = self.admit_text(attempt, content).await?;
        let query = DocumentQuery {
            kind: QUESTION,
            rooms: Some(std::slice::from_ref(room)),
            state: Some("open"),
            limit: QUESTIONS_MAX,
            ..DocumentQuery::default()
        };
        if self.store.documents(query).await?.len() >= QUESTIONS_MAX {
            return Err(Refusal::Invalid("too many questions wait for an answer in this room".into()));
        }
        let question = Question {
            question_id: *id,
            user_id: who.user_id.clone(),
            username: self.filtered_name(&who.user_id, &who.username).into_owned(),
            content,
            upvotes: 0,
            state: QuestionState::Open,
        };
        self.store.add_document(&question_document(room, &question, 0)).await?;
        let body = EventBody::Question(question.clone());
        self.publish_event(room, Importance::Plain, body).await.map_err(|_| Refusal::Unavailable)?;
        self.keep_moment(room, Moment::Question(question.clone())).await;
        Ok(question)
    }

    /// The questions of a room in a state, those with most upvotes first.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn questions(&self, room: &RoomId, state: QuestionState) -> Result<Vec<Question>, store::StoreError> {
        let query = DocumentQuery {
            kind: QUESTION,
            rooms: Some(std::slice::from_ref(room)),
            state: Some(state_name(state)),
            limit: QUESTIONS_MAX,
            ..DocumentQuery::default()
        };
        let found = self.store.documents(query).await?;
        let mut questions: Vec<Question> =
            found.iter().filter_map(|document| serde_json::from_str(&document.body).ok()).collect();
        questions.sort_by_key(|question| std::cmp::Reverse(question.upvotes));
        Ok(questions)
    }

    /// Says that a question is one's own too, once a user.
    ///
    /// # Errors
    /// [`VoteError`].
    pub async fn upvote(&self, who: &Identity, room: &RoomId, id: Snowflake) -> Result<Question, VoteError> {
        self.may_take_part(who, room).await?;
        let none = Refusal::NotFound("there is no such question in this room");
        let key = id.to_string();
        let found = self.store.document(QUESTION, &key).await?;
        let Some(found) = found.filter(|found| found.room_id.as_ref() == Some(room)) else { return Err(none.into()) };
        if found.state != "open" {
            return Err(VoteError::Closed);
        }
        if !self.store.mark_document(QUESTION, &key, &who.user_id, 1).await? {
            return Err(VoteError::Voted);
        }
        self.change_question(room, id, None).await?.ok_or(VoteError::Refused(none))
    }

    /// Notes that a question was answered.
    ///
    /// # Errors
    /// When there is none, it was answered, or this moderator may not.
    pub async fn answer(&self, who: &Moderator, room: &RoomId, id: Snowflake) -> Result<Question, ModerationError> {
        self.authorise_action(who, Some(room), Action::Decide).await?;
        let found = self.store.document(QUESTION, &id.to_string()).await?;
        let Some(found) = found.filter(|found| found.room_id.as_ref() == Some(room)) else {
            return Err(ModerationError::NotFound("there is no such question in this room"));
        };
        if found.state != "open" {
            return Err(ModerationError::TooLate("it was answered before"));
        }
        let answered = self.change_question(room, id, Some(QuestionState::Answered)).await?;
        self.audit(who, "question.answer", Some(room), id.to_string(), None).await?;
        answered.ok_or(ModerationError::Away)
    }

    /// Counts a question's upvotes anew, and its state if one is given; tells the room.
    async fn change_question(
        &self,
        room: &RoomId,
        id: Snowflake,
        state: Option<QuestionState>,
    ) -> Result<Option<Question>, Refusal> {
        let key = id.to_string();
        for _ in 0..ATTEMPTS {
            let Some(found) = self.store.document(QUESTION, &key).await? else { return Ok(None) };
            let Ok(mut question) = serde_json::from_str::<Question>(&found.body) else { return Ok(None) };
            let marks = self.store.document_marks(QUESTION, &key).await?;
            question.upvotes = marks.iter().map(|(_, upvotes)| upvotes).sum();
            question.state = state.unwrap_or(question.state);
            if self.store.replace_document(&question_document(room, &question, found.version)).await? {
                let body = EventBody::Question(question.clone());
                self.publish_event(room, Importance::Plain, body).await.map_err(|_| Refusal::Unavailable)?;
                if state == Some(QuestionState::Answered) {
                    self.keep_moment(room, Moment::Question(question.clone())).await;
                }
                return Ok(Some(question));
            }
        }
        Err(Refusal::Overloaded)
    }

    async fn may_take_part(&self, who: &Identity, room: &RoomId) -> Result<(), Refusal> {
        self.may_read(Reader::User(who), room).await?;
        self.bans.check_speech(&who.user_id, Some(room), self.clock.now_ms())
    }

    /// A viewer's text under everything that holds for comments. Nobody can hold it: what would be held is refused.
    async fn admit_text(&self, attempt: &Attempt, text: &str) -> Result<String, Refusal> {
        let Attempt { who, room, .. } = attempt;
        let entry = self.rooms.entry(room).await?;
        let info = entry.info();
        self.may_write(who, room, &info, Target::Live)?;
        self.screen_text(attempt, &entry, &info.settings, text).await
    }

    /// Counts a gift towards its giver's combo, and tells the room when it continues one.
    pub(crate) async fn count_combo(&self, room: &RoomId, gift: &Gift) -> Result<(), ModerationError> {
        let (now_ms, combos) = (self.clock.now_ms(), &self.interactions.combos);
        if combos.len() >= COMBOS_MAX {
            combos.retain(|_, (_, until_ms)| *until_ms > now_ms);
        }
        let until_ms = now_ms + COMBO_MS;
        let (count, continues) = {
            let key = (room.clone(), gift.user_id.clone(), gift.gift.clone());
            let mut combo = combos.entry(key).or_insert((0, 0));
            let continues = combo.1 > now_ms;
            let before = if continues { combo.0 } else { 0 };
            *combo = (before + u64::from(gift.count), until_ms);
            (combo.0, continues)
        };
        if continues {
            let (user_id, gift) = (gift.user_id.clone(), gift.gift.clone());
            let body = EventBody::Combo { user_id, gift, count, until_ms };
            self.publish_event(room, Importance::Plain, body).await?;
        }
        Ok(())
    }

    /// Tells the numbers of polls that changed, and ends what another run of this program left open, until `ingest` is gone.
    pub async fn run_interactions(ingest: Weak<Self>) {
        let mut rounds = 0u32;
        loop {
            sleep(TELL_INTERVAL).await;
            let Some(this) = ingest.upgrade() else { return };
            let changed = std::mem::take(&mut *this.interactions.changed.lock());
            for id in changed {
                // The store and the log have logged their failures; the next vote or the end tells the numbers.
                let _ = this.tell_poll(id).await;
            }
            if rounds.is_multiple_of(20) {
                let _ = this.end_overdue().await;
            }
            rounds = rounds.wrapping_add(1);
        }
    }

    async fn tell_poll(&self, id: Snowflake) -> Result<(), ModerationError> {
        if let Some(found) = self.store.document(POLL, &id.to_string()).await?
            && let (Some(poll), Some(room)) = (self.poll_of(&found).await?, &found.room_id)
            && found.state == "open"
        {
            self.publish_event(room, Importance::Plain, EventBody::Poll(poll)).await?;
        }
        Ok(())
    }

    async fn end_overdue(&self) -> Result<(), ModerationError> {
        let due_until_ms = Some(self.clock.now_ms() - 1_000);
        let query =
            DocumentQuery { kind: POLL, state: Some("open"), due_until_ms, limit: 100, ..DocumentQuery::default() };
        for document in self.store.documents(query).await? {
            if let Ok(id) = document.id.parse() {
                self.end_poll(id).await?;
            }
        }
        Ok(())
    }
}

async fn unpin_after(ingest: Weak<Ingest>, room: RoomId, comment: Snowflake, after: Duration) {
    sleep(after).await;
    if let Some(ingest) = ingest.upgrade() {
        // Readers see by the pin's own end that it is over.
        let _ = ingest.end_pin(&room, comment).await;
    }
}

async fn close_after(ingest: Weak<Ingest>, poll: Snowflake, after: Duration) {
    sleep(after).await;
    if let Some(ingest) = ingest.upgrade() {
        // What fails here is ended by the search for what is overdue.
        let _ = ingest.end_poll(poll).await;
    }
}

const fn state_name(state: QuestionState) -> &'static str {
    match state {
        QuestionState::Open => "open",
        QuestionState::Answered => "answered",
    }
}

fn question_document(room: &RoomId, question: &Question, version: i64) -> Document {
    Document {
        kind: QUESTION,
        id: question.question_id.to_string(),
        room_id: Some(room.clone()),
        state: state_name(question.state).into(),
        due_ms: 0,
        version,
        user_id: Some(question.user_id.clone()),
        body: serde_json::to_string(question).unwrap_or_default(),
    }
}
