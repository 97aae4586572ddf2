//! `archive`: what lies in objects, whether it is whole, and recordings out of it, beside a running server or without one.
//!
//! With `--server` the server does the work; without, the command reads the database and the objects itself.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::sync::Arc;

use anyhow::{Context, bail};
use archive::{Archive, Found, Listed};
use indicatif::{ProgressBar, ProgressStyle};
use model::stderr::print;
use model::{RoomId, Snowflake, rfc3339_ms};
use protocol::comment::CommentJson;
use recording::{ExportFormat, ParquetWriter, Writer};
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::{ReplayQuery, Store};

use super::import::{admin_token, read_answer};
use crate::backends;
use crate::cli::{ArchiveAction, ArchivePlace, ArchiveTool, TargetServer};

/// Comments read at once.
const PAGE: usize = 1_000;

/// Does it. Returns whether something was found that should not be.
pub fn run(args: &ArchiveTool) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match &args.action {
            ArchiveAction::List(place) => list(&Source::open(place).await?).await.map(|()| false),
            ArchiveAction::Verify(place) => verify(&Source::open(place).await?).await,
            ArchiveAction::Restore { session, place } => {
                restore(&Source::open(place).await?, *session).await.map(|()| false)
            }
            ArchiveAction::Export { session, format, output, place } => {
                let source = Source::open(place).await?;
                let out: Box<dyn Write + Send> = match output {
                    Some(path) => {
                        Box::new(File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?)
                    }
                    None => Box::new(stdout()),
                };
                let mut out = Output::new(format, BufWriter::new(out))?;
                let exported = export(&source, *session, &mut out).await;
                if let (Err(_), Some(path)) = (&exported, output) {
                    // Half a file would look like a whole one.
                    let _ = std::fs::remove_file(path);
                }
                exported?;
                out.finish().context("cannot write the comments").map(|()| false)
            }
        }
    })
}

/// Where the answers come from.
enum Source {
    Server { url: String, client: reqwest::Client, token: String },
    Direct { store: Arc<dyn Store>, archive: Arc<Archive> },
}

impl Source {
    async fn open(place: &ArchivePlace) -> anyhow::Result<Self> {
        let Some(server) = &place.server else {
            let (store, archive) = backends::open_beside(&super::configuration(&place.place)?).await?;
            return Ok(Self::Direct { store, archive });
        };
        let to = TargetServer { server: server.clone(), token: place.token.clone(), place: place.place.clone() };
        let url = format!("{}/api/v1", server.trim_end_matches('/'));
        Ok(Self::Server { url, client: reqwest::Client::new(), token: admin_token(&to)? })
    }

    /// All archived sessions, page by page.
    async fn each(&self, mut with: impl AsyncFnMut(&Listed) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut after = None;
        loop {
            let page = match self {
                Self::Direct { archive, .. } => archive.list(after.unwrap_or(Snowflake(0))).await?,
                Self::Server { .. } => {
                    let path = after.map_or("admin/archive".into(), |after| format!("admin/archive?after={after}"));
                    let mut answer = self.call(reqwest::Method::GET, &path).await?;
                    parsed(answer["sessions"].take())?
                }
            };
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.session_id);
            for one in &page {
                with(one).await?;
            }
        }
    }

    async fn call(&self, method: reqwest::Method, path: &str) -> anyhow::Result<Value> {
        let Self::Server { url, client, token } = self else { bail!("there is no server to ask") };
        let response = client.request(method, format!("{url}/{path}")).bearer_auth(token).send().await;
        read_answer(response.with_context(|| format!("cannot reach {url}: is the server running?"))?).await
    }
}

fn parsed<T: DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    serde_json::from_value(value).context("the server answered something unexpected")
}

fn bar(unit: &str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template(&format!("{{spinner}} {{pos}} {unit} {{msg}}"))?;
    Ok(ProgressBar::no_length().with_style(style).with_finish(indicatif::ProgressFinish::AndClear))
}

async fn list(source: &Source) -> anyhow::Result<()> {
    source
        .each(async |one| {
            let Listed { session_id, room_id, started_at_ms, segments, comments, bytes } = one;
            let at = rfc3339_ms(*started_at_ms);
            super::say(&format!(
                "{session_id}\t{room_id}\t{at}\t{segments} segments\t{comments} comments\t{bytes} bytes"
            ))
        })
        .await
}

async fn verify(source: &Source) -> anyhow::Result<bool> {
    let (bar, mut sessions, mut segments, mut broken) = (bar("sessions verified")?, 0, 0, 0);
    source
        .each(async |one| {
            let found: Vec<Found> = match source {
                Source::Direct { archive, .. } => archive.verify(one.session_id).await?,
                Source::Server { .. } => {
                    let path = format!("admin/archive/{}/verify", one.session_id);
                    parsed(source.call(reqwest::Method::POST, &path).await?["broken"].take())?
                }
            };
            (sessions, segments, broken) = (sessions + 1, segments + one.segments, broken + found.len());
            bar.inc(1);
            found.iter().try_for_each(|one| super::say(&format!("{}\tsegment {}: {}", one.session_id, one.n, one.what)))
        })
        .await?;
    bar.finish_and_clear();
    print(&format!("{segments} segments of {sessions} sessions verified, {broken} of them broken"));
    Ok(broken > 0)
}

async fn restore(source: &Source, session: Snowflake) -> anyhow::Result<()> {
    let bar = bar("segments restored")?;
    match source {
        Source::Direct { store, archive } => {
            let known = store.session(session).await?;
            known.with_context(|| format!("there is no session {session}"))?;
            let comments = archive.restore(session, |done, _| bar.set_position(done as u64)).await?;
            bar.finish_and_clear();
            print(&format!("session {session} is back in the database with {comments} comments"));
        }
        Source::Server { .. } => {
            let path = format!("admin/archive/{session}/restore");
            while source.call(reqwest::Method::POST, &path).await?["done"] != true {
                bar.tick();
            }
            bar.finish_and_clear();
            print(&format!("session {session} is back in the database"));
        }
    }
    Ok(())
}

/// A recording's comments in the form that was asked for.
enum Output {
    Parquet(ParquetWriter<BufWriter<Box<dyn Write + Send>>>),
    Other(Box<Writer<BufWriter<Box<dyn Write + Send>>>>),
}

impl Output {
    fn new(format: &str, out: BufWriter<Box<dyn Write + Send>>) -> anyhow::Result<Self> {
        if format == "parquet" {
            return Ok(Self::Parquet(ParquetWriter::new(out)));
        }
        let format: ExportFormat = format.parse().map_err(anyhow::Error::msg)?;
        Ok(Self::Other(Box::new(Writer::new(format, out))))
    }

    fn comment(&mut self, value: &Value) -> std::io::Result<()> {
        match self {
            Self::Parquet(writer) => writer.comment(value),
            Self::Other(writer) => writer.comment(value),
        }
    }

    fn finish(self) -> std::io::Result<()> {
        match self {
            Self::Parquet(writer) => writer.finish(),
            Self::Other(writer) => writer.finish(),
        }
    }
}

async fn export(source: &Source, session: Snowflake, out: &mut Output) -> anyhow::Result<()> {
    let (bar, mut written) = (bar("comments written")?, 0_u64);
    let mut write = |comment: &Value| {
        written += 1;
        bar.inc(1);
        out.comment(comment).context("cannot write a comment")
    };
    match source {
        Source::Direct { store, .. } => {
            let known = store.session(session).await?.with_context(|| format!("there is no session {session}"))?;
            let mut after = None;
            loop {
                let query = whole(&known.room_id, session, after);
                let page = store.replay(query).await?;
                for comment in &page {
                    write(&serde_json::to_value(CommentJson(comment, None))?)?;
                }
                match page.last() {
                    Some(last) if page.len() == PAGE => after = Some((last.offset_ms, last.id)),
                    _ => break,
                }
            }
        }
        Source::Server { .. } => {
            let room = room_of(source, session).await?;
            let mut cursor = String::new();
            loop {
                let path = format!("rooms/{room}/replay?session_id={session}&limit={PAGE}{cursor}");
                let page = source.call(reqwest::Method::GET, &path).await?;
                page["comments"].as_array().into_iter().flatten().try_for_each(&mut write)?;
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
        }
    }
    bar.finish_and_clear();
    print(&format!("{written} comments of session {session} written"));
    Ok(())
}

fn whole(room: &RoomId, session: Snowflake, after: Option<(i64, Snowflake)>) -> ReplayQuery {
    ReplayQuery {
        room_id: room.clone(),
        session_id: Some(session),
        from_ms: i64::MIN,
        to_ms: i64::MAX,
        by_user: None,
        after,
        limit: PAGE,
    }
}

/// The room of an archived session, as a server knows it.
async fn room_of(source: &Source, session: Snowflake) -> anyhow::Result<RoomId> {
    let mut room = None;
    source
        .each(async |one| {
            if one.session_id == session {
                room = Some(one.room_id.clone());
            }
            Ok(())
        })
        .await?;
    room.with_context(|| format!("session {session} is not archived"))
}
