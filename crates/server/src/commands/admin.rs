//! `admin`: rooms, sessions, bans and actions through the admin API of a running server, as tables or JSON.

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use super::import::read_answer;
use super::say;
use crate::cli::{Admin, AdminAction};

/// Sends the request and prints the answer.
pub fn run(args: &Admin) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask(args))?;
    if args.json { say(&serde_json::to_string_pretty(&answer)?) } else { print(&args.action, &answer) }
}

async fn ask(args: &Admin) -> anyhow::Result<Value> {
    let (method, path, body) = request(&args.action);
    let url = format!("{}/api/v1{path}", args.url.trim_end_matches('/'));
    let mut request = reqwest::Client::new().request(method, &url);
    if !args.key.is_empty() {
        request = request.bearer_auth(&args.key);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.with_context(|| format!("cannot reach {url}: is the server running?"))?;
    if response.status() == reqwest::StatusCode::NO_CONTENT {
        return Ok(json!({}));
    }
    read_answer(response).await
}

fn request(action: &AdminAction) -> (Method, String, Option<Value>) {
    match action {
        AdminAction::Rooms => (Method::GET, "/rooms".into(), None),
        AdminAction::Sessions { room } => (Method::GET, format!("/rooms/{room}/sessions"), None),
        AdminAction::Bans => (Method::GET, "/admin/bans".into(), None),
        AdminAction::Ban { user, room, duration_s } => {
            let ban = json!({ "user_id": user, "room_id": room, "duration_s": duration_s, "kind": "ban" });
            (Method::POST, "/admin/bans".into(), Some(ban))
        }
        AdminAction::Kick { user } => (Method::POST, format!("/admin/users/{user}/kick"), None),
        AdminAction::Announce { room, text } => {
            (Method::POST, format!("/admin/rooms/{room}/announcements"), Some(json!({ "content": text })))
        }
        AdminAction::Drain => (Method::POST, "/admin/drain".into(), None),
    }
}

/// Columns of each list, in their order.
fn print(action: &AdminAction, answer: &Value) -> anyhow::Result<()> {
    let (list, columns): (_, &[&str]) = match action {
        AdminAction::Rooms => ("rooms", &["room_id", "name", "state", "viewers"]),
        AdminAction::Sessions { .. } => {
            ("sessions", &["session_id", "started_at", "ended_at", "comment_count", "title"])
        }
        AdminAction::Bans => ("bans", &["id", "user_id", "room_id", "kind", "until", "reason"]),
        _ => return say("done"),
    };
    let rows: Vec<Vec<String>> = std::iter::once(columns.iter().map(|column| (*column).to_owned()).collect())
        .chain(answer[list].as_array().into_iter().flatten().map(|entry| cells(entry, columns)))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        say(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn cells(entry: &Value, columns: &[&str]) -> Vec<String> {
    let cell = |column: &&str| match &entry[*column] {
        Value::Null => String::new(),
        // Names come from people: no control character reaches the terminal.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        other => other.to_string(),
    };
    columns.iter().map(cell).collect()
}
