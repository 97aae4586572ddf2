//! DanDanPlay's comments: `{"cid", "p": "time,mode,color,user", "m": text}`. Seconds; mode 1 flies, 4 is bottom, 5 top.

use model::Style;
use serde_json::Value;

use super::bilibili;
use crate::collect::ParsedEntry;
use crate::fields::{color, mode_number, movement};
use crate::report::{Repair, SkipReason};

/// Reads an entry; `None` when it is of another shape.
pub(crate) fn entry(value: &Value, repairs: &mut Vec<Repair>) -> Option<Result<ParsedEntry, SkipReason>> {
    let (p, text) = (value.get("p")?, value.get("m")?);
    let fields = p.as_str()?.matches(',').count() + 1;
    if fields >= 8 {
        // Some servers hand on the longer form as it is.
        return Some(bilibili::entry(p.as_str(), None, text.as_str()?.to_owned(), false, repairs));
    }
    Some(read(p.as_str()?, text, repairs))
}

fn read(p: &str, text: &Value, repairs: &mut Vec<Repair>) -> Result<ParsedEntry, SkipReason> {
    let mut fields = p.splitn(4, ',').map(str::trim);
    let time = fields.next().and_then(|time| time.parse::<f64>().ok()).ok_or(SkipReason::NoTime)?;
    let mode = mode_number(fields.next());
    let rgb = color(fields.next().unwrap_or_default());
    if !mode.usual {
        repairs.push(Repair::Mode);
    }
    if !rgb.usual {
        repairs.push(Repair::Color);
    }
    Ok(ParsedEntry {
        offset_ms: time * 1_000.0,
        content: bilibili::content(mode.value, text.as_str().ok_or(SkipReason::Broken)?.to_owned(), repairs)?,
        style: Style { mode: movement(mode.value), color: rgb.value, ..Style::default() },
        sender: fields.next().map(str::to_owned),
        ..ParsedEntry::default()
    })
}
