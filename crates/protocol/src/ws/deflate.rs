//! permessage-deflate (RFC 7692), without a context that outlives a message in either direction.
//!
//! So every socket that negotiated it shares a message compressed once, and a socket costs no memory: there is one
//! compressor per thread and one [`Inflater`] per shard. [`crate::handshake`] negotiates it.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::encoder::deflated_header;
use super::frame::{Opcode, ProtocolError};
use super::frame_header;

/// What a flush leaves at the end of a message; it is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// The compression level, of 1 to 9. Beyond this a batch of 100 comments gets at most 5 % shorter, for up to three times the CPU.
const LEVEL: u32 = 5;

thread_local! {
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

/// Appends a whole message to `out` as a compressed frame, or as a plain one when that is not longer.
pub fn deflated_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    match deflate(payload) {
        Some(deflated) => {
            deflated_header(opcode, deflated.len(), out);
            out.extend_from_slice(&deflated);
        }
        None => {
            frame_header(opcode, payload.len(), out);
            out.extend_from_slice(payload);
        }
    }
}

/// The payload compressed; `None` when it does not get shorter.
fn deflate(payload: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        // Everything that gets shorter fits into this at once.
        let mut out = Vec::with_capacity(payload.len() + TAIL.len());
        compressor.compress_vec(payload, &mut out, FlushCompress::Sync).ok()?;
        let whole = compressor.total_in() == payload.len() as u64 && out.ends_with(&TAIL);
        out.truncate(out.len().saturating_sub(TAIL.len()));
        (whole && out.len() < payload.len()).then_some(out)
    })
}

/// Inflates messages, each by itself.
pub struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Inflater {
    /// Inflates a message into `out`, which is emptied first and never grows much beyond `bytes_max`.
    ///
    /// # Errors
    /// [`ProtocolError::TooBig`] when the message is longer than `bytes_max`, without inflating the rest;
    /// [`ProtocolError::BadDeflate`] when it is not deflated data.
    pub fn inflate(&mut self, payload: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        self.0.reset(false);
        out.clear();
        out.reserve(payload.len().saturating_mul(3).clamp(64, bytes_max.max(64)));
        for part in [payload, &TAIL] {
            if self.inflate_part(part, bytes_max, out)? == Status::StreamEnd {
                // A sender may end the stream (RFC 7692 §7.2.3.4); the tail is then one byte of nothing.
                break;
            }
        }
        Ok(())
    }

    fn inflate_part(&mut self, mut rest: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<Status, ProtocolError> {
        loop {
            let (before, held) = (self.0.total_in(), out.len());
            let status = self.0.decompress_vec(rest, out, FlushDecompress::Sync);
            let status = status.map_err(|_| ProtocolError::BadDeflate)?;
            let taken = (self.0.total_in() - before) as usize;
            rest = rest.get(taken..).unwrap_or_default();
            let full = out.len() == out.capacity();
            match status {
                _ if out.len() > bytes_max => return Err(ProtocolError::TooBig),
                Status::StreamEnd => return Ok(status),
                _ if full => out.reserve(out.len().min(bytes_max + 1 - out.len())),
                _ if rest.is_empty() => return Ok(status),
                _ if taken == 0 && out.len() == held => return Err(ProtocolError::BadDeflate),
                _ => {}
            }
        }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inflater")
    }
}
