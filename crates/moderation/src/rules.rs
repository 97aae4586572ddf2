//! The rules, each with its name and what the sender is told.
//!
//! [`check`] answers with the first breach. Rules that need what nodes share (a person's first comment, texts and rates in
//! the whole room) are asked by `ingest`, in the order of [`Breach`].

use model::Code;
use model::moderation::{Links, Moderation};

use crate::links::{hosts, is_allowed};
use crate::recent::{Recent, Shingles};
use crate::text::{capitals, is_emoji_only};

/// A rule that a comment breaks. Its name is the key of `moderation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The variants are the keys of `Moderation`.
pub enum Breach {
    VerifiedOnly,
    FollowersOnly,
    AccountAge,
    LevelSlow,
    EmojiOnly,
    Links,
    Capitals,
    BlockedTerms,
    Similar,
    Unique,
}

impl Breach {
    /// The key of `moderation`.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::VerifiedOnly => "verified_only",
            Self::FollowersOnly => "followers_only_s",
            Self::AccountAge => "account_age_s",
            Self::LevelSlow => "level_slow_s",
            Self::EmojiOnly => "emoji_only",
            Self::Links => "links",
            Self::Capitals => "capitals",
            Self::BlockedTerms => "blocked_terms",
            Self::Similar => "similar",
            Self::Unique => "unique_s",
        }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::VerifiedOnly | Self::FollowersOnly | Self::AccountAge => Code::Forbidden,
            Self::LevelSlow => Code::RateLimited,
            Self::EmojiOnly | Self::Links | Self::Capitals | Self::BlockedTerms | Self::Similar => Code::ContentBlocked,
            Self::Unique => Code::DuplicateComment,
        }
    }

    /// For people.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::VerifiedOnly => "only verified people may speak in this room now",
            Self::FollowersOnly => "only followers may speak in this room now",
            Self::AccountAge => "your account is too young to speak in this room now",
            Self::LevelSlow => "the room is in slow mode",
            Self::EmojiOnly => "the room takes only emoji now",
            Self::Links => "links are not allowed in this room",
            Self::Capitals => "too many capital letters",
            Self::BlockedTerms => "that is not said in this room",
            Self::Similar => "somebody said nearly the same a moment ago",
            Self::Unique => "that was said in this room a moment ago",
        }
    }
}

/// What is known of the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Whether the deployment has verified the person.
    pub verified: bool,
    /// Since when the sender follows, Unix milliseconds.
    pub followed_at_ms: Option<i64>,
    /// Since when the account exists, Unix milliseconds; `None` is unknown.
    pub created_at_ms: Option<i64>,
}

/// Whether the age of an account has to be known for [`check`].
#[must_use]
pub fn needs_age(rules: &Moderation) -> bool {
    rules.account_age_s.is_some_and(|s| s > 0)
}

/// Checks who speaks and what is said. `text` is the cleaned text.
///
/// # Errors
/// The first rule that the comment breaks.
pub fn check(rules: &Moderation, sender: &Sender, text: &str, now_ms: i64) -> Result<(), Breach> {
    if rules.verified_only == Some(true) && !sender.verified {
        return Err(Breach::VerifiedOnly);
    }
    let for_ms = |seconds: u32| i64::from(seconds) * 1_000;
    if let Some(seconds) = rules.followers_only_s
        && sender.followed_at_ms.is_none_or(|since_ms| now_ms.saturating_sub(since_ms) < for_ms(seconds))
    {
        return Err(Breach::FollowersOnly);
    }
    if let Some(seconds) = rules.account_age_s
        && sender.created_at_ms.is_none_or(|since_ms| now_ms.saturating_sub(since_ms) < for_ms(seconds))
    {
        return Err(Breach::AccountAge);
    }
    if rules.emoji_only == Some(true) && !is_emoji_only(text) {
        return Err(Breach::EmojiOnly);
    }
    let forbidden = |links: &Links| match links {
        Links::Word(_) => !hosts(text).is_empty(),
        Links::Hosts(allowed) => !hosts(text).iter().all(|host| is_allowed(host, allowed)),
    };
    if rules.links.as_ref().is_some_and(forbidden) {
        return Err(Breach::Links);
    }
    if let Some(share) = rules.capitals {
        let capitals = capitals(text);
        if capitals > 0.0 && capitals >= share.get() {
            return Err(Breach::Capitals);
        }
    }
    Ok(())
}

/// Compares a text with the room's last ones. Asked after `unique_s`, whose refusal of the very same text says more.
///
/// # Errors
/// [`Breach::Similar`].
pub fn check_similar(rules: &Moderation, shingles: &Shingles, recent: &Recent) -> Result<(), Breach> {
    match rules.similar {
        Some(threshold) if recent.has_similar(shingles, threshold.get()) => Err(Breach::Similar),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn rules(json: &str) -> Moderation {
        serde_json::from_str(json).expect("rules")
    }

    fn outcome(json: &str, sender: Sender, text: &str) -> Result<(), Breach> {
        check(&rules(json), &sender, text, NOW_MS)
    }

    #[test]
    fn each_rule_refuses_what_it_is_for_and_nothing_else() {
        let nobody = Sender { verified: false, followed_at_ms: None, created_at_ms: None };
        let ago = |s: i64| Some(NOW_MS - s * 1_000);
        for (json, sender, text, expected) in [
            (r#"{"links":"none"}"#, nobody, "see example.com", Err(Breach::Links)),
            (r#"{"links":["example.com"]}"#, nobody, "see example.com", Ok(())),
            (r#"{"links":["example.com"]}"#, nobody, "example.com evil.net", Err(Breach::Links)),
            (r#"{"capitals":0.7}"#, nobody, "WHY IS THIS", Err(Breach::Capitals)),
            (r#"{"capitals":0.7}"#, nobody, "Why is this", Ok(())),
            (r#"{"emoji_only":true}"#, nobody, "hello", Err(Breach::EmojiOnly)),
            (r#"{"emoji_only":true}"#, nobody, "🎉", Ok(())),
            (r#"{"emoji_only":false}"#, nobody, "hello", Ok(())),
            (r#"{"followers_only_s":60}"#, nobody, "hello", Err(Breach::FollowersOnly)),
            (
                r#"{"followers_only_s":60}"#,
                Sender { followed_at_ms: ago(59), ..nobody },
                "hi",
                Err(Breach::FollowersOnly),
            ),
            (r#"{"followers_only_s":60}"#, Sender { followed_at_ms: ago(60), ..nobody }, "hi", Ok(())),
            (r#"{"followers_only_s":0}"#, Sender { followed_at_ms: ago(0), ..nobody }, "hi", Ok(())),
            (r#"{"account_age_s":60}"#, Sender { created_at_ms: ago(9), ..nobody }, "hi", Err(Breach::AccountAge)),
            (r#"{"account_age_s":60}"#, Sender { created_at_ms: ago(61), ..nobody }, "hi", Ok(())),
            (r#"{"verified_only":true}"#, nobody, "hi", Err(Breach::VerifiedOnly)),
            (r#"{"verified_only":true}"#, Sender { verified: true, ..nobody }, "hi", Ok(())),
        ] {
            assert_eq!(outcome(json, sender, text), expected, "{json} {text}");
        }
    }

    #[test]
    fn copies_are_refused_from_the_threshold_on() {
        let (rules, recent) = (rules(r#"{"similar":0.8}"#), Recent::default());
        let said = |text: &str| check_similar(&rules, &Shingles::of(text).expect("long enough"), &recent);
        assert_eq!(said("add me on abc123 for gifts"), Ok(()));
        recent.remember(Shingles::of("add me on abc123 for gifts").expect("long enough"));
        assert_eq!(said("Add me on abc124 for gifts!!"), Err(Breach::Similar));
        assert_eq!(said("what a lovely evening"), Ok(()));
    }
}
