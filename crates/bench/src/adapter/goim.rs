//! goim's packets (what its docs/proto.md calls binary, over WebSocket as well): a header of 16 bytes, big-endian:
//! length of the packet, of the header, version, operation, sequence; then the body. Over WebSocket each binary
//! message is a packet; a room's comments come as one packet of operation 9 whose body is packets, or over TCP as
//! those packets alone. A push that fails is answered with 200 and a code (`http`).

use protocol::binary::numeric_user_id;

use super::comment;
use crate::wire::Said;

const HEADER: usize = 16;
const HEARTBEAT: u32 = 2;
const HEARTBEAT_REPLY: u32 = 3;
const AUTH: u32 = 7;
const AUTH_REPLY: u32 = 8;
const RAW: u32 = 9;
/// What our comments are published as; operations from 1000 on are the application's.
const COMMENT: u32 = 1_000;
/// Longest packet the swarm takes: a room's batch is bounded far below.
const PACKET_MAX: usize = 1 << 20;

/// Says who connects and into which room.
pub fn hello(user: &str, room: &str) -> Vec<u8> {
    let mid = numeric_user_id(user) >> 1;
    let who = serde_json::json!({
        "mid": mid, "room_id": format!("live://{room}"), "platform": "web", "accepts": [COMMENT],
    });
    packet(AUTH, who.to_string().as_bytes())
}

/// A sign of life.
pub fn heartbeat() -> Vec<u8> {
    packet(HEARTBEAT, b"")
}

/// Path and query that publish into a room (its docs/push.md).
pub fn push_path(room: &str) -> String {
    format!("/goim/push/room?operation={COMMENT}&type=live&room={room}")
}

fn packet(operation: u32, body: &[u8]) -> Vec<u8> {
    // Bodies here are a line of JSON.
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(HEADER + body.len());
    out.extend(length.to_be_bytes());
    out.extend((HEADER as u16).to_be_bytes());
    out.extend(1_u16.to_be_bytes());
    out.extend(operation.to_be_bytes());
    out.extend(0_u32.to_be_bytes());
    out.extend(body);
    out
}

/// Packets, as many as are whole.
pub fn read(bytes: &[u8], heard: &mut Vec<Said>) -> Result<usize, String> {
    let mut at = 0;
    while let Some(Packet { operation, body, length }) = next(bytes.get(at..).unwrap_or_default())? {
        at += length;
        match operation {
            AUTH_REPLY => heard.push(Said::Ready),
            RAW if read(body, heard)? < body.len() => return Err("goim: a packet in pieces".into()),
            RAW => {}
            HEARTBEAT_REPLY => heard.push(Said::Other),
            _ => heard.push(comment(body)),
        }
    }
    Ok(at)
}

struct Packet<'a> {
    operation: u32,
    body: &'a [u8],
    length: usize,
}

/// The first packet; none while it is not whole.
fn next(bytes: &[u8]) -> Result<Option<Packet<'_>>, String> {
    let Some((head, _)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let [l0, l1, l2, l3, h0, h1, _, _, o0, o1, o2, o3, ..] = *head;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let header = usize::from(u16::from_be_bytes([h0, h1]));
    if header != HEADER || !(HEADER..=PACKET_MAX).contains(&length) {
        return Err(format!("goim: a packet of {length} bytes with a header of {header}"));
    }
    let body = bytes.get(HEADER..length);
    Ok(body.map(|body| Packet { operation: u32::from_be_bytes([o0, o1, o2, o3]), body, length }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{self, Mark};

    fn text(seq: u32) -> String {
        let mut text = String::new();
        content::write(Mark { seq, due_us: 5 }, 40, &mut text);
        text
    }

    #[test]
    fn packets_alone_and_in_a_packet_cut_anywhere() {
        let (one, two) = (packet(COMMENT, text(1).as_bytes()), packet(COMMENT, text(2).as_bytes()));
        let raw = packet(RAW, &[one.clone(), two.clone()].concat());
        let stream = [packet(AUTH_REPLY, b""), raw, packet(HEARTBEAT_REPLY, &[0, 0, 0, 9]), one, two].concat();
        for cut in 0..stream.len() {
            let mut heard = Vec::new();
            let used = read(&stream[..cut], &mut heard).unwrap();
            assert_eq!(used + read(&stream[used..], &mut heard).unwrap(), stream.len(), "cut at {cut}");
            let seqs: Vec<u32> = heard
                .iter()
                .filter_map(|said| if let Said::Comment(mark) = said { Some(mark.seq) } else { None })
                .collect();
            assert!(matches!(heard.first(), Some(Said::Ready)));
            assert_eq!(seqs, [1, 2, 1, 2]);
        }
    }

    /// What a comet of goim 2.0.0 sent to a socket of each kind: let in, a sign of life with one viewer in the room, two
    /// comments pushed within job's window.
    #[test]
    fn a_real_comet_is_understood() {
        let let_in = b"\0\0\0\x10\0\x10\0\x01\0\0\0\x08\0\0\0\0";
        let alive = b"\0\0\0\x14\0\x10\0\x01\0\0\0\x03\0\0\0\0\0\0\0\x01";
        let two = b"\0\0\0\x13\0\x10\0\x01\0\0\x03\xe8\0\0\0\0one\0\0\0\x13\0\x10\0\x01\0\0\x03\xe8\0\0\0\0two";
        let raw = [b"\0\0\0\x36\0\x10\0\x01\0\0\0\x09\0\0\0\0", &two[..]].concat();
        for messages in [[&let_in[..], alive, &raw], [let_in, alive, two]] {
            let mut heard = Vec::new();
            for message in messages {
                assert_eq!(read(message, &mut heard), Ok(message.len()));
            }
            // Neither comment has a mark.
            assert!(matches!(&*heard, [Said::Ready, Said::Other, Said::Other, Said::Other]));
        }
        assert_eq!(packet(COMMENT, b"one"), two[..19]);
    }

    #[test]
    fn the_header_is_as_documented() {
        let hello = hello("123", "bench-0");
        assert_eq!(hello[..16], [0, 0, 0, hello.len() as u8, 0, 16, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0]);
        assert!(String::from_utf8_lossy(&hello).contains(r#""room_id":"live://bench-0""#));
        assert!(read(&[0; 16], &mut Vec::new()).is_err());
    }
}
