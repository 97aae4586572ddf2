//! What happens in a room as lines of Twitch's dialect.

use model::{Comment, Gift, Identity, Level, RoomId, RoomSettings, Snowflake, Speakers};

use super::codec::{Line, nick_of};

const WHITE: u32 = 0xff_ffff;

/// The channel of a room.
pub(super) fn channel(room: &RoomId) -> String {
    format!("#{room}")
}

fn badges(level: Level) -> &'static str {
    match level {
        Level::Normal => "",
        Level::Vip => "vip/1",
        Level::Owner => "broadcaster/1",
        Level::Moderator | Level::Admin => "moderator/1",
    }
}

fn is_mod(level: Level) -> &'static str {
    if level >= Level::Moderator { "1" } else { "0" }
}

fn user_type(level: Level) -> &'static str {
    if level >= Level::Moderator { "mod" } else { "" }
}

/// A comment of somebody else.
pub(super) fn comment(comment: &Comment) -> Line {
    let color = match comment.style.color {
        WHITE => String::new(),
        rgb => format!("#{rgb:06X}"),
    };
    Line::user(&nick_of(comment.user_id.as_str()), "PRIVMSG")
        .tag("badge-info", "")
        .tag("badges", badges(comment.level))
        .tag("color", color)
        .tag("display-name", &comment.username)
        .tag("emotes", "")
        .tag("first-msg", "0")
        .tag("flags", "")
        .number("id", comment.id)
        .tag("mod", is_mod(comment.level))
        .tag("returning-chatter", "0")
        .tag("room-id", comment.room_id.as_str())
        .tag("subscriber", "0")
        .number("tmi-sent-ts", comment.created_at_ms)
        .tag("turbo", "0")
        .tag("user-id", comment.user_id.as_str())
        .tag("user-type", user_type(comment.level))
        .parameter(&channel(&comment.room_id))
        .text(&comment.content)
}

/// Who the connection is, wherever it goes.
pub(super) fn global_user_state(who: &Identity) -> Line {
    user_state_tags(Line::server("GLOBALUSERSTATE"), who).tag("user-id", who.user_id.as_str())
}

/// Who the connection is in a room: after it joined, and as the answer to what it said.
pub(super) fn user_state(who: &Identity, room: &RoomId, said: Option<Snowflake>, nonce: Option<&str>) -> Line {
    let mut line = user_state_tags(Line::server("USERSTATE"), who).tag("subscriber", "0");
    if let Some(id) = said {
        line = line.number("id", id);
    }
    if let Some(nonce) = nonce {
        line = line.tag("client-nonce", nonce);
    }
    line.parameter(&channel(room))
}

fn user_state_tags(line: Line, who: &Identity) -> Line {
    line.tag("badge-info", "")
        .tag("badges", badges(who.level))
        .tag("color", "")
        .tag("display-name", &who.username)
        .tag("emote-sets", "0")
        .tag("mod", is_mod(who.level))
        .tag("user-type", user_type(who.level))
}

/// What holds in a room.
pub(super) fn room_state(room: &RoomId, settings: &RoomSettings) -> Line {
    Line::server("ROOMSTATE")
        .tag("emote-only", "0")
        .tag("followers-only", "-1")
        .tag("r9k", "0")
        .tag("room-id", room.as_str())
        .number("slow", settings.slow_mode_s)
        .tag("subs-only", subscribers_only(settings))
        .parameter(&channel(room))
}

/// The room's slow mode has changed. Clients tell a change from a join by the tags that are missing.
pub(super) fn slow_mode(room: &RoomId, settings: &RoomSettings) -> Line {
    let line = Line::server("ROOMSTATE").tag("room-id", room.as_str());
    line.number("slow", settings.slow_mode_s).parameter(&channel(room))
}

/// Who may speak in the room has changed.
pub(super) fn speakers(room: &RoomId, settings: &RoomSettings) -> Line {
    let line = Line::server("ROOMSTATE").tag("room-id", room.as_str());
    line.tag("subs-only", subscribers_only(settings)).parameter(&channel(room))
}

fn subscribers_only(settings: &RoomSettings) -> &'static str {
    if settings.speakers == Speakers::Vip { "1" } else { "0" }
}

/// Somebody was banned or muted until a time.
pub(super) fn clear_chat(room: &RoomId, user_id: &str, until_ms: i64, now_ms: i64) -> Line {
    let seconds = until_ms.saturating_sub(now_ms).max(1_000).unsigned_abs().div_ceil(1_000);
    Line::server("CLEARCHAT")
        .number("ban-duration", seconds)
        .tag("room-id", room.as_str())
        .tag("target-user-id", user_id)
        .number("tmi-sent-ts", now_ms)
        .parameter(&channel(room))
        .text(&nick_of(user_id))
}

/// A comment was deleted; what it said, if it was seen here.
pub(super) fn clear_message(room: &RoomId, id: Snowflake, comment: Option<&Comment>, now_ms: i64) -> Line {
    let login = comment.map(|comment| nick_of(comment.user_id.as_str())).unwrap_or_default();
    Line::server("CLEARMSG")
        .tag("login", login)
        .tag("room-id", room.as_str())
        .number("target-msg-id", id)
        .number("tmi-sent-ts", now_ms)
        .parameter(&channel(room))
        .text(comment.map_or("", |comment| &comment.content))
}

/// Words of the house.
pub(super) fn announcement(room: &RoomId, id: Snowflake, content: &str, at_ms: i64) -> Line {
    user_notice(room, id, "announcement", ("", "", ""), at_ms)
        .tag("msg-param-color", "PRIMARY")
        .then(room)
        .text(content)
}

/// A gift.
pub(super) fn gift(room: &RoomId, id: Snowflake, gift: &Gift, at_ms: i64) -> Line {
    let said = format!("{} sends {} × {}", gift.username, gift.count, gift.gift);
    user_notice(room, id, "gift", (gift.user_id.as_str(), &gift.username, &said), at_ms)
        .tag("msg-param-gift", &gift.gift)
        .number("msg-param-count", gift.count)
        .number("msg-param-value", gift.value)
        .then(room)
}

fn user_notice(
    room: &RoomId,
    id: Snowflake,
    kind: &str,
    (user_id, name, said): (&str, &str, &str),
    at_ms: i64,
) -> Line {
    Line::server("USERNOTICE")
        .tag("badge-info", "")
        .tag("badges", "")
        .tag("color", "")
        .tag("display-name", name)
        .tag("emotes", "")
        .tag("flags", "")
        .number("id", id)
        .tag("login", nick_of(user_id))
        .tag("mod", "0")
        .tag("msg-id", kind)
        .tag("room-id", room.as_str())
        .tag("subscriber", "0")
        .tag("system-msg", said)
        .number("tmi-sent-ts", at_ms)
        .tag("user-id", user_id)
        .tag("user-type", "")
}

impl Line {
    /// Adds the room's channel.
    fn then(self, room: &RoomId) -> Self {
        self.parameter(&channel(room))
    }
}

/// Something that the client or its person should know.
pub(super) fn notice(target: &str, id: Option<&str>, text: &str) -> Line {
    let line = Line::server("NOTICE");
    let line = match id {
        Some(id) => line.tag("msg-id", id),
        None => line,
    };
    line.parameter(target).text(text)
}
