//! `<d p="…">text</d>`, the form in which players exchange comments and recorders write them.
//!
//! `p` holds, separated by commas: seconds into the video, mode (1–3 and 6 fly, 4 bottom, 5 top, 7 positioned, 8 and 9
//! programs), font size (18 small, 25 normal, 36 large), colour as a decimal RGB number, Unix time, pool, a hash of the
//! sender, and the id of the comment. Fields after the first may be missing. Recorders write milliseconds as Unix time
//! and the name as `user="…"`. Positioned comments carry a JSON array whose fifth element is their text. A line break
//! is written as `/n`.

use model::Style;

use crate::collect::ParsedEntry;
use crate::fields::{color, mode_number, moment_ms, movement, size};
use crate::report::{Repair, SkipReason};

/// Reads one element. With `version_2` the first two fields of `p` are others, and the time is in milliseconds.
pub(crate) fn entry(
    p: Option<&str>,
    user: Option<String>,
    text: String,
    version_2: bool,
    repairs: &mut Vec<Repair>,
) -> Result<ParsedEntry, SkipReason> {
    let fields: Vec<&str> = p.ok_or(SkipReason::NoTime)?.split(',').map(str::trim).collect();
    let field = |at: usize| fields.get(at).copied().filter(|field| !field.is_empty());
    let (first, unit_ms) = if version_2 { (2, 1.0) } else { (0, 1_000.0) };
    let time = field(first).and_then(|time| time.parse::<f64>().ok()).ok_or(SkipReason::NoTime)?;
    let mode = mode_number(field(first + 1));
    if !mode.usual {
        repairs.push(Repair::Mode);
    }
    let rgb = field(first + 3).map(color);
    if rgb.as_ref().is_some_and(|rgb| !rgb.usual) {
        repairs.push(Repair::Color);
    }
    let sent = field(first + 4).and_then(moment_ms);
    let sender = (!version_2).then(|| field(6)).flatten();
    Ok(ParsedEntry {
        offset_ms: time * unit_ms,
        content: content(mode.value, text, repairs)?,
        style: Style {
            mode: movement(mode.value),
            color: rgb.map_or(Style::default().color, |rgb| rgb.value),
            size: size(field(first + 2)),
        },
        created_at_ms: sent,
        sender: sender.map(str::to_owned),
        username: user,
    })
}

/// The text that a comment of this mode shows.
pub(crate) fn content(mode: u8, text: String, repairs: &mut Vec<Repair>) -> Result<String, SkipReason> {
    let text = match mode {
        8 | 9 => return Err(SkipReason::Code),
        7 => {
            let shown = positioned(&text).ok_or(SkipReason::Broken)?;
            repairs.push(Repair::Positioned);
            shown
        }
        _ => text,
    };
    // An address may hold the same two characters by chance.
    Ok(if text.contains("://") { text } else { text.replace("/n", "\n") })
}

/// The text of a positioned comment.
fn positioned(json: &str) -> Option<String> {
    let fields: Vec<serde_json::Value> = serde_json::from_str(json.trim()).ok()?;
    fields.get(4)?.as_str().map(str::to_owned)
}
