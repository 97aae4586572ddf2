//! A comment as readers of these packets expect it: `{"cmd": "DANMU_MSG", "info": […]}`, with as many places as they read.

use model::{Comment, Level, Mode, Size};
use serde_json::{Value, json};

/// The body of a message packet.
pub(super) fn body(comment: &Comment) -> Vec<u8> {
    let mode = match comment.style.mode {
        Mode::Scroll => 1,
        Mode::Bottom => 4,
        Mode::Top => 5,
    };
    let size = match comment.style.size {
        Size::Small => 18,
        Size::Normal => 25,
        Size::Large => 36,
    };
    let (user, name) = (comment.user_id.as_str(), &*comment.username);
    // A number where there is one: these readers know no other ids.
    let uid: Value = user.parse::<u64>().map_or_else(|_| json!(0), |uid| json!(uid));
    let is_moderator = u8::from(comment.level >= Level::Owner);
    let is_vip = u8::from(comment.level == Level::Vip);
    let extra = json!({ "id_str": comment.id, "user_id": user, "content": comment.content }).to_string();
    let style = json!([
        0, mode, size, comment.style.color, comment.created_at_ms, 0, 0, user, 0, 0, 0, "", 0, "{}", "{}",
        { "extra": extra, "user": { "uid": uid, "base": { "name": name, "face": "" } } }, {}
    ]);
    let info = json!([
        style,
        comment.content,
        [uid, name, is_moderator, is_vip, 0, 10_000, 1, ""],
        [],
        [0, 0, 9_868_950, ">50000", 0],
        ["", ""],
        0,
        0,
        null,
        { "ts": comment.created_at_ms / 1_000, "ct": "" },
        0,
        0,
        null,
        null,
        0,
        0,
        [0],
        null
    ]);
    json!({ "cmd": "DANMU_MSG", "info": info }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use model::{Kind, RoomId, Snowflake, Style, UserId};

    use super::*;

    #[test]
    fn a_message_has_every_place_that_is_read() {
        let comment = Comment {
            id: Snowflake(77),
            room_id: RoomId::new("r").expect("an id"),
            session_id: None,
            user_id: UserId::new("4711").expect("an id"),
            username: "小明".into(),
            level: Level::Vip,
            content: "<b>弹幕\u{7}".into(),
            style: Style { mode: Mode::Top, color: 0xff_0000, size: Size::Large },
            kind: Kind::Comment,
            mentions: Box::new([]),
            created_at_ms: 1_700_000_000_123,
            offset_ms: 0,
            like_count: 0,
            shadow: false,
        };
        let message: Value = serde_json::from_slice(&body(&comment)).expect("JSON");
        let info = &message["info"];
        assert_eq!(message["cmd"], "DANMU_MSG");
        assert!(info.as_array().is_some_and(|places| places.len() >= 17));
        assert!(info[0].as_array().is_some_and(|places| places.len() >= 16));
        assert_eq!((&info[0][1], &info[0][2], &info[0][3]), (&json!(5), &json!(36), &json!(0xff_0000)));
        assert_eq!((&info[1], &info[2][0], &info[2][1]), (&json!("<b>弹幕\u{7}"), &json!(4711), &json!("小明")));
        assert_eq!((&info[9]["ts"], &info[2][3]), (&json!(1_700_000_000), &json!(1)));
    }
}
