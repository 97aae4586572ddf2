//! Niconico's comments: `<chat>` elements, and the threads of its JSON in three generations.
//!
//! The time is `vposMs`, or `vpos` in hundredths of a second. Commands say how a comment looks: `ue` top, `shita`
//! bottom, `big`, `small`, colours by name or as `#rrggbb`. In XML and older JSON they stand in `mail`.

use model::{Mode, Size, Style};
use serde_json::Value;

use crate::collect::ParsedEntry;
use crate::fields::{hex_color, moment_ms, time_ms};
use crate::report::SkipReason;

/// Reads a `<chat>` element.
pub(crate) fn chat(attribute: &dyn Fn(&str) -> Option<String>, content: String) -> Result<ParsedEntry, SkipReason> {
    if attribute("deleted").is_some_and(|deleted| deleted != "0") {
        return Err(SkipReason::Deleted);
    }
    let vpos = attribute("vpos").and_then(|vpos| vpos.trim().parse::<f64>().ok()).ok_or(SkipReason::NoTime)?;
    let mail = attribute("mail").unwrap_or_default();
    Ok(ParsedEntry {
        offset_ms: vpos * 10.0,
        content,
        style: style(mail.split_ascii_whitespace()),
        created_at_ms: attribute("date").and_then(|date| moment_ms(&date)),
        sender: attribute("user_id"),
        username: attribute("name"),
    })
}

/// Reads a comment of the JSON forms; `None` when it is none of them.
pub(crate) fn entry(value: &Value) -> Option<Result<ParsedEntry, SkipReason>> {
    (value.get("vposMs").is_some() || value.get("vpos").is_some()).then(|| read(value))
}

fn read(value: &Value) -> Result<ParsedEntry, SkipReason> {
    let deleted = value
        .get("deleted")
        .is_some_and(|deleted| !matches!(deleted, Value::Null | Value::Bool(false)) && *deleted != 0);
    if deleted {
        return Err(SkipReason::Deleted);
    }
    let number = |name: &str| value.get(name).and_then(Value::as_f64);
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let offset_ms = number("vposMs").or_else(|| number("vpos").map(|vpos| vpos * 10.0)).ok_or(SkipReason::NoTime)?;
    let content = text("body").or_else(|| text("content")).ok_or(SkipReason::Empty)?;
    let listed = value.get("commands").or_else(|| value.get("mail"));
    let style = match listed {
        Some(Value::Array(commands)) => style(commands.iter().filter_map(Value::as_str)),
        Some(Value::String(mail)) => style(mail.split_ascii_whitespace()),
        _ => Style::default(),
    };
    let id = |name: &str| match value.get(name)? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    };
    Ok(ParsedEntry {
        offset_ms,
        content: content.to_owned(),
        style,
        created_at_ms: text("postedAt").and_then(time_ms).or_else(|| id("date").and_then(|date| moment_ms(&date))),
        sender: id("userId").or_else(|| id("user_id")),
        username: None,
    })
}

fn style<'a>(commands: impl Iterator<Item = &'a str>) -> Style {
    let mut style = Style::default();
    for command in commands {
        match command {
            "ue" => style.mode = Mode::Top,
            "shita" => style.mode = Mode::Bottom,
            "big" => style.size = Size::Large,
            "small" => style.size = Size::Small,
            command => {
                let named = COLORS.iter().find(|(name, _)| *name == command).map(|(_, rgb)| *rgb);
                style.color = named.or_else(|| hex_color(command)).unwrap_or(style.color);
            }
        }
    }
    style
}

const COLORS: [(&str, u32); 31] = [
    ("white", 0xff_ffff),
    ("red", 0xff_0000),
    ("pink", 0xff_8080),
    ("orange", 0xff_c000),
    ("yellow", 0xff_ff00),
    ("green", 0x00_ff00),
    ("cyan", 0x00_ffff),
    ("blue", 0x00_00ff),
    ("purple", 0xc0_00ff),
    ("black", 0x00_0000),
    ("white2", 0xcc_cc99),
    ("niconicowhite", 0xcc_cc99),
    ("red2", 0xcc_0033),
    ("truered", 0xcc_0033),
    ("pink2", 0xff_33cc),
    ("orange2", 0xff_6600),
    ("passionorange", 0xff_6600),
    ("yellow2", 0x99_9900),
    ("madyellow", 0x99_9900),
    ("green2", 0x00_cc66),
    ("elementalgreen", 0x00_cc66),
    ("cyan2", 0x00_cccc),
    ("blue2", 0x33_99ff),
    ("marineblue", 0x33_99ff),
    ("purple2", 0x66_33cc),
    ("nobleviolet", 0x66_33cc),
    ("black2", 0x66_6666),
    ("aqua", 0x00_ffff),
    ("lime", 0x00_ff00),
    ("silver", 0xc0_c0c0),
    ("gray", 0x80_8080),
];
