//! Socket.IO's packets over WebSocket (Engine.IO protocol 4, Socket.IO protocol 5): a digit for the engine, one
//! for the packet, then JSON. Only the main namespace.

use super::comment;
use crate::wire::Said;

/// Joins the main namespace.
pub const CONNECT: &[u8] = b"40";
const COMMENT: &[u8] = br#"42["comment",""#;

/// An event for the server.
pub fn publish(room: &str, content: &str) -> Vec<u8> {
    format!("42{}", serde_json::json!(["publish", room, content])).into_bytes()
}

/// One packet. The mark is ASCII and comes first, so that the text need not be unescaped.
pub fn read(packet: &[u8], heard: &mut Vec<Said>) -> Result<(), String> {
    heard.push(match packet {
        packet if packet.starts_with(COMMENT) => comment(packet.get(COMMENT.len()..).unwrap_or_default()),
        packet if packet.starts_with(b"40") => Said::Ready,
        packet if packet.starts_with(b"44") => return Err("socket.io: connect error".into()),
        b"2" => Said::Reply(b"3"),
        _ => Said::Other,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{self, Mark};

    /// Recorded from socket.io 4.8.4.
    #[test]
    fn a_conversation() {
        let mut text = String::new();
        content::write(Mark { seq: 3, due_us: 9 }, 60, &mut text);
        let event = format!("42{}", serde_json::json!(["comment", text]));
        let open = r#"0{"sid":"uEPhUuSHUdiU3uvOAAAA","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        let mut heard = Vec::new();
        for packet in [open, r#"40{"sid":"htn1nuyjOSCZVGlAAAAA"}"#, "2", &event] {
            read(packet.as_bytes(), &mut heard).unwrap();
        }
        assert!(matches!(
            *heard,
            [Said::Other, Said::Ready, Said::Reply(b"3"), Said::Comment(Mark { seq: 3, due_us: 9 })]
        ));
        assert_eq!(read(br#"44{"message":"no"}"#, &mut heard), Err("socket.io: connect error".into()));
    }
}
