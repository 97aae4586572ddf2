//! As much of HTTP/3 (RFC 9114) as a WebTransport session needs: settings, one request, its answer, and its end.
//!
//! The listener drives it. Field sections and settings are coded by `wtransport-proto`; the frames around them are here,
//! because a session that ends must write on its own request stream (WT_CLOSE_SESSION). Decides nothing about requests.
//! Every read is bounded.

use std::io;

use protocol::varint::{put_varint, varint};
use quinn::{RecvStream, SendStream};
use wtransport_proto::frame::Frame;
use wtransport_proto::headers::Headers;
use wtransport_proto::settings::Settings;
use wtransport_proto::varint::VarInt;

/// Errors and ends of connections (RFC 9114 §8.1).
pub(super) const NO_ERROR: quinn::VarInt = quinn::VarInt::from_u32(0x0100);
/// The peer asks for too much.
pub(super) const EXCESSIVE_LOAD: quinn::VarInt = quinn::VarInt::from_u32(0x0107);
/// The peer broke the rules of HTTP/3.
pub(super) const PROTOCOL_ERROR: quinn::VarInt = quinn::VarInt::from_u32(0x0101);
/// A stream that nobody reads (draft-ietf-webtrans-http3).
pub(super) const STREAM_REJECTED: quinn::VarInt = quinn::VarInt::from_u32(0x3994_bd84);

const CONTROL_STREAM: u64 = 0x00;
const DATA_FRAME: u64 = 0x00;
const HEADERS_FRAME: u64 = 0x01;
const GOAWAY_FRAME: u64 = 0x07;
const WEBTRANSPORT_BIDI: u64 = 0x41;
const WEBTRANSPORT_UNI: u64 = 0x54;
const CLOSE_SESSION: u64 = 0x2843;
/// The longest request head.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// The longest frame of unknown type that is skipped, and how many of them.
const SKIPPED_BYTES_MAX: u64 = 4 * 1024;
const SKIPPED_FRAMES_MAX: usize = 16;
/// The longest WT_CLOSE_SESSION: a code and a reason of 1,024 bytes.
const CLOSE_BYTES_MAX: u64 = 4 + 1_024;

/// The peer does not speak HTTP/3 as it should, or is gone.
#[derive(Debug, thiserror::Error)]
pub(super) enum H3Error {
    #[error("the stream ended or broke")]
    Stream(#[from] io::Error),
    #[error("{0}")]
    Rule(&'static str),
}

/// The opening bytes of our control stream. They promise what browsers of three drafts look for.
pub(super) fn control_stream() -> Vec<u8> {
    let settings = Settings::builder()
        .qpack_max_table_capacity(VarInt::from_u32(0))
        .qpack_blocked_streams(VarInt::from_u32(0))
        .enable_connect_protocol()
        .enable_webtransport()
        .enable_h3_datagrams()
        .webtransport_max_sessions(VarInt::from_u32(1))
        .build();
    let mut out = Vec::new();
    put_varint(CONTROL_STREAM, &mut out);
    put_frame(&settings.generate_frame(), &mut out);
    out
}

/// No further request is answered on this connection.
pub(super) fn goaway(session: u64) -> Vec<u8> {
    let (mut out, mut id) = (Vec::new(), Vec::new());
    put_varint(session + 4, &mut id);
    put_varint(GOAWAY_FRAME, &mut out);
    put_varint(id.len() as u64, &mut out);
    out.extend_from_slice(&id);
    out
}

/// The answer to a request.
pub(super) fn response(status: u16) -> Vec<u8> {
    let headers: Headers = [(":status", status.to_string())].into_iter().collect();
    let mut out = Vec::new();
    put_frame(&headers.generate_frame(), &mut out);
    out
}

/// The session ends: a capsule (RFC 9297) on the request's stream.
pub(super) fn close_session(code: u16, reason: &[u8]) -> Vec<u8> {
    let mut capsule = Vec::new();
    put_varint(CLOSE_SESSION, &mut capsule);
    put_varint(4 + reason.len() as u64, &mut capsule);
    capsule.extend_from_slice(&u32::from(code).to_be_bytes());
    capsule.extend_from_slice(reason);
    let mut out = Vec::new();
    put_varint(DATA_FRAME, &mut out);
    put_varint(capsule.len() as u64, &mut out);
    out.extend_from_slice(&capsule);
    out
}

/// What every unidirectional stream of a session begins with.
pub(super) fn uni_stream(session: u64, out: &mut Vec<u8>) {
    put_varint(WEBTRANSPORT_UNI, out);
    put_varint(session, out);
}

/// What every datagram of a session begins with (RFC 9297 §2.1).
pub(super) fn datagram(session: u64, out: &mut Vec<u8>) {
    put_varint(session / 4, out);
}

fn put_frame(frame: &Frame<'_>, out: &mut Vec<u8>) {
    // A Vec takes everything.
    let _ = frame.write(out);
}

/// Reads the head of the request that opens a stream.
pub(super) async fn read_request(stream: &mut RecvStream) -> Result<Headers, H3Error> {
    for _ in 0..SKIPPED_FRAMES_MAX {
        let (kind, length) = (read_varint(stream).await?, read_varint(stream).await?);
        match kind {
            HEADERS_FRAME if length <= HEAD_BYTES_MAX => {
                let mut payload = vec![0; length as usize];
                stream.read_exact(&mut payload).await.map_err(io::Error::other)?;
                return decode_headers(payload);
            }
            HEADERS_FRAME => return Err(H3Error::Rule("the request head is too large")),
            DATA_FRAME | WEBTRANSPORT_BIDI => return Err(H3Error::Rule("a request begins with its head")),
            _ => skip(stream, length).await?,
        }
    }
    Err(H3Error::Rule("too many unknown frames"))
}

fn decode_headers(payload: Vec<u8>) -> Result<Headers, H3Error> {
    Headers::with_frame(&Frame::new_headers(payload.into())).map_err(|_| H3Error::Rule("the request head is not QPACK"))
}

/// Reads what a bidirectional stream of a session begins with; true when it is this session's.
pub(super) async fn read_bidi_header(stream: &mut RecvStream, session: u64) -> Result<bool, H3Error> {
    Ok(read_varint(stream).await? == WEBTRANSPORT_BIDI && read_varint(stream).await? == session)
}

/// Waits for the client to end its session; the code and reason it gave, if it gave any.
pub(super) async fn read_close(stream: &mut RecvStream) -> Option<u32> {
    let mut capsules = Vec::new();
    loop {
        let (kind, length) = (read_varint(stream).await.ok()?, read_varint(stream).await.ok()?);
        if kind != DATA_FRAME {
            skip(stream, length).await.ok()?;
            continue;
        }
        if length > SKIPPED_BYTES_MAX || capsules.len() as u64 > SKIPPED_BYTES_MAX {
            return None;
        }
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.ok()?;
        capsules.extend_from_slice(&payload);
        while let Some((capsule, content, used)) = first_capsule(&capsules) {
            if capsule == CLOSE_SESSION && content.len() as u64 <= CLOSE_BYTES_MAX {
                return content.first_chunk().map(|code| u32::from_be_bytes(*code));
            }
            capsules.drain(..used);
        }
    }
}

/// The capsule at the start of `bytes`: its type, its content, its whole length.
fn first_capsule(bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let (kind, at) = varint(bytes)?;
    let (length, more) = varint(bytes.get(at..)?)?;
    let content = bytes.get(at + more..)?.get(..usize::try_from(length).ok()?)?;
    Some((kind, content, at + more + content.len()))
}

async fn skip(stream: &mut RecvStream, length: u64) -> Result<(), H3Error> {
    if length > SKIPPED_BYTES_MAX {
        return Err(H3Error::Rule("a frame of unknown type is too long"));
    }
    let mut ignored = vec![0; length as usize];
    Ok(stream.read_exact(&mut ignored).await.map_err(io::Error::other)?)
}

async fn read_varint(stream: &mut RecvStream) -> Result<u64, H3Error> {
    let mut bytes = [0; 8];
    let (first, rest) = bytes.split_at_mut(1);
    stream.read_exact(first).await.map_err(io::Error::other)?;
    let more = first.first().map_or(0, |first| (1_usize << (first >> 6)) - 1);
    stream.read_exact(rest.get_mut(..more).unwrap_or_default()).await.map_err(io::Error::other)?;
    varint(&bytes).map(|(value, _)| value).ok_or(H3Error::Rule("a varint is cut"))
}

/// Writes all of `bytes`, and ends the stream when `last`.
pub(super) async fn write(stream: &mut SendStream, bytes: &[u8], last: bool) -> io::Result<()> {
    stream.write_all(bytes).await.map_err(io::Error::other)?;
    if last {
        stream.finish().map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_close_carries_its_code_and_reason() {
        let bytes = close_session(4003, b"why");
        assert_eq!(bytes, [0x00, 10, 0x68, 0x43, 7, 0, 0, 0x0f, 0xa3, b'w', b'h', b'y']);
        let (kind, content, used) = first_capsule(&bytes[2..]).unwrap();
        assert_eq!((kind, content, used), (CLOSE_SESSION, &b"\0\0\x0f\xa3why"[..], 10));
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let bytes = response(429);
        let (kind, at) = varint(&bytes).unwrap();
        let (length, more) = varint(&bytes[at..]).unwrap();
        let headers = decode_headers(bytes[at + more..].to_vec()).unwrap();
        assert_eq!((kind, length as usize), (HEADERS_FRAME, bytes.len() - at - more));
        assert_eq!(headers.get(":status"), Some("429"));
    }

    #[test]
    fn a_length_of_eleven_bytes_is_refused() {
        let _ = decode_headers(vec![255, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0]).expect_err("no length");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// No request head of a stranger brings the decoder down.
        #[test]
        fn any_head_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode_headers(bytes.clone());
            let _ = first_capsule(&bytes);
        }
    }
}
