//! What stands between the word lists and the log, in rooms that want it: the room's rules, then the hook.
//!
//! Called by [`crate::admit`] alone. The rules are functions of the crate `moderation`; here they get what they need of the
//! store and the shared state. The hook is asked while the sender's later comments wait behind this one, so that a sender's
//! comments keep their order. Owner, moderators, helpers and admins are exempt.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dashmap::DashMap;
use model::moderation::{Fallback, FirstTime, Moderation, Verdict};
use model::{Identity, RoomId, RoomSettings, UserId, rfc3339_ms};
use moderation::{Breach, Classifier, Sender, Shingles, classifier, rules};
use outbound::hook::{Hook, Item, ItemKind, ItemUser, Opinion};
use outbound::sign::AddressHasher;
use state::{LimitKey, Rate};
use store::{AuditEntry, LabelScore};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::admit::Attempt;
use crate::context::ContextReads;
use crate::rooms::RoomEntry;
use crate::{Ingest, Refusal};

/// What decides about comments besides the rooms' own rules.
#[derive(Default)]
pub struct Screening {
    /// The classifier, where it is switched on.
    pub classifier: Option<Classifier>,
    /// The hook, where one is configured.
    pub hook: Option<Hook>,
    /// What holds without its answer, unless the room says otherwise.
    pub fallback: Fallback,
    /// How long a moderator's claim of a held comment holds, in milliseconds.
    pub claim_ms: i64,
    /// The reasons that a decision about a comment may have.
    pub reasons: Vec<String>,
    /// Whether moderators are told of raids, unless the room says otherwise.
    pub raid_alarm: bool,
    /// Tells the hook which comments come from one address.
    pub address_hasher: Option<AddressHasher>,
    pub(crate) context_reads: ContextReads,
    turns: Turns,
}

impl Screening {
    /// With a classifier or a hook, or with both.
    #[must_use]
    pub fn new(classifier: Option<Classifier>, hook: Option<Hook>, fallback: Fallback, claim_ms: i64) -> Self {
        Self { classifier, hook, fallback, claim_ms, ..Self::default() }
    }
}

type TurnKey = (RoomId, UserId);
type Turns = Arc<DashMap<TurnKey, Arc<Mutex<()>>, ahash::RandomState>>;

/// A sender's turn in a room; the next comment's begins when it is dropped.
pub(crate) struct Turn {
    key: TurnKey,
    guard: Option<OwnedMutexGuard<()>>,
    turns: Turns,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        self.turns.remove_if(&self.key, |_, turn| Arc::strong_count(turn) == 1);
    }
}

/// A comment that may enter.
pub(crate) struct Screened {
    /// The text as it may be published.
    pub content: String,
    /// Why a moderator is to decide first, if so.
    pub hold: Option<Hold>,
    /// Whether only its sender and moderators are to see it.
    pub shadow: bool,
    /// When it is to be published, if not now. Unix milliseconds.
    pub due_ms: Option<i64>,
}

/// Why a comment is held.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// The rule, hook or classifier, or what it said.
    pub reason: Option<String>,
    /// What was found.
    pub labels: Vec<LabelScore>,
}

impl Screened {
    /// A comment that nothing speaks against.
    pub fn clean(content: String) -> Self {
        Self { content, hold: None, shadow: false, due_ms: None }
    }
}

/// What the classifier finds from this score on is held where the room has no threshold of its own. Links are only labelled.
const HOLD_SCORE: f64 = 0.5;

/// The classifier's opinion: scores, and `hold` for what the room has no threshold for.
fn classify(classifier: &Classifier, rules: &Moderation, text: &str) -> Opinion {
    let scores = classifier::LABELS.into_iter().zip(classifier.scores(text));
    let labels: Vec<_> = scores.map(|(name, score)| LabelScore { name: name.to_owned(), score }).collect();
    let held = |label: &LabelScore| {
        label.name != "links" && label.score >= HOLD_SCORE && !rules.thresholds.contains_key(&label.name)
    };
    let reached =
        |label: &LabelScore| rules.thresholds.get(&label.name).filter(|threshold| label.score >= threshold.score.get());
    let by_room = labels.iter().filter_map(reached).map(|threshold| threshold.verdict).max();
    let by_default = labels.iter().any(held).then_some(Verdict::Hold);
    Opinion { verdict: by_room.max(by_default), labels, ..Opinion::default() }
}

impl Ingest {
    /// Whether comments of a room with these settings are screened at all: the one question that each comment pays for.
    pub(crate) fn must_screen(&self, settings: &RoomSettings) -> bool {
        let Screening { hook, classifier, raid_alarm, .. } = &self.screening;
        settings.moderation.is_some() || hook.is_some() || classifier.is_some() || *raid_alarm
    }

    /// Applies the room's rules, then asks the hook.
    #[allow(clippy::too_many_arguments)] // Everything that [`crate::admit`] knows by then.
    pub(crate) async fn screen(
        &self,
        attempt: &Attempt,
        entry: &Arc<RoomEntry>,
        settings: &RoomSettings,
        raw_text: &str,
        content: String,
        text_key: u64,
        now_ms: i64,
    ) -> Result<Screened, Refusal> {
        let Attempt { who, room, .. } = attempt;
        let mut screened = Screened::clean(content);
        if who.is_staff(room, settings) {
            return Ok(screened);
        }
        let none = Moderation::default();
        let rules = settings.moderation.as_deref().unwrap_or(&none);
        if rules.raid_alarm.unwrap_or(self.screening.raid_alarm) {
            self.raids.said(who, room, attempt.id, &screened.content, now_ms);
        }
        if settings.moderation.is_some() {
            self.check_rules(attempt, entry, settings, rules, &screened.content, text_key, now_ms).await?;
        }
        if rules.first_time == Some(FirstTime::Hold)
            && !self.people.has_spoken(&*self.store, room, &who.user_id).await?
        {
            screened.hold = Some(Hold { reason: Some("first_time".into()), labels: Vec::new() });
        }
        if let Some(classifier) = &self.screening.classifier {
            let opinion = classify(classifier, rules, &screened.content);
            self.apply(attempt, "classifier", rules, opinion, &mut screened).await?;
        }
        if let Some(hook) = self.screening.hook.as_ref().filter(|_| rules.hook.unwrap_or(true)) {
            let mut item = self.item(attempt, settings, raw_text, &screened.content, now_ms).await;
            if hook.wants_context() {
                item.context = self.context(entry, room, now_ms).await;
            }
            let (turn, outcome) = futures::join!(self.turn(room, &who.user_id), hook.ask(item));
            *attempt.turn.lock() = Some(turn);
            match (outcome, rules.fallback.unwrap_or(self.screening.fallback)) {
                (Ok(opinion), _) => self.apply(attempt, "hook", rules, opinion, &mut screened).await?,
                (Err(_), Fallback::Allow) => {}
                (Err(reason), Fallback::Hold) => {
                    let reason = Some(format!("the hook did not answer: {}", reason.as_str()));
                    screened.hold.get_or_insert_with(|| Hold { reason, labels: Vec::new() });
                }
                (Err(_), Fallback::Deny) => return Err(Refusal::HookAway),
            }
        }
        let delay_s = rules.delay_s.filter(|s| *s > 0 && !screened.shadow);
        screened.due_ms = delay_s.map(|s| now_ms + i64::from(s) * 1_000);
        Ok(screened)
    }

    /// A text that is no comment, under everything that holds for comments. Nobody can hold or shadow it: that is refused.
    /// The caller takes the attempt back when the text is refused here or later.
    pub(crate) async fn screen_text(
        &self,
        attempt: &Attempt,
        entry: &Arc<RoomEntry>,
        settings: &RoomSettings,
        text: &str,
    ) -> Result<String, Refusal> {
        let now_ms = self.clock.now_ms();
        let content = self.clean_content(text, settings)?;
        let text_key = words::same_text_key(&content);
        self.check_rates(attempt, settings, text_key, now_ms).await?;
        let (content, word) = self.check_words(content)?;
        if word.is_some() {
            return Err(Refusal::Blocked);
        }
        if !self.must_screen(settings) {
            return Ok(content);
        }
        let screened = self.screen(attempt, entry, settings, text, content, text_key, now_ms).await?;
        match screened {
            Screened { hold: None, shadow: false, content, .. } => Ok(content),
            _ => Err(Refusal::Screened { by: "hook", reason: None }),
        }
    }

    /// Waits until the sender's earlier comments are through.
    async fn turn(&self, room: &RoomId, user: &UserId) -> Turn {
        let (key, turns) = ((room.clone(), user.clone()), self.screening.turns.clone());
        let turn = turns.entry(key.clone()).or_default().clone();
        Turn { guard: Some(turn.lock_owned().await), key, turns }
    }

    async fn item(&self, attempt: &Attempt, settings: &RoomSettings, raw_text: &str, text: &str, now_ms: i64) -> Item {
        let Attempt { who, room, id, .. } = attempt;
        let created_at_ms = who.standing.as_deref().and_then(|standing| standing.created_at_ms);
        // While the store is away nobody is known: that must not keep a comment from its verdict.
        let first_seen = self.people.first_seen(&*self.store, &who.user_id, now_ms).await.unwrap_or(now_ms);
        let user = ItemUser {
            id: who.user_id.clone(),
            name: who.username.to_string(),
            level: crate::admit::effective_level(who, settings),
            roles: who.role(room, settings).map(|role| role.as_str()).into_iter().collect(),
            first_seen: rfc3339_ms(created_at_ms.unwrap_or(first_seen).min(now_ms)),
        };
        let (text, raw_text) = (text.to_owned(), raw_text.to_owned());
        let client_ip_hash = attempt.address.zip(self.screening.address_hasher.as_ref());
        let client_ip_hash = client_ip_hash.map(|(address, hasher)| hasher.hash(address));
        let (kind, room_id, context) = (ItemKind::Comment, Some(room.clone()), Vec::new());
        Item { id: *id, kind, room_id, user, text, raw_text, client_ip_hash, context }
    }

    /// Does what the hook or the classifier says, or what its scores mean in the room.
    async fn apply(
        &self,
        attempt: &Attempt,
        by: &'static str,
        rules: &Moderation,
        opinion: Opinion,
        screened: &mut Screened,
    ) -> Result<(), Refusal> {
        let Opinion { verdict, text, labels, reason, .. } = opinion;
        let reached = |label: &LabelScore| {
            rules.thresholds.get(&label.name).filter(|threshold| label.score >= threshold.score.get())
        };
        let scored = || labels.iter().filter_map(reached).map(|threshold| threshold.verdict).max();
        let verdict = verdict.or_else(scored).unwrap_or_default();
        let because = || Some(reason.clone().unwrap_or_else(|| by.to_owned()));
        match verdict {
            Verdict::Allow => return Ok(()),
            Verdict::Deny => return Err(Refusal::Screened { by, reason }),
            Verdict::Mask => screened.content = self.masked(text, &screened.content),
            Verdict::Hold => {
                let hold = screened.hold.get_or_insert_default();
                hold.reason = because();
                hold.labels = labels;
            }
            Verdict::Shadow => (screened.shadow, screened.hold) = (true, None),
        }
        let action = match verdict {
            Verdict::Mask => "comment.mask",
            Verdict::Hold => "comment.hold",
            _ => "comment.shadow",
        };
        self.audit_screening(by, action, &attempt.room, &attempt.who.user_id, Some(attempt.id.to_string())).await;
        Ok(())
    }

    /// The text of a mask, or as many stars as the content has characters.
    fn masked(&self, text: Option<String>, content: &str) -> String {
        let chars_max = content.chars().count().max(self.limits.comment_chars_max as usize);
        let masked = text.map(|text| words::sanitise(&text).chars().take(chars_max).collect::<String>());
        masked.filter(|text| !text.is_empty()).unwrap_or_else(|| "*".repeat(content.chars().count()))
    }

    /// Asks the hook about a private or group message. Nobody reviews those: what would be held is refused, and so it is
    /// without an answer where the fallback is not `allow`. The item's id is the question's, not the message's.
    ///
    /// # Errors
    /// [`Refusal::Screened`], [`Refusal::HookAway`].
    pub async fn screen_message(&self, who: &Identity, raw_text: &str, text: String) -> Result<String, Refusal> {
        let Some(hook) = &self.screening.hook else { return Ok(text) };
        let now_ms = self.clock.now_ms();
        let created_at_ms = who.standing.as_deref().and_then(|standing| standing.created_at_ms);
        let first_seen = self.people.first_seen(&*self.store, &who.user_id, now_ms).await.unwrap_or(now_ms);
        let user = ItemUser {
            id: who.user_id.clone(),
            name: who.username.to_string(),
            level: who.level,
            roles: Vec::new(),
            first_seen: rfc3339_ms(created_at_ms.unwrap_or(first_seen).min(now_ms)),
        };
        let (id, raw_text) = (self.ids.next()?, raw_text.to_owned());
        let (kind, room_id, client_ip_hash, context) = (ItemKind::Message, None, None, Vec::new());
        let item = Item { id, kind, room_id, user, text: text.clone(), raw_text, client_ip_hash, context };
        match (hook.ask(item).await, self.screening.fallback) {
            (Ok(opinion), _) => match opinion.verdict.unwrap_or_default() {
                Verdict::Allow => Ok(text),
                Verdict::Mask => Ok(self.masked(opinion.text, &text)),
                Verdict::Hold | Verdict::Shadow | Verdict::Deny => {
                    Err(Refusal::Screened { by: "hook", reason: opinion.reason })
                }
            },
            (Err(_), Fallback::Allow) => Ok(text),
            (Err(_), Fallback::Hold | Fallback::Deny) => Err(Refusal::HookAway),
        }
    }

    #[allow(clippy::too_many_arguments)]
    async fn check_rules(
        &self,
        attempt: &Attempt,
        entry: &Arc<RoomEntry>,
        settings: &RoomSettings,
        rules: &Moderation,
        content: &str,
        text_key: u64,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let Attempt { who, room, .. } = attempt;
        let standing = who.standing.as_deref();
        let claimed_ms = standing.and_then(|standing| standing.created_at_ms);
        let created_at_ms = match claimed_ms {
            None if rules::needs_age(rules) => Some(self.people.first_seen(&*self.store, &who.user_id, now_ms).await?),
            claimed => claimed,
        };
        let sender = Sender {
            verified: standing.is_some_and(|standing| standing.verified),
            followed_at_ms: standing.and_then(|standing| standing.followed_at_ms),
            created_at_ms,
        };
        let shingles = rules.similar.and_then(|_| Shingles::of(content));
        let broken = |breach| Refusal::Ruled { breach, retry_after_ms: None };
        rules::check(rules, &sender, content, now_ms).map_err(broken)?;
        if !rules.blocked_terms.is_empty() && entry.has_blocked_term(content) {
            return Err(broken(Breach::BlockedTerms));
        }
        // The attempt that this one takes over counts for the other rules, and would make this one a copy of itself.
        if attempt.is_contended.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(slow) = &rules.level_slow_s {
            let seconds = slow.seconds(crate::admit::effective_level(who, settings));
            self.allow_again(attempt, Breach::LevelSlow, format!("{room} {}", who.user_id), seconds, now_ms).await?;
        }
        if let Some(seconds) = rules.unique_s {
            self.allow_again(attempt, Breach::Unique, format!("{room} {text_key:x}"), seconds, now_ms).await?;
        }
        if let Some(shingles) = shingles {
            rules::check_similar(rules, &shingles, entry.recent()).map_err(broken)?;
            entry.recent().remember(shingles.clone());
            attempt.claims.lock().recent = Some((entry.clone(), shingles));
        }
        Ok(())
    }

    /// Refuses what all nodes together have allowed within `seconds`.
    async fn allow_again(
        &self,
        attempt: &Attempt,
        breach: Breach,
        id: String,
        seconds: u32,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        if seconds == 0 {
            return Ok(());
        }
        let key = LimitKey { scope: breach.rule(), id: &id };
        let allowed = self.rate_limiter.allow(key, Rate::every_ms(seconds.saturating_mul(1_000)), now_ms).await?;
        allowed.map_err(|wait_ms| Refusal::Ruled { breach, retry_after_ms: Some(wait_ms.max(1)) })?;
        attempt.claims.lock().limits.push((breach, id));
        Ok(())
    }

    /// Writes a decision of a rule, the hook or the classifier into the audit trail. The comment's fate does not depend on it:
    /// the store logs and counts its failures.
    pub(crate) async fn audit_screening(
        &self,
        by: &str,
        action: &str,
        room: &RoomId,
        user: &UserId,
        detail: Option<String>,
    ) {
        self.audit_by_rule(by, action, room, user.to_string(), detail).await;
    }

    /// Writes what a rule, the hook or the classifier did into the audit trail.
    pub(crate) async fn audit_by_rule(
        &self,
        by: &str,
        action: &str,
        room: &RoomId,
        target: String,
        detail: Option<String>,
    ) {
        let actor = match by {
            "hook" | "classifier" => by.to_owned(),
            rule => format!("rule:{rule}"),
        };
        let (at_ms, action, room_id) = (self.clock.now_ms(), action.to_owned(), Some(room.clone()));
        let _ = self.store.audit(vec![AuditEntry { at_ms, actor, action, room_id, target, detail }]).await;
    }
}
