//! Checks and cleans the contents of messages. Called before a message is stored; does no I/O.

use std::collections::HashMap;

use model::chat::{CLIENT_MSG_ID_BYTES_MAX, MESSAGE_UPLOADS_MAX, MsgType, Recipient};
use serde::Deserialize;

use crate::{ChatError, MessageDraft, Result};

/// Longest id of an upload, in bytes.
const UPLOAD_ID_BYTES_MAX: usize = 64;

/// Checks a sender's own id.
pub(crate) fn check_client_msg_id(id: &str) -> Result<()> {
    if (1..=CLIENT_MSG_ID_BYTES_MAX).contains(&id.len()) {
        return Ok(());
    }
    Err(ChatError::Invalid("client_msg_id must be 1-64 bytes".into()))
}

/// The cleaned content, or why it may not be sent.
pub(crate) fn check(draft: &MessageDraft, settings: &settings::Chat) -> Result<String> {
    if draft.msg_type == MsgType::Encrypted && matches!(draft.to, Recipient::Group(_)) {
        return Err(ChatError::Invalid("groups have no encrypted messages".into()));
    }
    if draft.uploads.len() > MESSAGE_UPLOADS_MAX {
        return Err(ChatError::Invalid(format!("uploads must name at most {MESSAGE_UPLOADS_MAX}").into()));
    }
    if draft.msg_type != MsgType::Encrypted && !draft.uploads.is_empty() {
        return Err(ChatError::Invalid("only encrypted messages have uploads beside their content".into()));
    }
    check_content(draft.msg_type, &draft.content, settings)
}

/// The cleaned content of a message of this type.
pub(crate) fn check_content(msg_type: MsgType, content: &str, settings: &settings::Chat) -> Result<String> {
    match msg_type {
        MsgType::Text => text(content, settings.message_chars_max),
        MsgType::Image | MsgType::Video | MsgType::File => upload(content),
        MsgType::Encrypted => encrypted(content, settings.encrypted_bytes_max),
    }
}

fn text(content: &str, max: u32) -> Result<String> {
    let content = clean(content);
    if content.is_empty() {
        return Err(ChatError::Empty);
    }
    if content.chars().count() > max as usize {
        return Err(ChatError::TooLong { max, unit: "characters" });
    }
    Ok(content)
}

/// Cleans a text line by line, as comments are cleaned. Line breaks stay, and the space before a line.
fn clean(content: &str) -> String {
    let line = |line: &str| {
        let rest = line.trim_start_matches([' ', '\t']);
        let (indent, rest) = (line.len() - rest.len(), words::sanitise(rest));
        format!("{}{rest}", line.get(..indent).unwrap_or_default())
    };
    let lines: Vec<String> = content.lines().map(line).collect();
    lines.join("\n").trim().to_owned()
}

fn upload(content: &str) -> Result<String> {
    if (1..=UPLOAD_ID_BYTES_MAX).contains(&content.len()) {
        return Ok(content.to_owned());
    }
    Err(ChatError::Invalid("content must be the id of an upload".into()))
}

/// An envelope: ciphertexts by `user/device`. Only its shape is checked.
#[derive(Deserialize)]
struct Envelope {
    v: u32,
    #[serde(rename = "from_device")]
    _from_device: String,
    devices: HashMap<String, Ciphertext>,
}

#[derive(Deserialize)]
struct Ciphertext {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(rename = "body")]
    _body: String,
}

fn encrypted(content: &str, max: u32) -> Result<String> {
    if content.len() > max as usize {
        return Err(ChatError::TooLong { max, unit: "bytes" });
    }
    let sound = serde_json::from_str::<Envelope>(content).is_ok_and(|envelope| {
        envelope.v == 1 && !envelope.devices.is_empty() && envelope.devices.values().all(|text| text.kind <= 1)
    });
    if sound {
        return Ok(content.to_owned());
    }
    Err(ChatError::Invalid("content must be an envelope {v: 1, from_device, devices: {…: {type, body}}}".into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn line_breaks_stay_and_overrides_go() {
        assert_eq!(clean("  a\r\n    b \n\n\u{202e}c\u{7}\n \n"), "a\n    b\n\nc");
        assert_eq!(clean("\u{200b}\n \n"), "");
    }

    #[test]
    fn an_envelope_needs_its_shape() {
        let good = r#"{"v":1,"from_device":"d","devices":{"bob/x":{"type":0,"body":"YQ"}}}"#;
        assert_eq!(encrypted(good, 1_000), Ok(good.to_owned()));
        let long = encrypted(good, 10);
        assert!(matches!(long, Err(ChatError::TooLong { .. })), "{long:?}");
        for bad in ["hello", "{}", r#"{"v":1,"from_device":"d","devices":{}}"#] {
            assert!(encrypted(bad, 1_000).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn cleaning_is_done_once(text in any::<String>()) {
            let once = clean(&text);
            prop_assert_eq!(clean(&once), once);
        }
    }
}
