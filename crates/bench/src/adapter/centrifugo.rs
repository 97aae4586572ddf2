//! Centrifugo's client protocol, version 2 (`centrifugal/protocol`, `definitions/client.proto`): commands and replies
//! as JSON, one on a line, or as Protobuf behind their length. Only the fields that are used here; both forms
//! skip the others.

use std::borrow::Cow;

use prost::Message;
use serde::Deserialize;

use super::comment;
use crate::wire::Said;

/// Body of the HTTP API's `publish`: the content is the data, as a JSON string.
pub fn publish(channel: &str, content: &str) -> String {
    serde_json::json!({ "channel": channel, "data": content }).to_string()
}

/// Connects and subscribes in one message.
pub fn json_hello(token: &str, channel: &str) -> Vec<u8> {
    let connect = serde_json::json!({ "id": 1, "connect": { "token": token, "name": "barrage-bench" } });
    let subscribe = serde_json::json!({ "id": 2, "subscribe": { "channel": channel } });
    format!("{connect}\n{subscribe}").into_bytes()
}

/// The same as Protobuf.
pub fn proto_hello(token: &str, channel: &str) -> Vec<u8> {
    let connect = Command { id: 1, connect: Some(Connect { token: token.into() }), subscribe: None };
    let subscribe = Command { id: 2, connect: None, subscribe: Some(Subscribe { channel: channel.into() }) };
    [connect.encode_length_delimited_to_vec(), subscribe.encode_length_delimited_to_vec()].concat()
}

/// One message: replies on lines.
pub fn read_json(message: &[u8], heard: &mut Vec<Said>) -> Result<(), String> {
    for line in message.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let reply: JsonReply<'_> = serde_json::from_slice(line).map_err(|error| format!("centrifugo: {error}"))?;
        heard.push(match reply {
            JsonReply { error: Some(error), .. } => {
                return Err(format!("centrifugo: {} {}", error.code, error.message));
            }
            JsonReply { push: Some(push), .. } => {
                push.publication.map_or(Said::Other, |publication| comment(publication.data.as_bytes()))
            }
            JsonReply { id: 0, .. } => Said::Reply(b"{}"),
            JsonReply { id: 2, .. } => Said::Ready,
            _ => Said::Other,
        });
    }
    Ok(())
}

/// One message: replies behind their length.
pub fn read_proto(mut message: &[u8], heard: &mut Vec<Said>) -> Result<(), String> {
    while !message.is_empty() {
        let reply = Reply::decode_length_delimited(&mut message).map_err(|error| format!("centrifugo: {error}"))?;
        heard.push(match reply {
            Reply { error: Some(error), .. } => return Err(format!("centrifugo: {} {}", error.code, error.message)),
            // The data is a JSON string; its mark needs no unescaping.
            Reply { push: Some(Push { publication: Some(publication) }), .. } => {
                comment(publication.data.strip_prefix(b"\"").unwrap_or(&publication.data))
            }
            Reply { push: Some(_), .. } => Said::Other,
            // An empty reply is a ping, and an empty command its answer: a length of zero.
            Reply { id: 0, .. } => Said::Reply(b"\0"),
            Reply { id: 2, .. } => Said::Ready,
            _ => Said::Other,
        });
    }
    Ok(())
}

#[derive(Deserialize)]
struct JsonReply<'a> {
    #[serde(default)]
    id: u32,
    #[serde(default, borrow)]
    error: Option<JsonError<'a>>,
    #[serde(default, borrow)]
    push: Option<JsonPush<'a>>,
}

#[derive(Deserialize)]
struct JsonError<'a> {
    code: u32,
    #[serde(default, borrow)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
struct JsonPush<'a> {
    #[serde(rename = "pub", default, borrow)]
    publication: Option<JsonPublication<'a>>,
}

#[derive(Deserialize)]
struct JsonPublication<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

#[derive(Clone, PartialEq, Message)]
struct Command {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "4")]
    connect: Option<Connect>,
    #[prost(message, optional, tag = "5")]
    subscribe: Option<Subscribe>,
}

#[derive(Clone, PartialEq, Message)]
struct Connect {
    #[prost(string, tag = "1")]
    token: String,
}

#[derive(Clone, PartialEq, Message)]
struct Subscribe {
    #[prost(string, tag = "1")]
    channel: String,
}

#[derive(Clone, PartialEq, Message)]
struct Reply {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "2")]
    error: Option<Failure>,
    #[prost(message, optional, tag = "4")]
    push: Option<Push>,
}

#[derive(Clone, PartialEq, Message)]
struct Failure {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Push {
    #[prost(message, optional, tag = "4")]
    publication: Option<Publication>,
}

#[derive(Clone, PartialEq, Message)]
struct Publication {
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{self, Mark};

    fn text() -> String {
        let mut text = String::new();
        content::write(Mark { seq: 4, due_us: 8 }, 40, &mut text);
        text
    }

    /// As recorded from Centrifugo 6.
    #[test]
    fn a_conversation_in_json() {
        let (pushed, mut heard) = (serde_json::json!(text()), Vec::new());
        let connected = r#"{"id":1,"connect":{"client":"47b134ec","version":"0.0.0 OSS","expires":true,"ttl":31536000,"ping":25,"pong":true}}"#;
        let push = format!(r#"{{"push":{{"channel":"bench-0","pub":{{"data":{pushed}}}}}}}"#);
        for message in [&format!("{connected}\n{{\"id\":2,\"subscribe\":{{}}}}"), "{}", &format!("{push}\n{push}\n")] {
            read_json(message.as_bytes(), &mut heard).unwrap();
        }
        let mark = Mark { seq: 4, due_us: 8 };
        assert!(matches!(
            &*heard,
            [Said::Other, Said::Ready, Said::Reply(b"{}"), Said::Comment(one), Said::Comment(_)] if *one == mark
        ));
        let refused = read_json(br#"{"id":1,"error":{"code":109,"message":"token expired"}}"#, &mut heard);
        assert_eq!(refused, Err("centrifugo: 109 token expired".into()));
    }

    #[test]
    fn a_conversation_in_protobuf() {
        let data = serde_json::json!(text()).to_string().into_bytes();
        let reply = |id, push| Reply { id, error: None, push };
        let push = Push { publication: Some(Publication { data }) };
        let replies = [reply(1, None), reply(2, None), reply(0, None), reply(0, Some(push))];
        let message: Vec<u8> = replies.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
        let mut heard = Vec::new();
        read_proto(&message, &mut heard).unwrap();
        assert!(matches!(
            &*heard,
            [Said::Other, Said::Ready, Said::Reply(b"\0"), Said::Comment(Mark { seq: 4, due_us: 8 })]
        ));
        assert!(read_proto(&[9, 1], &mut heard).is_err());
    }
}
