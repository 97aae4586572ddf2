//! The chat of a Twitch video, as its API and the programs that save it write it.
//!
//! The colour in it is that of the name, so comments come in white.

use serde_json::Value;

use crate::collect::ParsedEntry;
use crate::fields::time_ms;
use crate::report::SkipReason;

/// Reads an entry; `None` when it is of another shape.
pub(crate) fn entry(value: &Value) -> Option<Result<ParsedEntry, SkipReason>> {
    let offset = value.get("content_offset_seconds").or_else(|| value.get("contentOffsetSeconds"))?;
    Some(read(offset, value))
}

fn read(offset: &Value, value: &Value) -> Result<ParsedEntry, SkipReason> {
    let seconds = offset.as_f64().ok_or(SkipReason::NoTime)?;
    let message = value.get("message").ok_or(SkipReason::Empty)?;
    let fragments = || {
        let fragments = message.get("fragments").and_then(Value::as_array)?;
        Some(fragments.iter().filter_map(|fragment| fragment.get("text")?.as_str()).collect::<String>())
    };
    let content = message.get("body").and_then(Value::as_str).map(str::to_owned).or_else(fragments);
    let first = |names: &[&str]| {
        let from = value.get("commenter")?;
        names.iter().find_map(|name| from.get(*name)?.as_str()).map(str::to_owned)
    };
    let created = value.get("created_at").or_else(|| value.get("createdAt"));
    Ok(ParsedEntry {
        offset_ms: seconds * 1_000.0,
        content: content.ok_or(SkipReason::Empty)?,
        created_at_ms: created.and_then(Value::as_str).and_then(time_ms),
        sender: first(&["name", "login", "_id", "id"]),
        username: first(&["display_name", "displayName", "name", "login"]),
        ..ParsedEntry::default()
    })
}
