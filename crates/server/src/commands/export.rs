//! `export`: a recording's comments, page by page from a running server, as a file on the standard output.

use std::io::{BufWriter, Write, stdout};

use anyhow::Context;
use recording::Writer;
use serde_json::Value;

use super::import::{admin_token, read_answer};
use crate::cli::Export;

/// Comments asked for in one request: as many as the server gives.
const PAGE: usize = 1_000;

/// Writes the session to the standard output.
pub fn run(args: &Export) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = BufWriter::new(stdout().lock());
    runtime.block_on(export(args, &mut out))?;
    out.flush().context("cannot write the comments")
}

async fn export(args: &Export, out: &mut impl Write) -> anyhow::Result<()> {
    let room = format!("{}/api/v1/rooms/{}", args.from.server.trim_end_matches('/'), args.room);
    let (client, token) = (reqwest::Client::new(), admin_token(&args.from)?);
    let mut writer = Writer::new(args.format, out);
    let mut cursor = None::<String>;
    let mut written = 0_u64;
    loop {
        let mut query = vec![("session_id", args.session.clone()), ("limit", PAGE.to_string())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let response = client.get(format!("{room}/replay")).query(&query).bearer_auth(&token).send().await;
        let response = response.with_context(|| format!("cannot reach {room}: is the server running?"))?;
        let mut page = read_answer(response).await?;
        let comments = page["comments"].take();
        for comment in comments.as_array().into_iter().flatten() {
            writer.comment(comment).context("cannot write a comment")?;
            written += 1;
        }
        match page["next_cursor"].take() {
            Value::String(next) => cursor = Some(next),
            _ => break,
        }
    }
    writer.finish().context("cannot write the comments")?;
    model::stderr::write(format!("{written} comments of session {} written\n", args.session).as_bytes());
    Ok(())
}
