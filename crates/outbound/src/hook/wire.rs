//! What the hook is sent and what it answers, as JSON.
//!
//! Pure. One document for a batch; unknown fields and unknown ids in an answer are ignored, anything else that is not this
//! shape is no answer.

use std::collections::HashMap;

use model::moderation::Verdict;
use model::{RoomId, Snowflake, UserId};
use serde::{Deserialize, Serialize};
use store::LabelScore;

/// Labels of one answer.
pub(super) const LABELS_MAX: usize = 64;

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A comment in a room.
    Comment,
    /// A private or group message.
    Message,
}

impl ItemKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Comment => "comment",
            Self::Message => "message",
        }
    }
}

/// One comment or message to decide about.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// The comment's id.
    pub id: Snowflake,
    /// What it is.
    pub kind: ItemKind,
    /// Where it was said; absent for messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_id: Option<RoomId>,
    /// Who said it.
    pub user: ItemUser,
    /// The cleaned text.
    pub text: String,
    /// The text as it was typed.
    pub raw_text: String,
    /// Equal for comments from one address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ip_hash: Option<String>,
    /// The room's last comments, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<std::sync::Arc<str>>,
}

/// The sender.
#[derive(Debug, Clone, Serialize)]
pub struct ItemUser {
    /// The user id.
    pub id: UserId,
    /// The shown name.
    pub name: String,
    /// The level.
    pub level: model::Level,
    /// Roles in the room.
    pub roles: Vec<&'static str>,
    /// Since when the user is known here, RFC 3339.
    pub first_seen: String,
}

/// The document of a batch.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub version: u32,
    pub batch_id: &'a str,
    pub items: &'a [&'a Item],
}

/// What the hook says about one item.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Opinion {
    /// An explicit verdict.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// The text of a mask.
    #[serde(default)]
    pub text: Option<String>,
    /// Scores.
    #[serde(default)]
    pub labels: Vec<LabelScore>,
    /// What the sender is told, or the moderators.
    #[serde(default)]
    pub reason: Option<String>,
    /// How long the same answer holds for the same text, in seconds.
    #[serde(default)]
    pub ttl_s: Option<u32>,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<AnswerItem>,
}

#[derive(Deserialize)]
struct AnswerItem {
    id: String,
    #[serde(flatten)]
    opinion: Opinion,
}

/// The opinions of an answer by id; `None` when it is none. Of two about one item the first counts.
pub(super) fn opinions(body: &[u8]) -> Option<HashMap<Snowflake, Opinion>> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let mut opinions = HashMap::with_capacity(answer.items.len());
    for AnswerItem { id, mut opinion } in answer.items {
        if opinion.labels.iter().any(|label| !(0.0..=1.0).contains(&label.score)) {
            return None;
        }
        opinion.labels.truncate(LABELS_MAX);
        if let Ok(id) = id.parse() {
            opinions.entry(id).or_insert(opinion);
        }
    }
    Some(opinions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_lies_are_none() {
        let read = opinions(
            br#"{"items":[{"id":"7","verdict":"mask","text":"*","x":1},{"id":"7","verdict":"deny"},{"id":"a"},
                {"id":"8","labels":[{"name":"spam","score":0.5}],"ttl_s":60}],"more":2}"#,
        );
        let read = read.expect("an answer");
        assert_eq!((read.len(), read[&Snowflake(7)].verdict), (2, Some(Verdict::Mask)));
        assert_eq!((read[&Snowflake(8)].ttl_s, read[&Snowflake(8)].labels[0].score), (Some(60), 0.5));
        for lie in [
            &b"{}"[..],
            b"[]",
            b"ok",
            br#"{"items":[{"verdict":"deny"}]}"#,
            br#"{"items":[{"id":"7","verdict":"burn"}]}"#,
            br#"{"items":[{"id":"7","labels":[{"name":"spam","score":7}]}]}"#,
        ] {
            assert_eq!(opinions(lie), None, "{}", String::from_utf8_lossy(lie));
        }
    }
}
