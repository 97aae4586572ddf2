//! One comment's way in, cheapest check first: retry → room → ban → length → rates and repeats →
//! words → session → append. Acknowledged means durable: the log has answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use bus::{AppendError, Record, Submission};
use model::metrics::count;
use model::{Code, Comment, CommentStatus, Identity, Kind, Level, NoIds, RoomId, RoomSettings, Snowflake, UserId};
use protocol::message::CommentDraft;
use state::{Answer, FirstAnswer, Knock, Rate, Reserved};
use store::{NewComment, Review, ReviewStatus};
use tokio::runtime::Handle;
use words::Verdict;

use crate::rooms::{RoomInfo, Seat, may_enter, may_speak};
use crate::{Ingest, Refusal, here};

/// Longest `client_msg_id`, in bytes.
const CLIENT_MSG_ID_BYTES_MAX: usize = 64;
/// A retry waits at most this long for the first attempt's answer.
const FIRST_ATTEMPT_MAX: std::time::Duration = std::time::Duration::from_secs(10);
/// After so long it asks the store as well: the node of the first attempt may have died with the comment kept and its answer not
/// given.
const ASKS_STORE_AFTER: std::time::Duration = std::time::Duration::from_secs(1);
/// The farthest place in a recording, in milliseconds: a week.
const OFFSET_MS_MAX: i64 = 7 * 86_400_000;

/// The answer to a comment that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Its id.
    pub id: Snowflake,
    /// Published, or held for a moderator.
    pub status: CommentStatus,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

/// One comment on its way in.
struct Attempt {
    who: Identity,
    room: RoomId,
    id: Snowflake,
    client_msg_id: Option<String>,
    /// What the gate remembers of its text, once it has been admitted there; 0 before.
    said: AtomicU64,
}

/// What becomes of a comment that passed every check.
enum Decided {
    /// A retry of a known `client_msg_id`: it gets the first answer again.
    Known(Admitted),
    /// It is kept already: held for review, or about a recording.
    Kept(Admitted),
    /// It is to be appended to the room's order.
    Append(Record, Admitted),
}

impl Ingest {
    /// Takes a comment into a room.
    ///
    /// # Errors
    /// Says why not; a refused comment left no trace but in the limits and counters.
    pub async fn admit(&self, who: &Identity, room: &RoomId, draft: CommentDraft) -> Result<Admitted, Refusal> {
        let attempt = self.attempt(who, room, &draft)?;
        let decided = match self.begin(&attempt, draft).await {
            Ok(Decided::Append(record, admitted)) => {
                let appended = self.log.append(room.clone(), record).await;
                appended.map(|_| Decided::Kept(admitted)).map_err(Refusal::from)
            }
            decided => decided,
        };
        self.conclude(&attempt, decided).await
    }

    /// As [`Ingest::admit`], for a thread that must not wait: as much as needs no waiting is done on it, and `then`
    /// hears the outcome, here, on `runtime`, or from the log. Whom `then` returns is woken once the log has answered
    /// all comments of the same run. What comes back is to be handed to the log, with whatever else the caller has.
    pub fn admit_then(
        self: &Arc<Self>,
        runtime: &Handle,
        who: &Identity,
        room: &RoomId,
        draft: CommentDraft,
        then: impl FnOnce(Result<Admitted, Refusal>) -> Option<Waker> + Send + 'static,
    ) -> Option<Submission> {
        let attempt = match self.attempt(who, room, &draft) {
            Ok(attempt) => attempt,
            Err(refusal) => {
                wake(then(Err(refusal)));
                return None;
            }
        };
        let ingest = self.clone();
        let runtime_too = runtime.clone();
        let checked = here::begin(async move {
            match ingest.begin(&attempt, draft).await {
                Ok(Decided::Append(record, admitted)) => {
                    let room_id = attempt.room.clone();
                    let done = move |place: Result<_, AppendError>| {
                        let decided = place.map(|_| Decided::Kept(admitted)).map_err(Refusal::from);
                        ingest.settle(&runtime_too, attempt, decided, then)
                    };
                    Some(Submission { room_id, record, done: Box::new(done) })
                }
                decided => {
                    wake(then(ingest.conclude(&attempt, decided).await));
                    None
                }
            }
        });
        checked.unwrap_or_else(|waiting| {
            let log = self.log.clone();
            here::spawn(runtime, async move { log.submit(waiting.await.into_iter().collect()) });
            None
        })
    }

    /// Concludes on the log's task, or elsewhere when it has to wait for somebody.
    fn settle(
        self: Arc<Self>,
        runtime: &Handle,
        attempt: Attempt,
        decided: Result<Decided, Refusal>,
        then: impl FnOnce(Result<Admitted, Refusal>) -> Option<Waker> + Send + 'static,
    ) -> Option<Waker> {
        let conclude = async move { then(self.conclude(&attempt, decided).await) };
        here::begin(conclude).unwrap_or_else(|waiting| {
            here::spawn(runtime, async { wake(waiting.await) });
            None
        })
    }

    fn attempt(&self, who: &Identity, room: &RoomId, draft: &CommentDraft) -> Result<Attempt, Refusal> {
        let id = self.ids.next().inspect_err(|NoIds| {
            count(&self.metrics.comments, "outcome", Code::Unavailable.as_str());
        })?;
        Ok(Attempt {
            who: who.clone(),
            room: room.clone(),
            id,
            client_msg_id: draft.client_msg_id.clone(),
            said: AtomicU64::new(0),
        })
    }

    /// Everything up to the append.
    async fn begin(&self, attempt: &Attempt, draft: CommentDraft) -> Result<Decided, Refusal> {
        check_fields(&draft, self.limits.mentions_max)?;
        if let Some(client_msg_id) = &attempt.client_msg_id
            && let Some(first) = self.reserve(&attempt.who.user_id, client_msg_id, attempt.id).await?
        {
            return Ok(Decided::Known(first.into()));
        }
        self.decide(attempt, draft).await
    }

    /// Remembers the answer for retries, or gives the reservation back; counts the outcome.
    async fn conclude(&self, attempt: &Attempt, decided: Result<Decided, Refusal>) -> Result<Admitted, Refusal> {
        let (mut outcome, replayed) = match decided {
            Ok(Decided::Known(first)) => (Ok(first), true),
            Ok(Decided::Kept(admitted) | Decided::Append(_, admitted)) => (Ok(admitted), false),
            Err(refusal) => (Err(refusal), false),
        };
        let Attempt { who, room, id, client_msg_id, said } = attempt;
        let said = said.load(Ordering::Relaxed);
        if said != 0
            && let Err(Refusal::Unavailable | Refusal::Overloaded) = outcome
        {
            // Nothing was changed, so trying again is no repeat. Without this it is one for some seconds.
            let _ = self.gate.unsay(&who.user_id, said).await;
        }
        if let Some(key) = client_msg_id.as_ref().filter(|_| !replayed) {
            let noted = match &outcome {
                Ok(admitted) => self.reservations.finish(&who.user_id, key, (*admitted).into()).await,
                Err(_) => self.reservations.release(&who.user_id, key, *id).await,
            };
            outcome = noted.map_err(Refusal::from).and(outcome);
        }
        let label = match &outcome {
            Ok(_) if replayed => "replayed",
            Ok(admitted) if admitted.status == CommentStatus::Accepted => {
                self.metrics.accepted.inc();
                return outcome;
            }
            Ok(_) => "pending_review",
            Err(refusal) => refusal.code().as_str(),
        };
        count(&self.metrics.comments, "outcome", label);
        if let Err(refusal) = &outcome {
            self.note_refusal(who, room, refusal).await;
        }
        outcome
    }

    /// Reserves the key; `Some` is the answer that somebody got for it before.
    async fn reserve(&self, user: &UserId, key: &str, id: Snowflake) -> Result<Option<FirstAnswer>, Refusal> {
        match self.reservations.reserve(user, key, id, self.clock.now_ms()).await? {
            Reserved::Known(first) => Ok(Some(first)),
            Reserved::InFlight(_) => self.first_attempt(user, key).await.map(Some),
            Reserved::New => self.answered_long_ago(user, key).await,
            // While the store is away the deployment's memory is enough.
            Reserved::NewEverywhere => Ok(self.answered_long_ago(user, key).await.unwrap_or(None)),
        }
    }

    /// The answer of an attempt under way, from whoever makes it or, should that node be gone, from the store.
    async fn first_attempt(&self, user: &UserId, key: &str) -> Result<FirstAnswer, Refusal> {
        for patience in [ASKS_STORE_AFTER, FIRST_ATTEMPT_MAX - ASKS_STORE_AFTER] {
            if let Some(first) = self.reservations.wait(user, key, patience).await? {
                return Ok(first);
            }
            // While the store is away there is only waiting.
            if let Ok(Some(first)) = self.answered_long_ago(user, key).await {
                return Ok(first);
            }
        }
        Err(Refusal::Unavailable)
    }

    /// The answer that the store has, if it has one; remembered for the next who asks.
    async fn answered_long_ago(&self, user: &UserId, key: &str) -> Result<Option<FirstAnswer>, Refusal> {
        let Some(first) = self.store.first_answer(user, key).await? else { return Ok(None) };
        let store::FirstAnswer { id, pending_review, created_at_ms } = first;
        let first = FirstAnswer { id, pending_review, created_at_ms };
        self.reservations.finish(user, key, first).await?;
        Ok(Some(first))
    }

    async fn decide(&self, attempt: &Attempt, draft: CommentDraft) -> Result<Decided, Refusal> {
        let Attempt { who, room, id, said, .. } = attempt;
        let id = *id;
        let now_ms = self.clock.now_ms();
        let seat = self.rooms.seat(room).await?;
        let info = seat.info();
        let live = draft.session_id.is_none() || draft.session_id == info.session.as_ref().map(|s| s.id);
        may_enter(&info.settings, Some(who), room)?;
        if live && (info.closed || !(self.rooms.accepts_comments(&info) || may_speak_in_silence(&info, who))) {
            return Err(Refusal::RoomClosed);
        }
        may_speak(&info, who, room)?;
        self.bans.may_speak(&who.user_id, room, now_ms)?;
        let content = self.measure(&draft.content, &info.settings)?;
        let text_key = words::same_text_key(&content);
        self.knock(who, room, &info.settings, text_key, now_ms).await?;
        said.store(text_key, Ordering::Relaxed);
        let (content, word) = self.read(content)?;

        if !live && !info.settings.store {
            return Err(Refusal::Forbidden("the room keeps no comments"));
        }
        let place = self.place(&seat, room, &draft, live, now_ms).await?;
        let comment = Arc::new(Comment {
            id,
            room_id: room.clone(),
            session_id: Some(place.session_id),
            user_id: who.user_id.clone(),
            username: (*who.username).into(),
            level: standing(who, &info.settings),
            content: content.into(),
            style: draft.style.unwrap_or_default(),
            kind: place.kind,
            mentions: draft.mentions.into(),
            created_at_ms: now_ms,
            offset_ms: place.offset_ms,
            like_count: 0,
        });
        let keep = info.settings.store;
        let client_msg_id = draft.client_msg_id.map(String::into_boxed_str);
        let admitted = |status| Admitted { id, status, created_at_ms: now_ms };
        if let Some(word) = word {
            self.hold(comment, keep, word, client_msg_id).await?;
            return Ok(Decided::Kept(admitted(CommentStatus::PendingReview)));
        }
        let admitted = admitted(CommentStatus::Accepted);
        if comment.kind == Kind::Recorded {
            self.keep_recorded(comment, client_msg_id).await?;
            return Ok(Decided::Kept(admitted));
        }
        Ok(Decided::Append(Record::Comment { comment, client_msg_id, keep }, admitted))
    }

    /// The cleaned text, if its length is right.
    fn measure(&self, content: &str, settings: &RoomSettings) -> Result<String, Refusal> {
        let chars_max = settings.limits.comment_chars_max.unwrap_or(self.limits.comment_chars_max);
        let content = words::sanitise(content);
        match content.chars().count() {
            0 => Err(Refusal::Empty),
            n if n > chars_max as usize => Err(Refusal::TooLong { chars_max }),
            _ => Ok(content.into_owned()),
        }
    }

    async fn knock(
        &self,
        who: &Identity,
        room: &RoomId,
        settings: &RoomSettings,
        text_key: u64,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let level = standing(who, settings);
        let user_per_s = match level {
            Level::Normal => settings.limits.user_per_s.unwrap_or(self.limits.normal_per_s),
            Level::Vip => self.limits.vip_per_s,
            Level::Owner | Level::Moderator | Level::Admin => self.limits.owner_per_s,
        };
        let slowed = settings.slow_mode_s > 0 && level <= Level::Vip;
        let answer = self.gate.knock(Knock {
            user: &who.user_id,
            room,
            user_rate: Rate::per_s(user_per_s),
            slow_mode: slowed.then(|| Rate::every_ms(settings.slow_mode_s.saturating_mul(1_000))),
            room_rate: Rate::per_s(settings.limits.room_per_s.unwrap_or(self.limits.room_per_s)),
            global_rate: Rate::per_s(self.limits.global_per_s),
            text_key,
            duplicate_window_ms: self.limits.duplicate_window_ms,
            now_ms,
        });
        match answer.await? {
            Answer::Admitted => Ok(()),
            Answer::CoolingDown { retry_after_ms } => Err(Refusal::CoolingDown { retry_after_ms }),
            Answer::Limited { scope, retry_after_ms } => Err(Refusal::Limited { scope, retry_after_ms }),
            Answer::Duplicate { retry_after_ms } => Err(Refusal::Duplicate { retry_after_ms }),
        }
    }

    /// The text as it may be published, and the word that holds it back, if one does.
    fn read(&self, content: String) -> Result<(String, Option<String>), Refusal> {
        let hit = |list| count(&self.metrics.word_hits, "list", list);
        match self.filter.check(&content) {
            Verdict::Clean => Ok((content, None)),
            Verdict::Masked(masked) => {
                hit("mask");
                Ok((masked, None))
            }
            Verdict::Review { word } => {
                hit("review");
                Ok((content, Some(word)))
            }
            Verdict::Block { .. } => {
                hit("block");
                Err(Refusal::Blocked)
            }
        }
    }

    async fn place(
        &self,
        seat: &Seat,
        room: &RoomId,
        draft: &CommentDraft,
        live: bool,
        now_ms: i64,
    ) -> Result<Place, Refusal> {
        if live {
            let session = self.rooms.session_for_comment(seat, room, now_ms).await?;
            let offset_ms = (now_ms - session.started_at_ms).max(0);
            return Ok(Place { session_id: session.id, offset_ms, kind: Kind::Comment });
        }
        let id = draft.session_id.ok_or(Refusal::NotFound("there is no such session"))?;
        let session = self.store.session(id).await?.filter(|session| session.room_id == *room);
        let session = session.ok_or(Refusal::NotFound("there is no such session in this room"))?;
        match draft.offset_ms {
            Some(offset_ms @ 0..=OFFSET_MS_MAX) => {
                Ok(Place { session_id: session.id, offset_ms, kind: Kind::Recorded })
            }
            _ => Err(Refusal::Invalid("offset_ms must say the place in the recording".into())),
        }
    }

    async fn hold(
        &self,
        comment: Arc<Comment>,
        keep: bool,
        word: String,
        client_msg_id: Option<Box<str>>,
    ) -> Result<(), Refusal> {
        let review = Review {
            comment,
            keep,
            word: Some(word),
            status: ReviewStatus::Pending,
            decided_by: None,
            decided_at_ms: None,
        };
        self.store.hold(&review, client_msg_id.as_deref()).await?;
        (self.tell_review)(&review.comment, ReviewStatus::Pending);
        Ok(())
    }

    /// A comment about a recording has no place in the live order, so it goes to the store alone.
    async fn keep_recorded(&self, comment: Arc<Comment>, client_msg_id: Option<Box<str>>) -> Result<(), Refusal> {
        Ok(self.store.append_comments(vec![NewComment { comment, position: 0, client_msg_id }]).await?)
    }

    /// Makes a comment that was held durable and lets it go out.
    pub(crate) async fn publish(&self, comment: Arc<Comment>, keep: bool) -> Result<(), Refusal> {
        if comment.kind == Kind::Recorded {
            return self.keep_recorded(comment, None).await;
        }
        let record = Record::Comment { comment: comment.clone(), client_msg_id: None, keep };
        self.log.append(comment.room_id.clone(), record).await?;
        Ok(())
    }

    /// Counts a refusal towards the sender's cool-down and tells the sender when one starts.
    async fn note_refusal(&self, who: &Identity, room: &RoomId, refusal: &Refusal) {
        if !refusal.counts() {
            return;
        }
        let now_ms = self.clock.now_ms();
        // Without the shared state nobody is counted, and nobody is muted for it.
        if let Ok(Some(mute_ms)) = self.gate.refused(&who.user_id, now_ms, &self.limits.cool_down).await {
            let until_ms = now_ms + i64::try_from(mute_ms).unwrap_or(i64::MAX / 2);
            self.tell_muted(room, &who.user_id, until_ms, Some("too many refused comments".into())).await;
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

struct Place {
    session_id: Snowflake,
    offset_ms: i64,
    kind: Kind,
}

impl From<FirstAnswer> for Admitted {
    fn from(first: FirstAnswer) -> Self {
        let status = if first.pending_review { CommentStatus::PendingReview } else { CommentStatus::Accepted };
        Self { id: first.id, status, created_at_ms: first.created_at_ms }
    }
}

impl From<Admitted> for FirstAnswer {
    fn from(admitted: Admitted) -> Self {
        let pending_review = admitted.status == CommentStatus::PendingReview;
        Self { id: admitted.id, pending_review, created_at_ms: admitted.created_at_ms }
    }
}

fn check_fields(draft: &CommentDraft, mentions_max: usize) -> Result<(), Refusal> {
    let id = draft.client_msg_id.as_deref();
    if id.is_some_and(|id| id.is_empty() || id.len() > CLIENT_MSG_ID_BYTES_MAX) {
        return Err(Refusal::Invalid("client_msg_id must be 1-64 bytes".into()));
    }
    if draft.mentions.len() > mentions_max {
        return Err(Refusal::Invalid(format!("a comment may mention {mentions_max} people").into()));
    }
    Ok(())
}

/// The owner's comments are the owner's whatever the token's level says.
fn standing(who: &Identity, settings: &RoomSettings) -> Level {
    if settings.owner_id.as_ref() == Some(&who.user_id) { who.level.max(Level::Owner) } else { who.level }
}

/// Where nobody may speak, its owner and admins still may.
fn may_speak_in_silence(info: &RoomInfo, who: &Identity) -> bool {
    info.settings.enabled && (who.level == Level::Admin || info.settings.owner_id.as_ref() == Some(&who.user_id))
}
