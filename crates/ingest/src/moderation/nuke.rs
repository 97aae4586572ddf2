//! Hides many comments of a room at once and, if asked, mutes their authors; and takes all of it back as one.
//!
//! A hidden comment keeps its text in the store until it is shown again or expires. Called by the API.

use std::collections::HashSet;

use model::{Comment, EventBody, RoomId, Snowflake, UserId};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{BanKind, Document, Review, ReviewStatus, RoomScope};

use super::{ModerationError, ModerationResult, Moderator, NewBan};
use crate::Ingest;
use crate::events::Importance;
use crate::rights::Action;

/// Comments that one action looks at, newest first.
const LOOKED_AT_MAX: usize = 10_000;
/// How far back it may look, in minutes: a day.
const MINUTES_MAX: u32 = 1_440;
/// Memory of a compiled expression, in bytes. The engine is linear in the text.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Longest expression or text, in characters.
const PATTERN_CHARS_MAX: usize = 500;
/// Comments in one event that shows them again.
const RESTORED_MAX: usize = 50;
/// The oldest age of an account that may be asked for, in seconds: a year.
const AGE_S_MAX: u32 = 366 * 86_400;
/// The longest mute, in seconds: ten years.
const MUTE_S_MAX: u64 = 10 * 365 * 86_400;
/// People whom one action mutes.
const MUTED_MAX: usize = 1_000;
/// The kind of the documents that remember actions.
const KIND: &str = "nuke";

/// Which comments go: by exactly one of these.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NukeMatch {
    /// Those that contain this text; case, width and punctuation do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_length = 500)]
    pub text: Option<String>,
    /// Those that match this expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_length = 500)]
    pub regex: Option<String>,
    /// Those of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user_id: Option<UserId>,
    /// Everything of those who said this text within the minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_length = 500)]
    pub said: Option<String>,
    /// Everything of accounts younger than this, in seconds: by the token's claim, else by when they were first seen here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 31_622_400)]
    pub account_age_s: Option<u32>,
}

/// The body of `POST /admin/rooms/{room_id}/nuke`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct NukeRequest {
    /// Which comments.
    #[serde(rename = "match")]
    pub matches: NukeMatch,
    /// Of the last minutes.
    #[schema(minimum = 1, maximum = 1440)]
    pub minutes: u32,
    /// Counts only.
    #[serde(default)]
    pub preview: bool,
    /// Mutes the authors in the room too, for so many seconds; those who moderate it excepted.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 315_360_000)]
    pub mute_s: Option<u64>,
    /// Why: a reason of the list. Who is muted is told.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What the audit trail keeps of an action.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    matches: &'a NukeMatch,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// What an action hides, or would hide.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct NukeReport {
    /// Comments.
    pub comments: usize,
    /// People who wrote them.
    pub users: usize,
    /// People who were muted, or whose mute was lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub muted: Option<usize>,
    /// Undoes it; absent in a preview.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub action_id: Option<Snowflake>,
}

/// An action as it is remembered.
#[derive(Serialize, Deserialize)]
struct Remembered {
    hidden: Vec<Snowflake>,
    delayed: Vec<Snowflake>,
    /// Ids of mutes.
    #[serde(default)]
    muted: Vec<Snowflake>,
}

enum Matcher {
    Text(String),
    Folded(String),
    Regex(Regex),
    /// Everything of these people.
    Users(HashSet<UserId>),
}

impl Matcher {
    fn new(by: &NukeMatch) -> ModerationResult<Self> {
        let invalid = |what: String| ModerationError::Invalid(what);
        let short = |text: &String| (1..=PATTERN_CHARS_MAX).contains(&text.chars().count());
        match by {
            NukeMatch { text: Some(text), regex: None, user_id: None, said: None, account_age_s: None }
            | NukeMatch { said: Some(text), text: None, regex: None, user_id: None, account_age_s: None }
                if short(text) =>
            {
                let folded = words::normalise(text);
                Ok(if folded.trim().is_empty() { Self::Text(text.clone()) } else { Self::Folded(folded) })
            }
            NukeMatch { regex: Some(regex), text: None, user_id: None, said: None, account_age_s: None }
                if short(regex) =>
            {
                let built = RegexBuilder::new(regex).size_limit(REGEX_BYTES_MAX).case_insensitive(true).build();
                built.map(Self::Regex).map_err(|error| invalid(format!("match.regex: {error}")))
            }
            NukeMatch { user_id: Some(user), text: None, regex: None, said: None, account_age_s: None } => {
                Ok(Self::Users(HashSet::from([user.clone()])))
            }
            // Who that is, is looked up.
            NukeMatch { account_age_s: Some(1..=AGE_S_MAX), text: None, regex: None, user_id: None, said: None } => {
                Ok(Self::Users(HashSet::new()))
            }
            _ => Err(invalid(
                "match must have exactly one of text, regex and said (1-500 characters), user_id, and account_age_s \
                 (1-31622400)"
                    .into(),
            )),
        }
    }

    fn hits(&self, comment: &Comment) -> bool {
        match self {
            Self::Text(text) => comment.content.contains(text.as_str()),
            Self::Folded(text) => words::normalise(&comment.content).contains(text.as_str()),
            Self::Regex(regex) => regex.is_match(&comment.content),
            Self::Users(users) => users.contains(&comment.user_id),
        }
    }
}

impl Ingest {
    /// Hides what matches in a room, or counts it.
    ///
    /// # Errors
    /// When the expression cannot be used, or this moderator may not.
    pub async fn nuke(&self, who: &Moderator, room: &RoomId, request: &NukeRequest) -> ModerationResult<NukeReport> {
        self.authorise_action(who, Some(room), Action::Decide).await?;
        let reason = request.reason.as_deref();
        self.check_reason(reason)?;
        let matcher = Matcher::new(&request.matches)?;
        if !(1..=MINUTES_MAX).contains(&request.minutes) {
            return Err(ModerationError::Invalid(format!("minutes must be 1 to {MINUTES_MAX}")));
        }
        if request.mute_s.is_some_and(|s| !(1..=MUTE_S_MAX).contains(&s)) {
            return Err(ModerationError::Invalid(format!("mute_s must be 1 to {MUTE_S_MAX} seconds")));
        }
        let now_ms = self.clock.now_ms();
        let since_ms = now_ms - i64::from(request.minutes) * 60_000;
        let is_new = |comment: &Comment| comment.created_at_ms >= since_ms;
        let mut seen = self.store.latest_comments(room, LOOKED_AT_MAX).await?;
        seen.retain(|found| is_new(&found.comment));
        let mut delayed = self.delayed_in(room).await?;
        delayed.retain(|review| is_new(&review.comment));
        let all = || seen.iter().map(|found| &*found.comment).chain(delayed.iter().map(|review| &*review.comment));
        let matcher = match request.matches {
            NukeMatch { said: Some(_), .. } => Matcher::Users(authors(all().filter(|comment| matcher.hits(comment)))),
            NukeMatch { account_age_s: Some(age_s), .. } => {
                Matcher::Users(self.younger_than(room, authors(all()), now_ms - i64::from(age_s) * 1_000).await?)
            }
            _ => matcher,
        };
        seen.retain(|found| matcher.hits(&found.comment));
        delayed.retain(|review| matcher.hits(&review.comment));
        let all = seen.iter().map(|found| &*found.comment).chain(delayed.iter().map(|review| &*review.comment));
        let users = authors(all);
        let comments = seen.len() + delayed.len();
        let mut report = NukeReport { comments, users: users.len(), muted: None, action_id: None };
        if request.preview || report.comments == 0 {
            return Ok(report);
        }
        let action_id = self.ids.next()?;
        let ids: Vec<_> = seen.iter().map(|found| found.comment.id).collect();
        let hidden = self.store.hide_comments(&ids, true).await?;
        self.publish_hidden(hidden.clone()).await?;
        let mut rejected = Vec::new();
        for review in delayed {
            if self.reject_delayed(review.comment.id, who.name()).await? {
                rejected.push(review.comment.id);
            }
        }
        let muted = match request.mute_s {
            Some(mute_s) => self.mute_all(who, room, users, mute_s, reason).await,
            None => Vec::new(),
        };
        let remembered = Remembered { hidden: hidden.iter().map(|(id, _)| *id).collect(), delayed: rejected, muted };
        report.comments = remembered.hidden.len() + remembered.delayed.len();
        report.muted = request.mute_s.map(|_| remembered.muted.len());
        self.store.add_document(&document(action_id, room, "done", &remembered)).await?;
        let detail = serde_json::to_string(&Detail { matches: &request.matches, reason }).ok();
        self.audit(who, "nuke", Some(room), action_id.to_string(), detail).await?;
        let told = json!({ "action_id": action_id, "room_id": room, "match": request.matches, "comments": report.comments,
            "users": report.users, "by": who.name(), "reason": reason });
        self.tell_services("nuke", Some(room), told).await?;
        report.action_id = Some(action_id);
        Ok(report)
    }

    /// Shows again what one action hid.
    ///
    /// # Errors
    /// When there is no such action, or it was undone before.
    pub async fn undo(&self, who: &Moderator, room: &RoomId, action: Snowflake) -> ModerationResult<NukeReport> {
        self.authorise_action(who, Some(room), Action::Decide).await?;
        let none = ModerationError::NotFound("there is no such action in this room");
        let found = self.store.document(KIND, &action.to_string()).await?;
        let Some(found) = found.filter(|found| found.room_id.as_ref() == Some(room)) else { return Err(none) };
        let remembered: Remembered = serde_json::from_str(&found.body).map_err(|_| none)?;
        let undone = Document { state: "undone".into(), ..found.clone() };
        if found.state == "undone" || !self.store.replace_document(&undone).await? {
            return Err(ModerationError::TooLate("it was undone before"));
        }
        let shown = self.store.hide_comments(&remembered.hidden, false).await?;
        let ids: Vec<_> = shown.iter().map(|(id, _)| *id).collect();
        let mut comments = self.store.comments_by_id(&ids).await?;
        comments.sort_by_key(|found| found.position);
        let users = comments.iter().map(|found| &found.comment.user_id).collect::<HashSet<_>>().len();
        for some in comments.chunks(RESTORED_MAX) {
            let comments = some.iter().map(|found| (found.position, found.comment.clone())).collect();
            self.publish_event(room, Importance::Plain, EventBody::CommentsRestored { comments }).await?;
        }
        let mut published = shown.len();
        for id in &remembered.delayed {
            if let Some(review) = self.store.review(*id).await? {
                self.publish(review.comment, review.keep).await?;
                published += 1;
            }
        }
        let mut lifted = 0;
        for id in &remembered.muted {
            // One that has ended, or that somebody has lifted, is no error.
            lifted += usize::from(self.lift_ban(who, *id).await.is_ok());
        }
        self.audit(who, "nuke.undo", Some(room), action.to_string(), None).await?;
        let muted = (!remembered.muted.is_empty()).then_some(lifted);
        Ok(NukeReport { comments: published, users, muted, action_id: Some(action) })
    }

    /// Mutes people in a room, but none who moderate it. Returns the ids of the mutes. It ends where a dependency is away: what
    /// was done until then can be undone.
    async fn mute_all(
        &self,
        who: &Moderator,
        room: &RoomId,
        users: HashSet<UserId>,
        duration_s: u64,
        reason: Option<&str>,
    ) -> Vec<Snowflake> {
        let mut muted = Vec::new();
        for user_id in users.into_iter().take(MUTED_MAX) {
            let Ok(info) = self.rooms.info(room).await else { break };
            match self.rank_of(&user_id, room, &info.settings).await {
                Ok(None) => {}
                Ok(Some(_)) => continue,
                Err(_) => break,
            }
            let (room_id, kind, reason) = (Some(room.clone()), BanKind::Mute, reason.map(str::to_owned));
            let mute = NewBan { user_id, room_id, duration_s, reason, kind, purge: false };
            match self.ban(who, mute).await {
                Ok(ban) => muted.push(ban.id),
                Err(ModerationError::Forbidden) => {}
                Err(_) => break,
            }
        }
        muted
    }

    /// Of some people those whose accounts were made after a moment. Nobody knows more of one than its first comment here.
    async fn younger_than(
        &self,
        room: &RoomId,
        users: HashSet<UserId>,
        after_ms: i64,
    ) -> ModerationResult<HashSet<UserId>> {
        let mut young = HashSet::new();
        for user in users {
            if self.people.known_since(&*self.store, room, &user).await?.is_none_or(|since_ms| since_ms > after_ms) {
                young.insert(user);
            }
        }
        Ok(young)
    }

    async fn delayed_in(&self, room: &RoomId) -> ModerationResult<Vec<Review>> {
        let scope = RoomScope::Listed(vec![room.clone()]);
        Ok(self.store.reviews(Some(ReviewStatus::Delayed), &scope, None, LOOKED_AT_MAX).await?)
    }
}

fn authors<'a>(comments: impl Iterator<Item = &'a Comment>) -> HashSet<UserId> {
    comments.map(|comment| comment.user_id.clone()).collect()
}

fn document(id: Snowflake, room: &RoomId, state: &str, remembered: &Remembered) -> Document {
    Document {
        kind: KIND,
        id: id.to_string(),
        room_id: Some(room.clone()),
        state: state.into(),
        body: serde_json::to_string(remembered).unwrap_or_default(),
        ..Document::default()
    }
}
