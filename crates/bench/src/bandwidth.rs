//! `bench bandwidth`: what a comment costs on the wire, and to encode, in every form a socket can read it.
//!
//! Recorded comments go through the server's own encoders in batches; what is counted are the bytes of the finished
//! WebSocket frames, headers included. No server is started and no socket opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use gateway::encode;
use hub::batch::BatchItem;
use model::{Comment, Kind, Level, RoomId, Snowflake, UserId};
use protocol::handshake::{Form, SubProtocol};
use recording::Recorded;
use serde::Serialize;

/// Comments in a batch: a quiet room, a busy one, a full one.
const BATCHES: [usize; 3] = [1, 10, 100];
/// Everything is encoded so many times, of which the fastest counts.
const ROUNDS: usize = 5;
/// When the session of these comments begins: recordings know seconds at most, live rooms milliseconds.
const BEGINNING_MS: i64 = 1_769_846_400_123;
/// Bits of an id below its milliseconds (see `model::snowflake`).
const ID_SHIFT: u32 = 22;

/// One form at one size of batch.
#[derive(Debug, Serialize)]
struct Line {
    protocol: &'static str,
    deflated: bool,
    batch: usize,
    bytes_per_comment: f64,
    /// Of what plain JSON takes in batches of the same size.
    share_of_json: f64,
    /// CPU to encode and compress, once for all readers.
    us_per_comment: f64,
}

/// Measures the files' comments, prints a table and writes `bandwidth.json` into `out`.
///
/// # Errors
/// When a file cannot be read or holds no comments.
pub fn run(files: &[PathBuf], out: Option<&Path>) -> anyhow::Result<()> {
    ensure!(!files.is_empty(), "bandwidth needs files of recorded comments");
    let mut comments = Vec::new();
    for file in files {
        let recording = crate::read_recording(file)?;
        comments.extend(recording.comments.into_iter().filter_map(live));
    }
    ensure!(!comments.is_empty(), "there is no comment in these files");
    said_live(&mut comments);
    let comments: Vec<Arc<Comment>> = comments.into_iter().map(Arc::new).collect();
    let lines = measure(&comments)?;
    print(&comments, &lines);
    if let Some(dir) = out {
        let file = dir.join("bandwidth.json");
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&file, serde_json::to_vec_pretty(&lines)?))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// A recorded comment as a viewer says it in a live room; `None` when nobody is named.
fn live(recorded: Recorded) -> Option<Comment> {
    let user = recorded.sender.as_deref().and_then(|sender| UserId::new(sender).ok())?;
    let name: String = user.as_str().chars().take(6).collect();
    Some(Comment {
        id: id_at(BEGINNING_MS),
        room_id: RoomId::new("lobby").ok()?,
        session_id: Some(id_at(BEGINNING_MS)),
        user_id: user,
        username: format!("viewer-{name}").into(),
        level: Level::Normal,
        content: recorded.content.into(),
        style: recorded.style,
        kind: Kind::Comment,
        mentions: [].into(),
        created_at_ms: BEGINNING_MS,
        offset_ms: recorded.offset_ms,
        like_count: 0,
        shadow: false,
    })
}

/// The comments in their order, about a hundred a second, at uneven milliseconds and with the ids of those moments.
fn said_live(comments: &mut [Comment]) {
    let mut at_ms = BEGINNING_MS;
    for (n, comment) in (1u64..).zip(comments) {
        // Knuth's multiplicative hash: steps of 1 to 20 ms, the same ones each time.
        at_ms += 1 + ((n.wrapping_mul(2_654_435_761) >> 16) % 20).cast_signed();
        (comment.id, comment.created_at_ms, comment.offset_ms) = (id_at(at_ms), at_ms, at_ms - BEGINNING_MS);
    }
}

fn id_at(at_ms: i64) -> Snowflake {
    Snowflake((at_ms - model::snowflake::EPOCH_MS).cast_unsigned() << ID_SHIFT)
}

fn measure(comments: &[Arc<Comment>]) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for batch in BATCHES {
        let mut json_bytes = f64::NAN;
        for protocol in [SubProtocol::Json, SubProtocol::Proto, SubProtocol::Bin] {
            for deflated in [false, true] {
                let (bytes, us) = encode_all(comments, Form { protocol, deflated }, batch)?;
                let bytes_per_comment = bytes as f64 / comments.len() as f64;
                json_bytes = if json_bytes.is_nan() { bytes_per_comment } else { json_bytes };
                lines.push(Line {
                    protocol: protocol.name(),
                    deflated,
                    batch,
                    bytes_per_comment,
                    share_of_json: bytes_per_comment / json_bytes,
                    us_per_comment: us / comments.len() as f64,
                });
            }
        }
    }
    Ok(lines)
}

/// Bytes of all frames, and microseconds of CPU to make them.
fn encode_all(comments: &[Arc<Comment>], form: Form, batch: usize) -> anyhow::Result<(usize, f64)> {
    let room = RoomId::new("lobby")?;
    let (mut bytes, mut fastest_us) = (0, f64::INFINITY);
    for _ in 0..ROUNDS {
        // Fresh items, so that each round formats every comment once, as a live batch does.
        let batches: Vec<Vec<BatchItem>> =
            comments.chunks(batch).map(|batch| batch.iter().map(|c| BatchItem::new(c.clone(), 1)).collect()).collect();
        let began_us = cpu_us();
        bytes = batches.iter().map(|items| encode::comments(form, 1, &room, items.iter(), 0).len()).sum();
        fastest_us = fastest_us.min(cpu_us() - began_us);
    }
    Ok((bytes, fastest_us))
}

/// CPU time of this thread in microseconds.
fn cpu_us() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct, which lives here.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn print(comments: &[Arc<Comment>], lines: &[Line]) {
    let text = comments.iter().map(|comment| comment.content.len()).sum::<usize>() as f64 / comments.len() as f64;
    println!("{} comments, {text:.1} B of text each. Bytes of finished WebSocket frames.\n", comments.len());
    println!("| sub-protocol | | batch | B/comment | of plain JSON | µs/comment |");
    println!("|---|---|---|---|---|---|");
    for Line { protocol, deflated, batch, bytes_per_comment, share_of_json, us_per_comment } in lines {
        let form = if *deflated { "deflated" } else { "plain" };
        println!(
            "| `{protocol}` | {form} | {batch} | {bytes_per_comment:.1} | {:.1} % | {us_per_comment:.2} |",
            share_of_json * 100.0,
        );
    }
}
