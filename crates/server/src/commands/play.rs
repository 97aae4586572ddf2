//! `play`: sends recorded comments live, each sender over a socket of its own, at the recording's
//! pace or faster, while one more socket watches what a viewer is given. Ends with the tally.
//!
//! A sender who speaks faster than one person may (at this speed, or because one author placed a
//! thousand comments) is spread over as many names as it takes: what is played is the crowd.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use model::{Level, RoomId};
use recording::Recorded;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::cli::Play;
use crate::commands::token::claims;
use crate::secret;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A sender's socket is closed after so long without a comment.
const SENDER_IDLE: Duration = Duration::from_secs(2);
/// Comments one sender may have waiting.
const SENDER_QUEUE: usize = 64;
/// An answer, or the last batch, is waited for this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// One name speaks once in so long: a normal user's rate, and a little.
const BREATH: Duration = Duration::from_millis(1_100);
/// Progress is shown this often.
const PROGRESS: Duration = Duration::from_secs(2);

/// What became of the comments.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    outcomes: BTreeMap<String, u64>,
    /// What was accepted, by id, with the text sent: to see what came out masked.
    texts: HashMap<String, String>,
}

/// What a viewer was given.
#[derive(Debug, Default)]
struct Seen {
    delivered: u64,
    merged: u64,
    omitted: u64,
    contents: Vec<(String, String)>,
}

/// One comment's fate, told by its sender.
enum Fate {
    Accepted { id: String, status: String, content: String },
    Refused { code: String },
}

/// Plays the file.
pub fn run(args: &Play) -> anyhow::Result<()> {
    let recording = super::read_recording(&args.file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(play(args, recording))
}

struct Door {
    url: String,
    secret: String,
    room: RoomId,
}

impl Door {
    async fn enter(&self, user: &str, options: &str) -> anyhow::Result<Socket> {
        let claims = claims(user, Level::Normal, Duration::from_secs(86_400));
        let token = ingest::tokens::sign(&self.secret, &claims).context("cannot sign a token")?;
        let url = format!("{}/ws?room_id={}&token={token}{options}", self.url, self.room);
        let (socket, _) = connect_async(url).await.context("cannot connect: is the server running?")?;
        Ok(socket)
    }
}

async fn play(args: &Play, recording: recording::Recording) -> anyhow::Result<()> {
    let place = &args.to.place;
    let secret = secret::existing(&super::configuration(place)?)?;
    let Some(rest) = args.to.server.strip_prefix("http") else { bail!("--server must begin with http") };
    let url = format!("ws{}", rest.trim_end_matches('/'));
    let door = std::sync::Arc::new(Door { url, secret, room: args.room.clone() });

    let watcher = door.enter("barrage-play-viewer", "&history=0").await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let watching = tokio::spawn(watch(watcher, stopped));
    let tally = send_all(args, &recording.comments, &door).await;
    stop.send_replace(true);
    let seen = watching.await.context("the watching socket failed")?;
    report(&recording, &tally, &seen);
    Ok(())
}

/// Sends every comment when its moment comes, at most `args.sockets` senders at a time.
async fn send_all(args: &Play, comments: &[Recorded], door: &std::sync::Arc<Door>) -> Tally {
    let (fates, mut heard) = mpsc::channel(4_096);
    let mut senders: HashMap<String, mpsc::Sender<Recorded>> = HashMap::new();
    let (mut tally, mut cast) = (Tally::default(), Cast::default());
    let start = Instant::now();
    let first_ms = comments.first().map_or(0, |comment| comment.offset_ms);
    let mut shown = start;
    for (index, comment) in comments.iter().enumerate() {
        let due_s = (comment.offset_ms - first_ms) as f64 / 1_000.0 / args.speed;
        sleep_until(start + Duration::from_secs_f64(due_s)).await;
        while let Ok(fate) = heard.try_recv() {
            tally.note(fate);
        }
        if shown.elapsed() >= PROGRESS {
            shown = Instant::now();
            eprintln!("{index} of {} sent, {} senders", comments.len(), senders.len());
        }
        let name = cast.name(comment, index);
        senders.retain(|_, sender| !sender.is_closed());
        while senders.len() >= args.sockets && !senders.contains_key(&name) {
            // As many sockets as there may be: somebody falls idle soon.
            tokio::time::sleep(Duration::from_millis(10)).await;
            senders.retain(|_, sender| !sender.is_closed());
        }
        let sender = senders.entry(name.clone()).or_insert_with(|| {
            let (queue, waiting) = mpsc::channel(SENDER_QUEUE);
            tokio::spawn(speak(door.clone(), name, waiting, fates.clone()));
            queue
        });
        tally.sent += 1;
        if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(comment.clone()) {
            tally.note(Fate::Refused { code: "sender's queue full".into() });
        }
    }
    drop((senders, fates));
    while let Ok(Some(fate)) = timeout(PATIENCE, heard.recv()).await {
        tally.note(fate);
    }
    tally
}

/// Who speaks: each recorded sender's names, with the moment each spoke last.
#[derive(Default)]
struct Cast(HashMap<String, Vec<Instant>>);

impl Cast {
    /// A name of the comment's sender that has breath; where the file names nobody, everybody is
    /// somebody else.
    fn name(&mut self, comment: &Recorded, index: usize) -> String {
        let known = comment.sender.as_deref().filter(|sender| sender.bytes().all(|b| b.is_ascii_alphanumeric()));
        let Some(sender) = known else { return format!("viewer-{index}") };
        let spoken = self.0.entry(sender.to_owned()).or_default();
        let free = spoken.iter().position(|at| at.elapsed() >= BREATH).unwrap_or(spoken.len());
        match spoken.get_mut(free) {
            Some(at) => *at = Instant::now(),
            None => spoken.push(Instant::now()),
        }
        if free == 0 { format!("viewer-{sender}") } else { format!("viewer-{sender}-{free}") }
    }
}

/// One sender: a socket that says what is queued, one after another, and tells what became of it.
async fn speak(
    door: std::sync::Arc<Door>,
    name: String,
    mut waiting: mpsc::Receiver<Recorded>,
    fates: mpsc::Sender<Fate>,
) {
    let failed = || Fate::Refused { code: "connection failed".into() };
    let Ok(socket) = door.enter(&name, "&max_per_s=0").await else {
        while waiting.try_recv().is_ok() {
            let _ = fates.send(failed()).await;
        }
        return;
    };
    let (mut out, mut incoming) = socket.split();
    while let Ok(Some(comment)) = timeout(SENDER_IDLE, waiting.recv()).await {
        let fate = say(&mut out, &mut incoming, &door.room, comment).await.unwrap_or_else(|_| failed());
        if fates.send(fate).await.is_err() {
            return;
        }
    }
}

async fn say(
    out: &mut SplitSink<Socket, Message>,
    incoming: &mut SplitStream<Socket>,
    room: &RoomId,
    comment: Recorded,
) -> anyhow::Result<Fate> {
    let message =
        json!({ "type": "comment", "ref": 1, "room_id": room, "content": comment.content, "style": comment.style });
    out.send(Message::text(message.to_string())).await?;
    loop {
        let answer = timeout(PATIENCE, incoming.next()).await?.context("closed")??;
        let Ok(answer) = serde_json::from_str::<Value>(answer.to_text().unwrap_or_default()) else { continue };
        let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        match answer["type"].as_str() {
            Some("comment_ack") => {
                return Ok(Fate::Accepted { id: text("id"), status: text("status"), content: comment.content });
            }
            Some("error") if !answer["ref"].is_null() => return Ok(Fate::Refused { code: text("code") }),
            Some("event") if answer["critical"] == true => {
                let ack = json!({ "type": "ack", "event_id": answer["event_id"] });
                out.send(Message::text(ack.to_string())).await?;
            }
            _ => {}
        }
    }
}

/// What a viewer is given, until told to stop and nothing more comes.
async fn watch(mut socket: Socket, mut stopped: tokio::sync::watch::Receiver<bool>) -> Seen {
    let mut seen = Seen::default();
    let mut last = None;
    loop {
        let message = match last {
            None => tokio::select! {
                message = socket.next() => message,
                _ = stopped.wait_for(|stopped| *stopped) => { last = Some(Instant::now() + Duration::from_secs(2)); continue }
            },
            Some(until) => match tokio::time::timeout_at(until, socket.next()).await {
                Ok(message) => message,
                Err(_) => return seen,
            },
        };
        let Some(Ok(message)) = message else { return seen };
        if let Ok(batch) = serde_json::from_str::<Value>(message.to_text().unwrap_or_default()) {
            seen.note(&batch);
        }
    }
}

impl Tally {
    fn note(&mut self, fate: Fate) {
        let outcome = match fate {
            Fate::Accepted { id, status, content } => {
                self.texts.insert(id, content);
                status
            }
            Fate::Refused { code } => format!("refused: {code}"),
        };
        *self.outcomes.entry(outcome).or_default() += 1;
    }
}

impl Seen {
    fn note(&mut self, batch: &Value) {
        if batch["type"] != "comments" {
            return;
        }
        self.omitted += batch["omitted"].as_u64().unwrap_or(0);
        for comment in batch["comments"].as_array().into_iter().flatten() {
            self.delivered += 1;
            self.merged += comment["count"].as_u64().map_or(0, |count| count.saturating_sub(1));
            let text = |field: &str| comment[field].as_str().unwrap_or_default().to_owned();
            self.contents.push((text("id"), text("content")));
        }
    }

    fn masked(&self, texts: &HashMap<String, String>) -> usize {
        let masked = |(id, shown): &&(String, String)| {
            shown.contains('*')
                && texts.get(id).is_some_and(|said| said.matches('*').count() < shown.matches('*').count())
        };
        self.contents.iter().filter(masked).map(|(id, _)| id).collect::<HashSet<_>>().len()
    }
}

fn report(recording: &recording::Recording, tally: &Tally, seen: &Seen) {
    println!("in the file        {:>8}", recording.comments.len());
    println!("not showable       {:>8}", recording.skipped);
    println!("sent               {:>8}", tally.sent);
    for (outcome, n) in &tally.outcomes {
        println!("{outcome:<18} {n:>8}");
    }
    println!("one viewer was given:");
    println!("  delivered        {:>8}", seen.delivered);
    println!("  of them masked   {:>8}", seen.masked(&tally.texts));
    println!("  merged away      {:>8}", seen.merged);
    println!("  omitted          {:>8}   (merged away included)", seen.omitted);
}
