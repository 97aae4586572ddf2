//! Reasons of decisions: a list that the deployment names, so that decisions can be counted and explained alike everywhere.
//!
//! What is decided about a comment has a reason of the list. A ban or a mute may have one in the moderator's own words.

use serde::Serialize;

use super::{ModerationError, ModerationResult, Moderator};
use crate::Ingest;

impl Ingest {
    /// The reasons that a decision may have, in the order in which they are offered.
    ///
    /// # Errors
    /// When this moderator may moderate nothing at all.
    pub async fn reasons(&self, who: &Moderator) -> ModerationResult<&[String]> {
        self.authorise_somewhere(who).await?;
        Ok(&self.screening.reasons)
    }

    /// Refuses a reason that is not on the list.
    pub(super) fn check_reason(&self, reason: Option<&str>) -> ModerationResult<()> {
        let listed = &self.screening.reasons;
        if reason.is_none_or(|reason| listed.iter().any(|known| known == reason)) {
            return Ok(());
        }
        Err(ModerationError::Invalid(format!("reason must be one of the list: {}", listed.join(", "))))
    }
}

/// What the audit trail keeps of a decision besides who, what and when, as JSON.
#[derive(Debug, Default, Serialize)]
pub(super) struct Detail<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// Whether the comment was held, not published.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Whether everything of the person went too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub purge: bool,
}

impl Detail<'_> {
    /// Nothing when there is nothing to say.
    pub fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok().filter(|text| text != "{}")
    }
}
