//! YouTube's replay of a live chat, one action a line.
//!
//! Messages and paid messages are comments; memberships, deletions, polls and tickers are not. Emoji of the channel's
//! own are written as their shortcuts.

use serde_json::Value;

use crate::collect::ParsedEntry;
use crate::fields::moment_ms;
use crate::report::SkipReason;

/// The entries of a line; `None` when it is of another shape.
pub(crate) fn entries(value: &Value) -> Option<Vec<Result<ParsedEntry, SkipReason>>> {
    let (actions, offset) = match value.get("replayChatItemAction") {
        Some(replay) => (
            replay.get("actions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice),
            replay.get("videoOffsetTimeMsec"),
        ),
        None => (std::slice::from_ref(value), None),
    };
    let offset = offset.or_else(|| value.get("videoOffsetTimeMsec"));
    let is_action = |action: &Value| {
        action
            .as_object()
            .is_some_and(|action| action.keys().any(|key| key.ends_with("Action") || key.ends_with("Command")))
    };
    let known = value.get("replayChatItemAction").is_some() || is_action(value);
    known.then(|| actions.iter().map(|action| entry(action, offset)).collect())
}

fn entry(action: &Value, offset: Option<&Value>) -> Result<ParsedEntry, SkipReason> {
    let item = action.get("addChatItemAction").and_then(|add| add.get("item")).ok_or(SkipReason::NotAComment)?;
    let paid = item.get("liveChatPaidMessageRenderer");
    let message = item.get("liveChatTextMessageRenderer").or(paid).ok_or(SkipReason::NotAComment)?;
    let offset_ms = match offset {
        Some(Value::String(ms)) => ms.parse().ok(),
        Some(ms) => ms.as_f64(),
        None => None,
    };
    let simple = |name: &str| message.get(name)?.get("simpleText")?.as_str().map(str::to_owned);
    let said = message.get("message").map(text).filter(|text| !text.trim().is_empty());
    // Who pays need not write; then the amount is what is shown.
    let content = said.or_else(|| simple("purchaseAmountText").filter(|_| paid.is_some()));
    let text_of = |name: &str| message.get(name).and_then(Value::as_str);
    Ok(ParsedEntry {
        offset_ms: offset_ms.ok_or(SkipReason::NoTime)?,
        content: content.ok_or(SkipReason::Empty)?,
        created_at_ms: text_of("timestampUsec").and_then(moment_ms),
        sender: text_of("authorExternalChannelId").map(str::to_owned),
        username: simple("authorName"),
        ..ParsedEntry::default()
    })
}

fn text(message: &Value) -> String {
    if let Some(text) = message.get("simpleText").and_then(Value::as_str) {
        return text.to_owned();
    }
    let runs = message.get("runs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    runs.iter().filter_map(run).collect()
}

fn run(run: &Value) -> Option<&str> {
    if let Some(text) = run.get("text") {
        return text.as_str();
    }
    let emoji = run.get("emoji")?;
    let shortcut = || emoji.get("shortcuts")?.get(0)?.as_str();
    match emoji.get("isCustomEmoji").and_then(Value::as_bool) {
        Some(true) => shortcut(),
        // Others are named by the character itself.
        _ => emoji.get("emojiId").and_then(Value::as_str).or_else(shortcut),
    }
}
