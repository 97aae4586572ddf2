//! Who somebody is, and the name that others see.
//!
//! Every door makes its identities here, so that names are cleaned and filtered as texts are: gateway and API for callers,
//! [`crate::moderation`] for givers and followers, imports for recorded names. [`crate::admit`] filters once more, because
//! the lists may have changed since somebody connected.
//!
//! A mask word in a name is masked. Nobody can review a name, and nobody is refused for one: a name with a word of the
//! review or block list, or with nothing visible, gives way to the user id. Ids are the operator's and are never filtered.

use std::borrow::Cow;

use model::{Identity, Level, UserId};
use words::{Verdict, clean_name};

use crate::tokens::{TokenError, short_name};
use crate::{Ingest, ModerationError};

impl Ingest {
    /// Verifies a token.
    ///
    /// # Errors
    /// Why it was rejected.
    pub fn identify(&self, token: &str) -> Result<Identity, TokenError> {
        let who = self.tokens.verify(token, self.clock.now_ms())?;
        Ok(Identity { username: self.shown_name(&who.user_id, &who.username).into(), ..who })
    }

    /// An identity that a development server takes from a query.
    #[must_use]
    pub fn believe(&self, user_id: UserId, username: Option<&str>, level: Level) -> Identity {
        let username = self.shown_name(&user_id, username.unwrap_or_default()).into();
        let now_ms = self.clock.now_ms();
        let who = Identity {
            user_id,
            username,
            level,
            rooms: None,
            expires_at_ms: None,
            issued_at_ms: now_ms,
            standing: None,
        };
        self.tokens.moderators.note(&who, now_ms);
        who
    }

    /// A user's name as others may see it.
    #[must_use]
    pub fn shown_name(&self, user: &UserId, name: &str) -> String {
        match clean_name(name) {
            Some(clean) => self.filtered_name(user, &clean).into_owned(),
            None => short_name(user.as_str()),
        }
    }

    /// A clean name under the word lists in force.
    pub(crate) fn filtered_name<'a>(&self, user: &UserId, name: &'a str) -> Cow<'a, str> {
        match self.filter.check(name) {
            Verdict::Clean => Cow::Borrowed(name),
            Verdict::Masked(masked) => Cow::Owned(masked),
            // A name made of the id is as far as it goes.
            Verdict::Review { .. } | Verdict::Block { .. } => Cow::Owned(short_name(user.as_str())),
        }
    }

    /// A text of a moderator or operator that everybody sees: names of rooms and gifts, announcements, notices, titles.
    /// Its author could approve it, so the review list does not apply.
    ///
    /// # Errors
    /// [`ModerationError::Blocked`].
    pub fn operator_text(&self, text: &str) -> Result<String, ModerationError> {
        let clean = words::sanitise(text);
        match self.filter.check_private(&clean) {
            Verdict::Clean | Verdict::Review { .. } => Ok(clean.into_owned()),
            Verdict::Masked(masked) => Ok(masked),
            Verdict::Block { .. } => Err(ModerationError::Blocked),
        }
    }
}
