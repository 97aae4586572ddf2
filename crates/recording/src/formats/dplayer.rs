//! DPlayer's list: `[time, type, color, author, text]`, or the same as an object. Seconds; type 0 flies, 1 is top,
//! 2 bottom; author and text are escaped as HTML.

use model::{Mode, Style};
use serde_json::Value;

use crate::collect::ParsedEntry;
use crate::fields::{self, unescape};
use crate::report::{Repair, SkipReason};

/// Reads an entry; `None` when it is of another shape.
pub(crate) fn entry(value: &Value, repairs: &mut Vec<Repair>) -> Option<Result<ParsedEntry, SkipReason>> {
    let field = |at: usize, name: &str| match value {
        Value::Array(fields) => fields.get(at),
        value => value.get(name),
    };
    let shaped = match value {
        Value::Array(fields) => fields.len() >= 5,
        value => value.get("text").is_some() && value.get("time").is_some(),
    };
    shaped.then(|| {
        let number = field(0, "time").ok_or(SkipReason::NoTime)?;
        let time = number.as_f64().or_else(|| number.as_str()?.parse().ok()).ok_or(SkipReason::NoTime)?;
        let own = |value: Option<&Value>| value.and_then(Value::as_str).map(|text| unescape(text).0.into_owned());
        let color = match field(2, "color") {
            Some(Value::Number(rgb)) => Some(fields::color(&rgb.to_string())),
            // Players write `#ffffff` themselves.
            Some(Value::String(text)) => Some(fields::color(text)),
            _ => None,
        };
        if color.as_ref().is_some_and(|color| !color.usual) {
            repairs.push(Repair::Color);
        }
        let mode = match field(1, "type").or_else(|| value.get("mode")) {
            Some(Value::String(name)) => match name.as_str() {
                "top" | "1" => Mode::Top,
                "bottom" | "2" => Mode::Bottom,
                _ => Mode::Scroll,
            },
            mode => match mode.and_then(Value::as_f64) {
                Some(1.0) => Mode::Top,
                Some(2.0) => Mode::Bottom,
                _ => Mode::Scroll,
            },
        };
        Ok(ParsedEntry {
            offset_ms: time * 1_000.0,
            content: own(field(4, "text")).ok_or(SkipReason::Broken)?,
            style: Style { mode, color: color.map_or(Style::default().color, |color| color.value), ..Style::default() },
            username: own(field(3, "author")),
            sender: own(field(3, "author")),
            created_at_ms: None,
        })
    })
}
