//! `import`: a file of recorded comments becomes a recording of a room, through a running server.
//!
//! Reads the file twice: for what concerns the whole recording, and to send its comments in batches. So memory does not grow
//! with the file. Ends with one line of numbers; before it says what was skipped, why and where, and what was changed.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use model::clock::rfc3339_ms;
use model::stderr::print;
use model::{Level, Style};
use recording::{Format, Recorded, RecordingError, Report};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::cli::{Import, TargetServer};
use crate::commands::token::claims;
use crate::secret;

/// Comments sent in one request.
const BATCH_COMMENTS: usize = 5_000;
/// Longest body, with room below what the server takes.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Batches that wait to be sent.
const BATCHES_MAX: usize = 2;

/// Sends the file in batches, all into one session.
pub fn run(args: &Import) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", args.file.display());
    let file = open(&args.file).with_context(unreadable)?;
    if args.dry_run {
        return dry_run(args, &file);
    }
    let mut last_ms = 0;
    let report = read(&file, args, progress(&file)?, &mut |comment| last_ms = last_ms.max(comment.offset_ms));
    let report = report.with_context(unreadable)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(send(args, file, &report, last_ms))
}

/// The file, which is read more than once. What cannot be, such as a pipe, is copied to the disk first.
fn open(path: &Path) -> io::Result<File> {
    let copied = |input: &mut dyn Read| {
        let mut copy = tempfile::tempfile()?;
        io::copy(&mut super::progress_bar(None).wrap_read(input.take(recording::FILE_BYTES_MAX)), &mut copy)?;
        Ok(copy)
    };
    if path == Path::new("-") {
        return copied(&mut io::stdin().lock());
    }
    let mut file = File::open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { copied(&mut file) }
}

fn progress(file: &File) -> io::Result<ProgressBar> {
    Ok(super::progress_bar(Some(file.metadata()?.len())))
}

/// Reads the file from its beginning.
fn read(
    mut file: &File,
    args: &Import,
    bar: ProgressBar,
    each: &mut dyn FnMut(Recorded),
) -> Result<Report, RecordingError> {
    file.rewind()?;
    recording::read(bar.wrap_read(file), args.format, each)
}

/// Says what the file has, by the rules that the server applies.
fn dry_run(args: &Import, file: &File) -> anyhow::Result<()> {
    let chars_max = super::configuration(&args.to.place)?.limits.comment_chars_max as usize;
    let (mut empty, mut cut) = (0, 0);
    let report = read(file, args, progress(file)?, &mut |comment| {
        let content = words::sanitise_lines(&comment.content);
        empty += u64::from(content.is_empty());
        cut += u64::from(content.chars().count() > chars_max);
    });
    let report = report.with_context(|| format!("cannot read {}", args.file.display()))?;
    print_report(args, &report, empty, cut);
    let (imported, skipped) = (report.comments - empty, report.skipped.total() + empty);
    print(&format!("dry run: {imported} comments would come in, {skipped} would be skipped; nothing was written"));
    Ok(())
}

async fn send(args: &Import, file: File, report: &Report, last_ms: i64) -> anyhow::Result<()> {
    let url = format!("{}/api/v1/admin/rooms/{}/import", args.to.server.trim_end_matches('/'), args.room);
    let (client, token) = (reqwest::Client::new(), admin_token(&args.to)?);
    let (mut session, mut imported, mut empty, mut cut) = (None::<String>, 0, 0, 0);
    let metadata = session_metadata(args, report, last_ms);
    let bar = ProgressBar::new(report.comments)
        .with_style(ProgressStyle::with_template("{pos} of {len} imported {wide_bar}")?)
        .with_finish(indicatif::ProgressFinish::AndClear);
    let (batches, mut waiting) = mpsc::channel(BATCHES_MAX);
    let format = args.format;
    let reading = tokio::task::spawn_blocking(move || read_batches(&file, format, &batches));
    while let Some(batch) = waiting.recv().await {
        let comments: Vec<Entry<'_>> = batch.iter().map(Entry::of).collect();
        let body = Body { session_id: session.as_deref(), session: &metadata, comments: &comments };
        let answer = post(&client, &url, &token, &body).await?;
        session = answer["session_id"].as_str().map(str::to_owned);
        let count = |name: &str| answer[name].as_u64().unwrap_or(0);
        (imported, empty, cut) = (imported + count("imported"), empty + count("skipped"), cut + count("cut"));
        bar.inc(batch.len() as u64);
    }
    reading.await?.with_context(|| format!("cannot read {}", args.file.display()))?;
    bar.finish_and_clear();
    print_report(args, report, empty, cut);
    let session = session.with_context(|| format!("nothing in {} can be shown", args.file.display()))?;
    let skipped = report.skipped.total() + empty;
    print(&format!("imported {imported} comments, skipped {skipped}, into room {} as session {session}", args.room));
    Ok(())
}

/// What the server is told of the whole recording with each part: so all parts have one start.
fn session_metadata(args: &Import, report: &Report, last_ms: i64) -> Value {
    let own = report.title.clone();
    let title = own.or_else(|| recording::title_of(&args.file).filter(|_| args.file != Path::new("-")));
    let started_at = report.started_at_ms.map(rfc3339_ms);
    json!({ "started_at": started_at, "duration_ms": last_ms, "title": title })
}

/// Ends when nobody waits for what is read any more.
struct WhileWaitedFor<'a, R> {
    input: R,
    batches: &'a mpsc::Sender<Vec<Recorded>>,
}

impl<R: Read> Read for WhileWaitedFor<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.batches.is_closed() {
            return Err(io::Error::other("the import has ended"));
        }
        self.input.read(buffer)
    }
}

/// Reads the file again and hands on parts that one request takes, each in the order of the recording.
fn read_batches(mut file: &File, format: Format, batches: &mpsc::Sender<Vec<Recorded>>) -> Result<(), RecordingError> {
    let (mut batch, mut bytes) = (Vec::<Recorded>::new(), 0);
    let hand_on = |mut batch: Vec<Recorded>| {
        batch.sort_by_key(|comment| comment.offset_ms);
        // Where nobody waits any more, the reading ends by itself.
        let _ = batches.blocking_send(batch);
    };
    file.rewind()?;
    recording::read(WhileWaitedFor { input: file, batches }, format, &mut |comment| {
        // Escaped, a character may take six bytes; the rest of an entry takes a few hundred.
        let takes = comment.content.len() * 6 + 1_024;
        if !batch.is_empty() && (batch.len() >= BATCH_COMMENTS || bytes + takes > BATCH_BYTES) {
            hand_on(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += takes;
        batch.push(comment);
    })?;
    if !batch.is_empty() {
        hand_on(batch);
    }
    Ok(())
}

/// What was left out and what was changed, with the places.
fn print_report(args: &Import, report: &Report, empty: u64, cut: u64) {
    print(&format!("{}: {} with {} comments", args.file.display(), report.format, report.comments));
    if report.skipped.total() + empty > 0 {
        print(format!("skipped:\n{}", report.skipped).trim_end());
    }
    if empty > 0 {
        print(&format!("  {empty} × nothing is left of it once invisible characters are dropped"));
    }
    if report.repaired.total() + cut > 0 {
        print(format!("changed:\n{}", report.repaired).trim_end());
    }
    if cut > 0 {
        print(&format!("  {cut} × the text was longer than a comment may be, and cut"));
    }
}

/// A part of a recording, as the server takes it.
#[derive(Serialize)]
struct Body<'a> {
    session_id: Option<&'a str>,
    session: &'a Value,
    comments: &'a [Entry<'a>],
}

#[derive(Serialize)]
struct Entry<'a> {
    offset_ms: i64,
    content: &'a str,
    style: Style,
    user_id: Option<&'a str>,
    username: Option<&'a str>,
    created_at: Option<String>,
}

impl<'a> Entry<'a> {
    fn of(comment: &'a Recorded) -> Self {
        let Recorded { offset_ms, content, style, created_at_ms, sender, username } = comment;
        Self {
            offset_ms: *offset_ms,
            content,
            style: *style,
            user_id: sender.as_deref(),
            username: username.as_deref(),
            created_at: created_at_ms.map(rfc3339_ms),
        }
    }
}

/// The token given, or one made with the server's secret.
pub(super) fn admin_token(to: &TargetServer) -> anyhow::Result<String> {
    if let Some(token) = &to.token {
        return Ok(token.clone());
    }
    let secret = secret::existing(&super::configuration(&to.place)?)?;
    let claims = claims("barrage-import", Level::Admin, Duration::from_secs(3_600));
    ingest::tokens::sign(&secret, &claims).context("cannot sign a token")
}

async fn post(client: &reqwest::Client, url: &str, token: &str, body: &Body<'_>) -> anyhow::Result<Value> {
    let response = client.post(url).bearer_auth(token).json(body).send().await;
    let response = response.with_context(|| format!("cannot reach {url}: is the server running?"))?;
    read_answer(response).await
}

/// The server's answer, or why it refused.
pub(super) async fn read_answer(response: reqwest::Response) -> anyhow::Result<Value> {
    let status = response.status();
    let answer: Value = response.json().await.unwrap_or_default();
    if !status.is_success() {
        bail!("the server answered {status}: {}", answer["error"]["message"].as_str().unwrap_or("no reason"));
    }
    Ok(answer)
}
