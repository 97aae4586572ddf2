//! What moderators type: `/timeout`, `/ban`, `/delete` and the like, as the dialect has them.
//!
//! The rules decide who may; the answer is a NOTICE with the `msg-id` that clients wait for.

use std::sync::Arc;

use api::Services;
use ingest::Moderator;
use ingest::moderation::{ModerationError, NewBan};
use model::room::RoomPatch;
use model::{Identity, RoomId, Snowflake, UserId, WireError};
use store::BanKind;

/// A ban without an end: as long as a ban may be.
const FOR_EVER_S: u64 = 10 * 365 * 86_400;
/// A timeout without a length, in seconds.
const TIMEOUT_S: u64 = 600;
/// Slow mode without a length, in seconds.
const SLOW_S: u32 = 30;

/// A command in the text of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command<'a> {
    name: &'a str,
    rest: &'a str,
}

impl<'a> Command<'a> {
    /// A text that begins with `/` or `.` and a word. `/me` is something said.
    pub fn parse(text: &'a str) -> Option<Self> {
        let command = text.strip_prefix(['/', '.'])?;
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        (is_word && name != "me").then_some(Self { name, rest: rest.trim() })
    }
}

/// Does what was typed. Returns the `msg-id` and the text of the answer.
pub(super) async fn run(
    app: &Arc<Services>,
    who: &Identity,
    room: &RoomId,
    command: Command<'_>,
    user: impl Fn(&str) -> Option<UserId>,
) -> (&'static str, String) {
    let moderator = Moderator::Person(who.clone());
    let desk = Desk { app, moderator, room };
    let (name, rest) = command.rest.split_once(' ').unwrap_or((command.rest, ""));
    let target = || user(name).ok_or(("invalid_user", format!("No such user: {name}")));
    let done = match command.name.to_ascii_lowercase().as_str() {
        "timeout" => match target() {
            Ok(user) => desk.timeout(user, rest).await,
            Err(refused) => return refused,
        },
        "ban" => match target() {
            Ok(user) => desk
                .ban(user, BanKind::Ban, FOR_EVER_S, rest)
                .await
                .map(|()| ("ban_success", format!("{name} is banned."))),
            Err(refused) => return refused,
        },
        "unban" | "untimeout" => match target() {
            Ok(user) => desk.lift(&user, command.name.eq_ignore_ascii_case("unban")).await,
            Err(refused) => return refused,
        },
        "delete" => desk.delete(name).await,
        "slow" => desk.slow(if name.is_empty() { Some(SLOW_S) } else { name.parse().ok() }, "slow_on").await,
        "slowoff" => desk.slow(Some(0), "slow_off").await,
        "announce" => desk.announce(command.rest).await,
        _ => return ("unrecognized_cmd", format!("Unrecognized command: /{}", command.name)),
    };
    done.unwrap_or_else(|error| match error {
        ModerationError::Forbidden => ("no_permission", "You don't have permission to perform that action.".to_owned()),
        ModerationError::NotFound(what) => ("bad_delete_message_error", what.to_owned()),
        error => ("usage_error", WireError::from(error).message.into_owned()),
    })
}

type Done = Result<(&'static str, String), ModerationError>;

/// A moderator in a room.
struct Desk<'a> {
    app: &'a Arc<Services>,
    moderator: Moderator,
    room: &'a RoomId,
}

impl Desk<'_> {
    async fn ban(&self, user_id: UserId, kind: BanKind, duration_s: u64, reason: &str) -> Result<(), ModerationError> {
        let reason = (!reason.is_empty()).then(|| reason.to_owned());
        let ban = NewBan { user_id, room_id: Some(self.room.clone()), duration_s, reason, kind, purge: false };
        self.app.ingest.ban(&self.moderator, ban).await?;
        Ok(())
    }

    async fn timeout(&self, user: UserId, rest: &str) -> Done {
        let (seconds, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let seconds = if seconds.is_empty() { Some(TIMEOUT_S) } else { seconds.parse().ok() };
        let seconds =
            seconds.ok_or_else(|| ModerationError::Invalid("usage: /timeout <user> [seconds] [reason]".into()))?;
        let told = format!("{user} has been timed out for {seconds} seconds.");
        self.ban(user, BanKind::Mute, seconds, reason).await?;
        Ok(("timeout_success", told))
    }

    async fn lift(&self, user: &UserId, is_ban: bool) -> Done {
        self.app.ingest.authorise(&self.moderator, Some(self.room)).await?;
        let bans = self.app.store.bans_of(user, self.app.clock.now_ms()).await?;
        let mut lifted = false;
        for ban in bans.into_iter().filter(|ban| ban.room_id.as_ref() == Some(self.room)) {
            self.app.ingest.lift_ban(&self.moderator, ban.id).await?;
            lifted = true;
        }
        Ok(match (lifted, is_ban) {
            (true, true) => ("unban_success", format!("{user} is no longer banned.")),
            (true, false) => ("untimeout_success", format!("{user} is no longer timed out.")),
            (false, true) => ("bad_unban_no_ban", format!("{user} is not banned.")),
            (false, false) => ("timeout_no_timeout", format!("{user} is not timed out.")),
        })
    }

    async fn delete(&self, id: &str) -> Done {
        let usage = || ModerationError::Invalid("usage: /delete <message id>".into());
        let id: Snowflake = id.parse().map_err(|_| usage())?;
        api::delete_comment(self.app, &self.moderator, id, None).await?;
        Ok(("delete_message_success", "The message is deleted.".to_owned()))
    }

    async fn slow(&self, seconds: Option<u32>, told: &'static str) -> Done {
        let seconds = seconds.ok_or_else(|| ModerationError::Invalid("usage: /slow [seconds]".into()))?;
        let patch = RoomPatch { slow_mode_s: Some(seconds), ..RoomPatch::default() };
        self.app.ingest.configure_room(&self.moderator, self.room, patch).await?;
        Ok((told, format!("Slow mode: {seconds} seconds.")))
    }

    async fn announce(&self, text: &str) -> Done {
        self.app.ingest.announce(&self.moderator, self.room, text, false).await?;
        Ok(("announce_success", "Announced.".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_word_after_a_slash() {
        let parsed = |text| Command::parse(text).map(|command| (command.name, command.rest));
        assert_eq!(parsed("/timeout ann 60 too loud"), Some(("timeout", "ann 60 too loud")));
        assert_eq!(parsed(".slowoff"), Some(("slowoff", "")));
        for said in ["hello", "...", "/", "/ ban", "/me waves", ":/", "/ｂan x", "1/2"] {
            assert_eq!(parsed(said), None, "{said}");
        }
    }
}
