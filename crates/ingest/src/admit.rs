//! Admits one comment, cheapest check first: retry → who may write → length → rates and repeats → words → the room's
//! rules → session → append.
//!
//! Owns the order of the checks; called through [`crate::Admission`]. Acknowledged means durable: the log, or the store,
//! has answered. Of several attempts at one `client_msg_id` the log and the store decide which is first; reservations only
//! spare them the question.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use log::{AppendError, Position, Record, Submission};
use model::metrics::count;
use model::trace::{Span, Trace, Value};
use model::{
    Admitted, Code, Comment, CommentStatus, Identity, Kind, Level, NoIds, RoomId, RoomSettings, Snowflake, UserId,
};
use moderation::{Breach, Shingles};
use parking_lot::Mutex;
use protocol::message::CommentDraft;
use state::{CoolDown, Finished, FirstAnswer, LimitKey, Rate, RateDecision, RateRequest, Reserved, Scope};
use store::{NewComment, Review, ReviewStatus};
use tokio::runtime::Handle;
use tokio::time::sleep;
use words::Verdict;

use crate::access::Target;
use crate::rooms::RoomEntry;
use crate::screen::{Hold, Screened, Turn};
use crate::webhooks::comment_data;
use crate::{Ingest, Refusal, poll_inline};

/// Longest `client_msg_id`, in bytes.
const CLIENT_MSG_ID_BYTES_MAX: usize = 64;
/// How long a retry waits for the first attempt's answer. Then it asks the store, and goes on by itself when that has none: the
/// node of the first attempt may be dead or frozen. Which of the two is first, the log decides.
const FIRST_ATTEMPT_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long the store may take to say which of two attempts was first, and how often it is asked.
const DECIDED_WITHIN: Duration = Duration::from_millis(1_000);
const DECIDED_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The largest offset in a recording, in milliseconds: a week.
const OFFSET_MS_MAX: i64 = 7 * 86_400_000;
/// When somebody with too many held comments may try again: moderators may have decided about some.
const HELD_RETRY_MS: u64 = 30_000;

/// One attempt to send a comment.
pub(crate) struct Attempt {
    pub(crate) who: Identity,
    pub(crate) room: RoomId,
    pub(crate) id: Snowflake,
    /// The sender's address, where the door knows it.
    pub(crate) address: Option<IpAddr>,
    client_msg_id: Option<String>,
    /// What it used up so far.
    pub(crate) claims: Mutex<Claims>,
    /// An earlier attempt, which gave no answer, may be appended too. It was counted towards the limits already.
    pub(crate) is_contended: AtomicBool,
    /// The other nodes could not be asked about earlier attempts, so there may be one.
    is_unsure: AtomicBool,
    /// The room keeps its comments, so the store knows which of two attempts was first.
    is_kept: AtomicBool,
    /// Keeps the sender's later comments behind this one, once the hook is asked.
    pub(crate) turn: Mutex<Option<Turn>>,
    /// The comment's trace and when the attempt began, if it is followed.
    traced: Option<(Trace, SystemTime)>,
}

impl Attempt {
    /// To say something that is no comment.
    pub(crate) fn of_text(who: &Identity, room: &RoomId, id: Snowflake) -> Self {
        Self {
            who: who.clone(),
            room: room.clone(),
            id,
            address: None,
            client_msg_id: None,
            claims: Mutex::default(),
            turn: Mutex::new(None),
            is_contended: AtomicBool::new(false),
            is_unsure: AtomicBool::new(false),
            is_kept: AtomicBool::new(true),
            traced: None,
        }
    }
}

/// What only a published or held comment may use up: a refused one gives it back.
#[derive(Default)]
pub(crate) struct Claims {
    /// The key under which the rate limiter remembers the text.
    text_key: Option<u64>,
    /// It counts for the room's slow mode.
    slow_mode: bool,
    /// What counts for rules of the room: the rule and the id of its limit.
    pub(crate) limits: Vec<(Breach, String)>,
    /// It is among the room's last comments, with which further ones are compared.
    pub(crate) recent: Option<(Arc<RoomEntry>, Shingles)>,
}

/// The outcome of the checks.
enum Decision {
    /// A retry of a known `client_msg_id` gets the first answer.
    Replay(Admitted),
    /// The comment is durable: held for review, said about a recording, or appended.
    Durable(Admitted),
    /// The log or the store found an earlier attempt, which is the first.
    Repeat(FirstAnswer),
    /// The comment is to be appended to the log.
    Append(Record, Admitted),
}

/// What follows from the log's answer.
fn appended(answer: Result<Position, AppendError>, admitted: Admitted) -> Result<Decision, Refusal> {
    match answer {
        Ok(_) => Ok(Decision::Durable(admitted)),
        Err(AppendError::Repeat(first)) => Ok(Decision::Repeat(first)),
        Err(why) => Err(why.into()),
    }
}

impl Ingest {
    /// Admits a comment to a room.
    ///
    /// # Errors
    /// Why it was refused. A refused comment leaves a trace in rates and counters alone.
    pub async fn admit(&self, who: &Identity, room: &RoomId, draft: CommentDraft) -> Result<Admitted, Refusal> {
        let attempt = self.attempt(who, room, &draft)?;
        let decision = match self.check(&attempt, draft).await {
            Ok(Decision::Append(record, admitted)) => appended(self.log.append(room.clone(), record).await, admitted),
            decision => decision,
        };
        self.finish(&attempt, decision).await
    }

    /// As [`Ingest::admit`], for a thread that must not wait. It checks on the caller's thread, and on `runtime` when it
    /// has to wait. `then` is called with the outcome: here, on `runtime`, or by the log. The log wakes the waker that
    /// `then` returns once it has answered the whole batch. The caller submits what this returns to the log.
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
        let log_runtime = runtime.clone();
        let checked = poll_inline::poll_once(async move {
            match ingest.check(&attempt, draft).await {
                Ok(Decision::Append(record, admitted)) => {
                    let room_id = attempt.room.clone();
                    let done =
                        move |answer| ingest.finish_appended(&log_runtime, attempt, appended(answer, admitted), then);
                    Some(Submission { room_id, record, done: Box::new(done) })
                }
                decision => {
                    wake(then(ingest.finish(&attempt, decision).await));
                    None
                }
            }
        });
        checked.unwrap_or_else(|pending| {
            let log = self.log.clone();
            poll_inline::spawn(runtime, async move { log.submit(pending.await.into_iter().collect()) });
            None
        })
    }

    /// Finishes on the log's task, or on `runtime` when it has to wait.
    fn finish_appended(
        self: Arc<Self>,
        runtime: &Handle,
        attempt: Attempt,
        decision: Result<Decision, Refusal>,
        then: impl FnOnce(Result<Admitted, Refusal>) -> Option<Waker> + Send + 'static,
    ) -> Option<Waker> {
        let finish = async move { then(self.finish(&attempt, decision).await) };
        poll_inline::poll_once(finish).unwrap_or_else(|pending| {
            poll_inline::spawn(runtime, async { wake(pending.await) });
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
            address: draft.address,
            client_msg_id: draft.client_msg_id.clone(),
            claims: Mutex::default(),
            is_contended: AtomicBool::new(false),
            is_unsure: AtomicBool::new(false),
            is_kept: AtomicBool::new(true),
            turn: Mutex::new(None),
            traced: self.metrics.tracer.trace(id).map(|trace| (trace, SystemTime::now())),
        })
    }

    /// Runs every check. The decision tells what is left to do.
    async fn check(&self, attempt: &Attempt, draft: CommentDraft) -> Result<Decision, Refusal> {
        check_fields(&draft, self.limits.mentions_max)?;
        if let Some(client_msg_id) = &attempt.client_msg_id
            && let Some(first) = self.reserve(attempt, client_msg_id).await?
        {
            return Ok(Decision::Replay(first.into()));
        }
        self.decide(attempt, draft).await
    }

    /// Records the answer for retries, or releases the reservation; counts the outcome.
    async fn finish(&self, attempt: &Attempt, decision: Result<Decision, Refusal>) -> Result<Admitted, Refusal> {
        let (mut outcome, mut replayed) = match decision {
            Ok(Decision::Replay(first)) => (Ok(first), true),
            Ok(Decision::Repeat(first)) => (self.settle(attempt, first).await, true),
            Ok(Decision::Durable(admitted) | Decision::Append(_, admitted)) => (Ok(admitted), false),
            Err(refusal) => (Err(refusal), false),
        };
        let Attempt { who, room, id, client_msg_id, .. } = attempt;
        if outcome.is_err() {
            self.take_back(attempt).await;
        }
        if let Some(key) = client_msg_id.as_ref().filter(|_| !replayed) {
            match outcome {
                Ok(admitted) => (outcome, replayed) = self.record(attempt, key, admitted).await,
                // It, or the attempt that it took over, may be appended yet: a retry asks the store first.
                Err(Refusal::Unknown) => {}
                Err(Refusal::Unavailable | Refusal::Overloaded) if attempt.is_contended.load(Ordering::Relaxed) => {}
                Err(_) => {
                    let released = self.reservations.release(&who.user_id, key, *id).await;
                    outcome = released.map_err(Refusal::from).and(outcome);
                }
            }
        }
        if let (Some((trace, begun)), Ok(admitted), false) = (attempt.traced, &outcome, replayed) {
            self.metrics.tracer.note(publish_span(trace, begun, room, admitted));
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
            if let Some(rule) = refusal.audited_rule() {
                self.audit_screening(rule, "comment.refuse", room, &who.user_id, None).await;
            }
            self.count_refusal(who, room, refusal).await;
        }
        outcome
    }

    /// Gives back what a refused comment used up beside the rates: nobody has said it. What cannot be given back, because the
    /// shared state is away, expires.
    pub(crate) async fn take_back(&self, attempt: &Attempt) {
        let Attempt { who, room, claims, .. } = attempt;
        let Claims { text_key, slow_mode, limits, recent } = std::mem::take(&mut *claims.lock());
        if let Some(text_key) = text_key {
            let _ = self.rate_limiter.take_back(&who.user_id, text_key, slow_mode.then_some(room)).await;
        }
        for (rule, id) in limits {
            let _ = self.rate_limiter.forget(LimitKey { scope: rule.rule(), id: &id }).await;
        }
        if let Some((entry, shingles)) = recent {
            entry.recent().forget(&shingles);
        }
    }

    /// Remembers the answer for retries. Where another attempt may have been appended too, the store says which was first.
    /// Returns the answer that stands, and whether an earlier attempt got it.
    async fn record(&self, attempt: &Attempt, key: &str, admitted: Admitted) -> (Result<Admitted, Refusal>, bool) {
        let finished = self.reservations.finish(&attempt.who.user_id, key, admitted.into()).await;
        let without_store = match finished {
            _ if attempt.is_contended.load(Ordering::Relaxed) => None,
            Ok(Finished::First) if attempt.is_unsure.load(Ordering::Relaxed) => Some(admitted),
            Ok(Finished::First) => return (Ok(admitted), false),
            Ok(Finished::Known(first)) => Some(first.into()),
            Ok(Finished::TakenOver) => None,
            Err(away) => return (Err(away.into()), false),
        };
        let decided = self.decided(attempt, key, admitted, without_store).await;
        let replayed = decided.as_ref().is_ok_and(|first| first.id != admitted.id);
        (decided, replayed)
    }

    /// The answer of whichever attempt was first, once the store has it: with a log that others persist that is a moment
    /// later. Should it not come, the answer is `without_store`, or unknown.
    async fn decided(
        &self,
        attempt: &Attempt,
        key: &str,
        own: Admitted,
        without_store: Option<Admitted>,
    ) -> Result<Admitted, Refusal> {
        if !attempt.is_kept.load(Ordering::Relaxed) {
            return self.settle(attempt, without_store.unwrap_or(own).into()).await;
        }
        for _ in 0..DECIDED_WITHIN.as_millis() / DECIDED_POLL_INTERVAL.as_millis() {
            if let Ok(Some(first)) = self.store.first_answer(&attempt.who.user_id, key).await {
                return self.settle(attempt, first).await;
            }
            sleep(DECIDED_POLL_INTERVAL).await;
        }
        without_store.ok_or(Refusal::Unknown)
    }

    /// Remembers what was decided for further retries.
    async fn settle(&self, attempt: &Attempt, first: FirstAnswer) -> Result<Admitted, Refusal> {
        if let Some(key) = &attempt.client_msg_id {
            self.reservations.settle(&attempt.who.user_id, key, first).await?;
        }
        Ok(first.into())
    }

    /// Reserves the key; `Some` is the answer that an earlier attempt got.
    async fn reserve(&self, attempt: &Attempt, key: &str) -> Result<Option<FirstAnswer>, Refusal> {
        let user = &attempt.who.user_id;
        match self.reservations.reserve(user, key, attempt.id, self.clock.now_ms()).await? {
            Reserved::Known(first) => Ok(Some(first)),
            Reserved::InFlight(held_by) => self.await_first_attempt(attempt, key, held_by).await,
            Reserved::New => {
                attempt.is_unsure.store(self.reservations.are_shared(), Ordering::Relaxed);
                self.stored_answer(user, key).await
            }
            // The shared state knows of no such key anywhere: that is enough while the store is away.
            Reserved::NewEverywhere => Ok(self.stored_answer(user, key).await.unwrap_or(None)),
        }
    }

    /// Waits for the answer of an attempt in flight. When there is none, and the store has none either, this attempt takes
    /// over.
    async fn await_first_attempt(
        &self,
        attempt: &Attempt,
        key: &str,
        held_by: Snowflake,
    ) -> Result<Option<FirstAnswer>, Refusal> {
        let user = &attempt.who.user_id;
        if let Some(first) = self.reservations.wait(user, key, FIRST_ATTEMPT_WAIT_MAX).await? {
            return Ok(Some(first));
        }
        if let Some(first) = self.store.first_answer(user, key).await.map_err(|_| Refusal::Unknown)? {
            self.reservations.settle(user, key, first).await?;
            return Ok(Some(first));
        }
        match self.reservations.take_over(user, key, held_by, attempt.id, self.clock.now_ms()).await? {
            Reserved::Known(first) => Ok(Some(first)),
            Reserved::InFlight(_) => Err(Refusal::Unknown),
            Reserved::New | Reserved::NewEverywhere => {
                attempt.is_contended.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    /// The answer that the store has, if it has one; recorded for further retries.
    async fn stored_answer(&self, user: &UserId, key: &str) -> Result<Option<FirstAnswer>, Refusal> {
        let Some(first) = self.store.first_answer(user, key).await? else { return Ok(None) };
        self.reservations.settle(user, key, first).await?;
        Ok(Some(first))
    }

    async fn decide(&self, attempt: &Attempt, draft: CommentDraft) -> Result<Decision, Refusal> {
        let Attempt { who, room, id, .. } = attempt;
        let id = *id;
        let now_ms = self.clock.now_ms();
        let entry = self.rooms.entry(room).await?;
        let info = entry.info();
        let live = draft.session_id.is_none() || draft.session_id == info.session.as_ref().map(|s| s.id);
        self.may_write(who, room, &info, if live { Target::Live } else { Target::Recording })?;
        self.people.note_claim(who);
        if !live && !info.settings.store {
            return Err(Refusal::Forbidden("the room keeps no comments"));
        }
        let content = self.clean_content(&draft.content, &info.settings)?;
        let text_key = words::same_text_key(&content);
        // Perhaps of itself: of an attempt on a node that cannot be asked.
        let unless_own = |refusal| match refusal {
            Refusal::Duplicate { .. } | Refusal::Ruled { breach: Breach::Unique | Breach::Similar, .. }
                if attempt.is_unsure.load(Ordering::Relaxed) =>
            {
                Refusal::Unknown
            }
            refusal => refusal,
        };
        // The attempt that this one takes over was counted, and its text would make this one a duplicate.
        if !attempt.is_contended.load(Ordering::Relaxed) {
            self.check_rates(attempt, &info.settings, text_key, now_ms).await.map_err(unless_own)?;
        }
        let (content, word) = self.check_words(content)?;
        let screened = if self.must_screen(&info.settings) {
            let screened = self.screen(attempt, &entry, &info.settings, &draft.content, content, text_key, now_ms);
            screened.await.map_err(unless_own)?
        } else {
            Screened::clean(content)
        };
        let is_held = word.is_some() || screened.hold.is_some();
        if is_held {
            self.check_held(who).await?;
        }
        let placement = self.placement(&entry, room, &draft, live, now_ms).await?;
        let comment = Arc::new(Comment {
            id,
            room_id: room.clone(),
            session_id: Some(placement.session_id),
            user_id: who.user_id.clone(),
            username: self.filtered_name(&who.user_id, &who.username).as_ref().into(),
            level: effective_level(who, &info.settings),
            content: screened.content.into(),
            style: draft.style.unwrap_or_default(),
            kind: placement.kind,
            mentions: draft.mentions.into(),
            created_at_ms: now_ms,
            offset_ms: placement.offset_ms,
            like_count: 0,
            shadow: screened.shadow,
        });
        let keep = info.settings.store;
        attempt.is_kept.store(keep, Ordering::Relaxed);
        let client_msg_id = draft.client_msg_id.map(String::into_boxed_str);
        let admitted = |status| Admitted { id, status, created_at_ms: now_ms };
        if is_held {
            let Hold { reason, labels } = screened.hold.unwrap_or_default();
            let review = Review { word, reason, labels, ..Review::pending(comment, keep) };
            let first = self.hold_for_review(review, client_msg_id).await?;
            let held = Decision::Durable(admitted(CommentStatus::PendingReview));
            return Ok(first.map_or(held, Decision::Repeat));
        }
        let admitted = admitted(CommentStatus::Accepted);
        if let Some(due_ms) = screened.due_ms.filter(|_| comment.kind == Kind::Comment) {
            let first = self.delay(comment, keep, due_ms, client_msg_id).await?;
            return Ok(first.map_or(Decision::Durable(admitted), Decision::Repeat));
        }
        if comment.kind == Kind::Recorded {
            let first = self.store_recorded(comment, client_msg_id).await?;
            return Ok(first.map_or(Decision::Durable(admitted), Decision::Repeat));
        }
        Ok(Decision::Append(Record::Comment { comment, client_msg_id, keep }, admitted))
    }

    /// Cleans the text and checks its length.
    pub(crate) fn clean_content(&self, content: &str, settings: &RoomSettings) -> Result<String, Refusal> {
        let chars_max = settings.limits.comment_chars_max.unwrap_or(self.limits.comment_chars_max);
        let content = words::sanitise(content);
        match content.chars().count() {
            0 => Err(Refusal::Empty),
            n if n > chars_max as usize => Err(Refusal::TooLong { chars_max }),
            _ => Ok(content.into_owned()),
        }
    }

    pub(crate) async fn check_rates(
        &self,
        attempt: &Attempt,
        settings: &RoomSettings,
        text_key: u64,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let Attempt { who, room, claims, .. } = attempt;
        let level = effective_level(who, settings);
        let user_per_s = match level {
            Level::Normal => settings.limits.user_per_s.unwrap_or(self.limits.normal_per_s),
            Level::Vip => self.limits.vip_per_s,
            Level::Owner | Level::Moderator | Level::Admin => self.limits.owner_per_s,
        };
        let slowed = settings.slow_mode_s > 0 && level <= Level::Vip;
        let answer = self.rate_limiter.admit(RateRequest {
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
            RateDecision::Admitted => {
                let mut claims = claims.lock();
                (claims.text_key, claims.slow_mode) = (Some(text_key), slowed);
                Ok(())
            }
            RateDecision::CoolingDown { retry_after_ms } => Err(Refusal::CoolingDown { retry_after_ms }),
            RateDecision::Limited { scope, retry_after_ms } => Err(Refusal::Limited { scope, retry_after_ms }),
            RateDecision::Duplicate { retry_after_ms } => Err(Refusal::Duplicate { retry_after_ms }),
        }
    }

    /// The text as it may be published, and the word that holds it for review, if one does.
    pub(crate) fn check_words(&self, content: String) -> Result<(String, Option<String>), Refusal> {
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

    /// The session a comment belongs to, and where in it.
    async fn placement(
        &self,
        entry: &RoomEntry,
        room: &RoomId,
        draft: &CommentDraft,
        live: bool,
        now_ms: i64,
    ) -> Result<Placement, Refusal> {
        if live {
            let session = self.rooms.session_for_comment(entry, room, now_ms).await?;
            let offset_ms = (now_ms - session.started_at_ms).max(0);
            return Ok(Placement { session_id: session.id, offset_ms, kind: Kind::Comment });
        }
        let id = draft.session_id.ok_or(Refusal::NotFound("there is no such session"))?;
        let session = self.store.session(id).await?.filter(|session| session.room_id == *room);
        let session = session.ok_or(Refusal::NotFound("there is no such session in this room"))?;
        match draft.offset_ms {
            Some(offset_ms @ 0..=OFFSET_MS_MAX) => {
                Ok(Placement { session_id: session.id, offset_ms, kind: Kind::Recorded })
            }
            _ => Err(Refusal::Invalid("offset_ms must be an offset in the recording, at most a week".into())),
        }
    }

    /// Nobody fills the moderators' queue alone.
    async fn check_held(&self, who: &Identity) -> Result<(), Refusal> {
        let max = self.limits.held_per_user;
        if self.store.held_of(&who.user_id, max).await? >= max {
            return Err(Refusal::Limited { scope: Scope::User, retry_after_ms: HELD_RETRY_MS });
        }
        Ok(())
    }

    async fn hold_for_review(
        &self,
        review: Review,
        client_msg_id: Option<Box<str>>,
    ) -> Result<Option<FirstAnswer>, Refusal> {
        let first = self.store.hold(&review, client_msg_id.as_deref()).await.map_err(|_| Refusal::Unknown)?;
        if first.is_none() {
            let mut told = comment_data(&review.comment);
            told["reason"] = review.reason.clone().or_else(|| review.word.clone()).into();
            told["labels"] = serde_json::json!(review.labels);
            // It is held; a service that is not told finds it in the queue.
            let _ = self.webhooks.emit("review", Some(&review.comment.room_id), told).await;
            (self.review_listener)(&review.comment, ReviewStatus::Pending);
        }
        Ok(first)
    }

    /// A comment on a recording has no position in the log, so it goes to the store alone.
    /// Returns the first answer if an earlier comment has the same `client_msg_id`.
    async fn store_recorded(
        &self,
        comment: Arc<Comment>,
        client_msg_id: Option<Box<str>>,
    ) -> Result<Option<FirstAnswer>, Refusal> {
        let comment = NewComment { comment, position: 0, client_msg_id };
        let repeats = self.store.append_comments(vec![comment]).await.map_err(|_| Refusal::Unknown)?;
        Ok(repeats.first().map(|repeat| repeat.first))
    }

    /// Publishes a comment that was held for review.
    pub(crate) async fn publish(&self, comment: Arc<Comment>, keep: bool) -> Result<(), Refusal> {
        if comment.kind == Kind::Recorded {
            return self.store_recorded(comment, None).await.map(drop);
        }
        let record = Record::Comment { comment: comment.clone(), client_msg_id: None, keep };
        self.log.append(comment.room_id.clone(), record).await?;
        Ok(())
    }

    /// Counts a refusal towards the sender's cool-down, and tells the sender when one starts.
    async fn count_refusal(&self, who: &Identity, room: &RoomId, refusal: &Refusal) {
        if !refusal.counts() {
            return;
        }
        let now_ms = self.clock.now_ms();
        // While the shared state is away, refusals are not counted.
        if let Ok(Some(mute_ms)) = self.rate_limiter.refused(&who.user_id, now_ms, &cool_down(&self.limits)).await {
            let until_ms = now_ms + i64::try_from(mute_ms).unwrap_or(i64::MAX / 2);
            self.notify_muted(room, &who.user_id, until_ms, Some("too many refused comments".into())).await;
        }
    }
}

/// When refusals start a cool-down.
fn cool_down(limits: &settings::Limits) -> CoolDown {
    CoolDown {
        refusals: limits.cool_down_refusals,
        within_ms: limits.cool_down_within_ms,
        mute_ms: limits.cool_down_mute_ms,
        mute_ms_max: limits.cool_down_mute_ms_max,
    }
}

/// From the first check to the answer of the log or the store.
fn publish_span(trace: Trace, begun: SystemTime, room: &RoomId, admitted: &Admitted) -> Span {
    let status = if admitted.status == CommentStatus::Accepted { "accepted" } else { "pending_review" };
    Span {
        name: "publish",
        trace,
        id: trace.first_span(),
        parent: None,
        begun,
        ended: SystemTime::now().max(begun),
        attributes: vec![
            ("barrage.room_id", Value::Text(room.to_string())),
            ("barrage.comment_id", Value::Text(admitted.id.to_string())),
            ("barrage.status", Value::Text(status.into())),
        ],
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

struct Placement {
    session_id: Snowflake,
    offset_ms: i64,
    kind: Kind,
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

/// The room's owner has at least level `owner`, whatever the token says.
pub(crate) fn effective_level(who: &Identity, settings: &RoomSettings) -> Level {
    if settings.owner_id.as_ref() == Some(&who.user_id) { who.level.max(Level::Owner) } else { who.level }
}
