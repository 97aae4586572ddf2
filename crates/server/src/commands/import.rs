//! `import`: a file of recorded comments becomes a recording of a room, through a running server.

use std::time::Duration;

use anyhow::{Context, bail};
use model::Level;
use model::clock::rfc3339_ms;
use recording::Recorded;
use serde_json::{Value, json};

use crate::cli::{Import, Server};
use crate::commands::token::claims;
use crate::secret;

/// Comments sent in one request.
const RUN: usize = 5_000;

/// Sends the file in runs, all into one session.
pub fn run(args: &Import) -> anyhow::Result<()> {
    let recording = super::read_recording(&args.file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(send(args, recording))
}

async fn send(args: &Import, recording: recording::Recording) -> anyhow::Result<()> {
    let url = format!("{}/api/v1/admin/rooms/{}/import", args.to.server.trim_end_matches('/'), args.room);
    let (client, token) = (reqwest::Client::new(), admin_token(&args.to)?);
    let (mut session, mut imported, mut skipped) = (None::<String>, 0, recording.skipped);
    for run in recording.comments.chunks(RUN) {
        let body = json!({ "session_id": session, "comments": run.iter().map(body_of).collect::<Vec<_>>() });
        let answer = post(&client, &url, &token, &body).await?;
        session = answer["session_id"].as_str().map(str::to_owned);
        imported += answer["imported"].as_u64().unwrap_or(0);
        skipped += answer["skipped"].as_u64().unwrap_or(0);
        eprintln!("{imported} of {} imported", recording.comments.len());
    }
    let session = session.context("there is nothing in the file that can be shown")?;
    println!("imported {imported} comments, skipped {skipped}, into room {} as session {session}", args.room);
    Ok(())
}

fn body_of(comment: &Recorded) -> Value {
    let Recorded { offset_ms, content, style, created_at_ms, sender } = comment;
    json!({
        "offset_ms": offset_ms, "content": content, "style": style, "user_id": sender,
        "created_at": created_at_ms.map(rfc3339_ms),
    })
}

/// The token given, or one made with the server's secret.
fn admin_token(to: &Server) -> anyhow::Result<String> {
    if let Some(token) = &to.token {
        return Ok(token.clone());
    }
    let secret = secret::existing(&super::configuration(&to.place)?)?;
    let claims = claims("barrage-import", Level::Admin, Duration::from_secs(3_600));
    ingest::tokens::sign(&secret, &claims).context("cannot sign a token")
}

async fn post(client: &reqwest::Client, url: &str, token: &str, body: &Value) -> anyhow::Result<Value> {
    let response = client.post(url).bearer_auth(token).json(body).send().await;
    let response = response.with_context(|| format!("cannot reach {url}: is the server running?"))?;
    let status = response.status();
    let answer: Value = response.json().await.unwrap_or_default();
    if !status.is_success() {
        bail!("the server answered {status}: {}", answer["error"]["message"].as_str().unwrap_or("no reason"));
    }
    Ok(answer)
}
