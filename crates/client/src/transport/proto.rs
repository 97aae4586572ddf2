//! `barrage.v1.proto`: the socket's messages as Protobuf, and back into those of `barrage.v1.json`. Pure.
//!
//! PROTOCOL.md says how the two differ: ids are numbers, times are milliseconds, a field with its default is absent. The schema
//! drives the translation. Only what JSON shapes otherwise is named here.

use std::sync::LazyLock;

use jiff::Timestamp;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _,
    Value as Field,
};
use serde_json::{Map, Value};

use crate::Error;

type Object = Map<String, Value>;

/// JSON leaves these out when they are zero; others are there with their default.
const ABSENT_WHEN_ZERO: [&str; 5] = ["count", "omitted", "retry_after_ms", "read_count", "member_count"];
/// A time that is milliseconds in JSON too. Those of other names end in `_at_ms`, and in JSON they are RFC 3339.
const PLAY_AT: &str = "play_at_ms";

struct Schema {
    server: MessageDescriptor,
    client: MessageDescriptor,
}

/// The build has compiled it, so it is there.
static SCHEMA: LazyLock<Option<Schema>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(&include_bytes!(concat!(env!("OUT_DIR"), "/client.binpb"))[..]).ok()?;
    let message = |name: &str| pool.get_message_by_name(&format!("barrage.v1.{name}"));
    Some(Schema { server: message("ServerFrame")?, client: message("ClientFrame")? })
});

/// One binary message of the server; nothing when it is none, or one that this version does not know.
pub(super) fn read_frame(bytes: &[u8]) -> Option<Value> {
    let frame = DynamicMessage::decode(SCHEMA.as_ref()?.server.clone(), bytes).ok()?;
    let (field, message) = chosen(&frame, "message")?;
    let mut json = to_json(message);
    json.insert("type".to_owned(), field.name().into());
    if let Some(Field::U64(reference @ 1..)) = frame.get_field_by_name("ref").as_deref() {
        json.insert("ref".to_owned(), reference.to_string().into());
    }
    Some(Value::Object(json))
}

/// One message of the client.
///
/// # Errors
/// `unavailable` when the schema has no such message, `invalid` when a field is not what the schema says.
pub(super) fn write_frame(message: &Value) -> Result<Vec<u8>, Error> {
    let kind = message["type"].as_str().unwrap_or_default();
    let unavailable = || Error::new("unavailable", format!("{kind} is not in this schema"));
    let schema = SCHEMA.as_ref().ok_or_else(unavailable)?;
    let field = schema.client.get_field_by_name(kind).ok_or_else(unavailable)?;
    let Kind::Message(descriptor) = field.kind() else { return Err(unavailable()) };
    let mut frame = DynamicMessage::new(schema.client.clone());
    set(&mut frame, &field, Field::Message(from_json(&descriptor, message)?))?;
    if let Some(reference) = message["ref"].as_str() {
        let field = schema.client.get_field_by_name("ref").ok_or_else(unavailable)?;
        let reference = reference.parse().map_err(|_| invalid(&field))?;
        set(&mut frame, &field, Field::U64(reference))?;
    }
    Ok(frame.encode_to_vec())
}

/// What is set of a `oneof`.
fn chosen<'a>(message: &'a DynamicMessage, group: &str) -> Option<(FieldDescriptor, &'a DynamicMessage)> {
    message.fields().find_map(|(field, value)| {
        let is_of_group = field.containing_oneof().is_some_and(|oneof| oneof.name() == group);
        let message = value.as_message().filter(|_| is_of_group)?;
        Some((field, message))
    })
}

// ---- to JSON

fn to_json(message: &DynamicMessage) -> Object {
    let descriptor = message.descriptor();
    if descriptor.name() == "Event" {
        return event_to_json(message);
    }
    let mut json = Object::new();
    descriptor.fields().for_each(|field| put(&mut json, &field, message));
    adjusted(descriptor.name(), json)
}

/// What happened stands beside when and where.
fn event_to_json(event: &DynamicMessage) -> Object {
    let mut json = Object::new();
    let descriptor = event.descriptor();
    let fields = descriptor.fields().filter(|field| field.containing_oneof().is_none());
    fields.for_each(|field| put(&mut json, &field, event));
    if json.get("critical") == Some(&Value::Bool(false)) {
        json.remove("critical");
    }
    let Some((kind, said)) = chosen(event, "kind") else {
        json.insert("kind".to_owned(), "unknown".into());
        return json;
    };
    json.insert("kind".to_owned(), kind.name().into());
    json.extend(to_json(said));
    adjusted("", json)
}

fn put(json: &mut Object, field: &FieldDescriptor, message: &DynamicMessage) {
    let (name, value, is_set) = (field.name(), message.get_field(field), message.has_field(field));
    if field.is_list() {
        let list = value.as_list().unwrap_or_default();
        json.insert(name.to_owned(), list.iter().map(|one| one_to_json(field, one)).collect());
    } else if let Some(time) = name.strip_suffix("_ms").filter(|_| is_time(name)) {
        if let Some(ms) = value.as_i64().filter(|_| is_set) {
            json.insert(time.to_owned(), rfc3339(ms));
        }
    } else if is_set || (!field.supports_presence() && is_shown_by_default(field)) {
        json.insert(name.to_owned(), one_to_json(field, &value));
    }
}

fn is_time(name: &str) -> bool {
    name == "at_ms" || name == "last_seen_ms" || (name.ends_with("_at_ms") && name != PLAY_AT)
}

fn is_shown_by_default(field: &FieldDescriptor) -> bool {
    let name = field.name();
    match field.kind() {
        Kind::String => name == "content",
        Kind::Bool | Kind::Enum(_) => true,
        _ if is_id(name) => name == "latest_id",
        _ => !ABSENT_WHEN_ZERO.contains(&name),
    }
}

fn is_id(name: &str) -> bool {
    matches!(name, "id" | "reply_to" | "uploads") || name.ends_with("_id") || name.ends_with("_ids")
}

fn one_to_json(field: &FieldDescriptor, value: &Field) -> Value {
    let number = match value {
        Field::Message(message) => return Value::Object(to_json(message)),
        Field::String(text) => return text.as_str().into(),
        Field::Bool(flag) => return (*flag).into(),
        Field::EnumNumber(number) => return field.kind().as_enum().map_or(Value::Null, |kind| word_of(kind, *number)),
        Field::I32(number) => i128::from(*number),
        Field::U32(number) => i128::from(*number),
        Field::I64(number) => i128::from(*number),
        Field::U64(number) => i128::from(*number),
        // The schema has no others.
        _ => return Value::Null,
    };
    if field.name() == "color" {
        return format!("#{number:06X}").into();
    }
    if is_id(field.name()) {
        return number.to_string().into();
    }
    u64::try_from(number).map_or_else(|_| i64::try_from(number).unwrap_or_default().into(), Value::from)
}

/// `LEVEL_VIP` of `Level` is `vip` in JSON. What is not known reads as the first.
fn word_of(kind: &EnumDescriptor, number: i32) -> Value {
    let value = kind.get_value(number).unwrap_or_else(|| kind.default_value());
    word(kind.name(), value.name()).into()
}

fn word(kind: &str, value: &str) -> String {
    let mut prefix = String::new();
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(letter.to_ascii_uppercase());
    }
    prefix.push('_');
    value.strip_prefix(&prefix).unwrap_or(value).to_ascii_lowercase()
}

fn rfc3339(ms: i64) -> Value {
    let bound = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or(bound)).into()
}

/// The shape that JSON gives to some messages.
fn adjusted(kind: &str, mut json: Object) -> Object {
    if kind == "Presence" {
        let status = if json.remove("online") == Some(Value::Bool(true)) { "online" } else { "offline" };
        json.insert("status".to_owned(), status.into());
    }
    // The message around comments names their room.
    if let Some(room_id) = json.get("room_id").cloned() {
        for name in ["comments", "history"] {
            let comments = json.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten();
            comments.for_each(|comment| comment["room_id"] = room_id.clone());
        }
        let pinned = if json.get("kind").is_some_and(|kind| kind == "pin") {
            json.get_mut("comment")
        } else {
            json.get_mut("pin").and_then(|pin| pin.get_mut("comment"))
        };
        if let Some(comment) = pinned.filter(|comment| comment.is_object()) {
            comment["room_id"] = room_id;
        }
    }
    if let Some(until) = json.remove("until_ms") {
        json.insert("until".to_owned(), rfc3339(until.as_i64().unwrap_or_default()));
    }
    match kind {
        "CommentDeleted" => {
            let first = json.get("comment_ids").and_then(|ids| ids.get(0)).cloned().unwrap_or_default();
            json.insert("comment_id".to_owned(), first);
        }
        "Pin" => drop(json.entry("comment").or_insert(Value::Null)),
        "Poll" => state_of(&mut json, "closed"),
        "Question" => state_of(&mut json, "answered"),
        _ => {}
    }
    json
}

/// JSON has a word where Protobuf has a flag.
fn state_of(json: &mut Object, flag: &str) {
    let is_on = json.remove(flag) == Some(Value::Bool(true));
    json.insert("state".to_owned(), if is_on { flag } else { "open" }.into());
}

// ---- from JSON

fn invalid(field: &FieldDescriptor) -> Error {
    Error::new("invalid", format!("{} is not what the schema says", field.name()))
}

fn set(message: &mut DynamicMessage, field: &FieldDescriptor, value: Field) -> Result<(), Error> {
    message.try_set_field(field, value).map_err(|_| invalid(field))
}

fn from_json(descriptor: &MessageDescriptor, json: &Value) -> Result<DynamicMessage, Error> {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let given = &json[field.name()];
        if given.is_null() {
            continue;
        }
        let value = if field.is_list() {
            let list = given.as_array().ok_or_else(|| invalid(&field))?;
            Field::List(list.iter().map(|one| one_from_json(&field, one)).collect::<Result<_, _>>()?)
        } else {
            one_from_json(&field, given)?
        };
        set(&mut message, &field, value)?;
    }
    Ok(message)
}

fn one_from_json(field: &FieldDescriptor, given: &Value) -> Result<Field, Error> {
    let value = match field.kind() {
        Kind::Message(descriptor) => Some(Field::Message(from_json(&descriptor, given)?)),
        Kind::Enum(kind) => {
            let is_named = |value: &prost_reflect::EnumValueDescriptor| word(kind.name(), value.name()) == *given;
            kind.values().find(is_named).map(|value| Field::EnumNumber(value.number()))
        }
        Kind::String => given.as_str().map(|text| Field::String(text.to_owned())),
        Kind::Bool => given.as_bool().map(Field::Bool),
        Kind::Uint32 if field.name() == "color" => {
            let digits = given.as_str().and_then(|color| color.strip_prefix('#'));
            digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).map(Field::U32)
        }
        Kind::Uint32 => given.as_u64().and_then(|number| number.try_into().ok()).map(Field::U32),
        Kind::Int64 => given.as_i64().map(Field::I64),
        Kind::Uint64 | Kind::Fixed64 => given.as_u64().or_else(|| given.as_str()?.parse().ok()).map(Field::U64),
        _ => None,
    };
    value.ok_or_else(|| invalid(field))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A frame of the server, of fields as the schema has them.
    fn frame(fields: &[(&str, Value)]) -> Vec<u8> {
        fn fill(descriptor: &MessageDescriptor, fields: &Value) -> DynamicMessage {
            let mut message = DynamicMessage::new(descriptor.clone());
            for (name, given) in fields.as_object().into_iter().flatten() {
                let field = descriptor.get_field_by_name(name).expect("a field");
                let one = |given: &Value| match field.kind() {
                    Kind::Message(descriptor) => Field::Message(fill(&descriptor, given)),
                    Kind::Enum(_) => Field::EnumNumber(given.as_i64().expect("a number") as i32),
                    Kind::Uint32 => Field::U32(given.as_u64().expect("a number") as u32),
                    _ => one_from_json(&field, given).expect("a value"),
                };
                let value = match given.as_array().filter(|_| field.is_list()) {
                    Some(list) => Field::List(list.iter().map(one).collect()),
                    None => one(given),
                };
                message.set_field(&field, value);
            }
            message
        }
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        fill(&SCHEMA.as_ref().expect("a schema").server, &Value::Object(fields)).encode_to_vec()
    }

    fn event(kind: &str, fields: Value) -> Value {
        let mut event = json!({ "event_id": 5, "room_id": "r" });
        event[kind] = fields;
        read_frame(&frame(&[("event", event)])).expect("an event")
    }

    #[test]
    fn a_comment_is_written_byte_by_byte_as_the_encoding_says() {
        let message = json!({
            "type": "comment", "ref": "5", "room_id": "r", "content": "hi", "style": { "mode": "top", "color": "#FF0000" },
            "mentions": ["u"],
        });
        // ref 5 | comment, 19 bytes { room_id "r" | content "hi" | style, 7 bytes { mode 1 | color 0xFF0000 } | mentions "u" }
        let expected = [
            &[0x08, 5, 0x12, 19, 0x0A, 1, b'r', 0x12, 2, b'h', b'i', 0x22, 7, 0x08, 1, 0x10, 0x80, 0x80, 0xFC, 7][..],
            &[0x2A, 1, b'u'],
        ];
        assert_eq!(write_frame(&message), Ok(expected.concat()));
        // Zero is not the same as absent.
        let join = json!({ "type": "join_room", "room_id": "r", "max_per_s": 0, "since_id": "9223372036854775807" });
        let join = DynamicMessage::decode(
            SCHEMA.as_ref().expect("a schema").client.clone(),
            &*write_frame(&join).expect("bytes"),
        );
        let join = join.expect("a frame").get_field_by_name("join_room").expect("a join").into_owned();
        let join = join.as_message().expect("a message").clone();
        assert_eq!(join.get_field_by_name("since_id").as_deref(), Some(&Field::U64(i64::MAX as u64)));
        assert!(join.has_field_by_name("max_per_s") && !join.has_field_by_name("history"));
    }

    #[test]
    fn a_batch_reads_as_json_has_it() {
        let comment = json!({
            "id": 385_782_162_286_182_400_u64, "user_id": "u", "username": "U", "content": "hi", "created_at_ms": 1_700_000_000_123_i64,
            "style": { "mode": 1, "color": 0x0012_AB34 }, "level": 1,
        });
        assert_eq!(
            read_frame(&frame(&[("comments", json!({ "room_id": "r", "comments": [comment] }))])),
            Some(json!({ "type": "comments", "room_id": "r", "comments": [{
                "id": "385782162286182400", "room_id": "r", "user_id": "u", "username": "U", "content": "hi",
                "created_at": "2023-11-14T22:13:20.123Z", "offset_ms": 0, "level": "vip", "kind": "comment", "mentions": [],
                "style": { "mode": "top", "color": "#12AB34", "size": "normal" }, "like_count": 0,
            }] }))
        );
    }

    #[test]
    fn answers_errors_and_events_read_as_json_has_them() {
        let error = json!({ "code": "rate_limited", "message": "slow", "retry_after_ms": 900 });
        assert_eq!(
            read_frame(&frame(&[("ref", json!(7)), ("error", error)])),
            Some(
                json!({ "type": "error", "ref": "7", "code": "rate_limited", "message": "slow", "retry_after_ms": 900 })
            )
        );
        assert_eq!(
            read_frame(&frame(&[("presence", json!({ "user_id": "u", "online": true }))])),
            Some(json!({ "type": "presence", "user_id": "u", "status": "online" }))
        );
        let deleted =
            json!({ "event_id": 3, "room_id": "r", "critical": true, "comment_deleted": { "comment_ids": [1, 2] } });
        assert_eq!(
            read_frame(&frame(&[("event", deleted)])),
            Some(json!({
                "type": "event", "event_id": "3", "room_id": "r", "critical": true, "kind": "comment_deleted", "comment_id": "1",
                "comment_ids": ["1", "2"],
            }))
        );
        assert_eq!(read_frame(&frame(&[("event", json!({ "event_id": 4 }))])).expect("an event")["kind"], "unknown");
        let comment = json!({ "id": 1, "user_id": "u", "username": "U", "content": "hi" });
        let pin = event("pin", json!({ "comment": comment, "until_ms": 1_700_000_000_123_i64 }));
        assert_eq!((&pin["comment"]["room_id"], &pin["until"]), (&json!("r"), &json!("2023-11-14T22:13:20.123Z")));
        assert_eq!(event("pin", json!({}))["comment"], Value::Null);
        let poll = event(
            "poll",
            json!({ "poll_id": 7, "question": "Who?", "options": [{ "text": "red", "votes": 2 }], "closed": true }),
        );
        assert_eq!(
            (&poll["state"], &poll["options"][0]["votes"], &poll["poll_id"]),
            (&json!("closed"), &json!(2), &json!("7"))
        );
        let question =
            event("question", json!({ "question_id": 9, "user_id": "u", "content": "why?", "answered": false }));
        assert_eq!((&question["state"], &question["upvotes"]), (&json!("open"), &json!(0)));
    }

    #[test]
    fn what_is_unknown_is_passed_over_and_what_is_broken_is_nothing() {
        let known = frame(&[("heartbeat_ack", json!({ "server_time_ms": 5 }))]);
        let newer = [&known[..], &[0xF8, 0x07, 1]].concat();
        assert_eq!(read_frame(&newer), Some(json!({ "type": "heartbeat_ack", "server_time_ms": 5 })));
        assert!((0..known.len()).all(|length| read_frame(&known[..length]).is_none()));
        let code = |message: Value| write_frame(&message).expect_err("refused").code;
        assert_eq!(code(json!({ "type": "from_the_future" })), "unavailable");
        assert_eq!(code(json!({ "type": "ref" })), "unavailable");
        assert_eq!(code(json!({ "type": "comment", "content": 5 })), "invalid");
        assert_eq!(code(json!({ "type": "like", "comment_id": "x" })), "invalid");
        assert_eq!(code(json!({ "type": "comment", "style": { "color": "red" } })), "invalid");
    }
}
