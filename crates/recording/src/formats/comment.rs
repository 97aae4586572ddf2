//! Comments of our own: objects as the API gives them.

use model::Style;
use serde_json::Value;

use crate::collect::ParsedEntry;
use crate::fields::{moment_ms, time_ms};
use crate::report::SkipReason;

/// Reads an entry; `None` when it is of another shape.
pub(crate) fn entry(value: &Value) -> Option<Result<ParsedEntry, SkipReason>> {
    let offset = value.get("offset_ms")?;
    Some(read(offset, value))
}

fn read(offset: &Value, value: &Value) -> Result<ParsedEntry, SkipReason> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let style = match value.get("style") {
        None | Some(Value::Null) => Style::default(),
        Some(style) => serde_json::from_value(style.clone()).map_err(|_| SkipReason::Broken)?,
    };
    let created = value.get("created_at");
    let created_at_ms = match created {
        Some(Value::String(time)) => time_ms(time),
        Some(Value::Number(number)) => moment_ms(&number.to_string()),
        _ => None,
    };
    Ok(ParsedEntry {
        offset_ms: offset.as_f64().ok_or(SkipReason::NoTime)?,
        content: text("content").ok_or(SkipReason::Broken)?.to_owned(),
        style,
        created_at_ms,
        sender: text("user_id").map(str::to_owned),
        username: text("username").map(str::to_owned),
    })
}
