//! `play`: sends recorded comments live, each sender over a socket of its own, at the recording's pace or faster. One more
//! socket watches what a viewer receives. Prints the totals at the end.
//!
//! A sender who is faster than the limits allow (at this speed, or because one author placed a thousand comments) is spread
//! over as many users as it takes: the command plays a crowd.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, bail};
use barrage_client::transport::web_socket;
use barrage_client::{Batch, Client, ClientOptions, CommentDraft, JoinOptions, Room, RoomItem, RoomItems, State};
use model::stderr::print;
use model::{Level, RoomId};
use recording::Recorded;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::cli::Play;
use crate::commands::token::claims;
use crate::secret;

/// A sender's socket is closed after this time without a comment.
const SENDER_IDLE: Duration = Duration::from_secs(2);
/// Comments one sender may have waiting.
const SENDER_QUEUE: usize = 64;
/// How long to wait for an answer, or for the last batch.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two comments of one user: a normal user's rate, and a little.
const USER_INTERVAL: Duration = Duration::from_millis(1_100);
/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// The outcomes of all comments.
#[derive(Debug, Default)]
struct PlayTotals {
    sent: u64,
    outcomes: BTreeMap<String, u64>,
    /// The text of each accepted comment, by id: shows which ones were masked.
    texts: HashMap<String, String>,
}

/// What the viewer received.
#[derive(Debug, Default)]
struct Received {
    delivered: u64,
    merged: u64,
    omitted: u64,
    contents: Vec<(String, String)>,
}

/// The outcome of one comment.
enum PlayOutcome {
    Accepted { id: String, status: String, content: String },
    Refused { code: String },
}

/// Plays the file.
pub fn run(args: &Play) -> anyhow::Result<()> {
    let recording = super::read_recording(&args.file, recording::Format::Auto)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(play(args, recording))
}

/// Where the comments go.
struct PlayTarget {
    url: String,
    secret: String,
    room: RoomId,
}

impl PlayTarget {
    /// A client of its own, and the room. The first attempt has to succeed; after that it connects again by itself.
    async fn connect(&self, user: &str) -> anyhow::Result<(Client, Room)> {
        let claims = claims(user, Level::Normal, Duration::from_secs(86_400));
        let token = ingest::tokens::sign(&self.secret, &claims).context("cannot sign a token")?;
        let client = Client::new(ClientOptions::new(&self.url).token(&token).transport(web_socket()))?;
        client.connect();
        let mut states = client.states();
        match &*states.wait_for(|state| *state != State::Connecting).await? {
            State::Waiting { reason, .. } | State::Closed { reason, .. } => {
                bail!("cannot connect: is the server running? {reason}")
            }
            State::Connecting | State::Connected => {}
        }
        let room = client.room(self.room.as_str());
        Ok((client, room))
    }
}

async fn play(args: &Play, recording: recording::Recording) -> anyhow::Result<()> {
    let place = &args.to.place;
    let secret = secret::existing(&super::configuration(place)?)?;
    let url = args.to.server.clone();
    let target = std::sync::Arc::new(PlayTarget { url, secret, room: args.room.clone() });

    let (_watcher, room) = target.connect("barrage-play-viewer").await?;
    let items = room.subscribe();
    room.join(JoinOptions { history: Some(0), ..JoinOptions::default() }).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let watching = tokio::spawn(watch(items, stopped));
    let totals = send_all(args, &recording.comments, &target).await;
    stop.send_replace(true);
    let seen = watching.await.context("the watching socket failed")?;
    report(&recording, &totals, &seen);
    Ok(())
}

/// Sends every comment when its moment comes, at most `args.sockets` senders at a time.
async fn send_all(args: &Play, comments: &[Recorded], target: &std::sync::Arc<PlayTarget>) -> PlayTotals {
    let (outcomes_tx, mut outcomes_rx) = mpsc::channel(4_096);
    let mut senders: HashMap<String, mpsc::Sender<Recorded>> = HashMap::new();
    let (mut totals, mut cast) = (PlayTotals::default(), Cast::default());
    let start = Instant::now();
    let first_ms = comments.first().map_or(0, |comment| comment.offset_ms);
    let mut shown = start;
    for (index, comment) in comments.iter().enumerate() {
        let due_s = (comment.offset_ms - first_ms) as f64 / 1_000.0 / args.speed;
        sleep_until(start + Duration::from_secs_f64(due_s)).await;
        while let Ok(outcome) = outcomes_rx.try_recv() {
            totals.note(outcome);
        }
        if shown.elapsed() >= PROGRESS_INTERVAL {
            shown = Instant::now();
            model::stderr::write(format!("{index} of {} sent, {} senders\n", comments.len(), senders.len()).as_bytes());
        }
        let name = cast.name(comment, index);
        senders.retain(|_, sender| !sender.is_closed());
        while senders.len() >= args.sockets && !senders.contains_key(&name) {
            // All sockets are in use: a sender falls idle soon.
            tokio::time::sleep(Duration::from_millis(10)).await;
            senders.retain(|_, sender| !sender.is_closed());
        }
        let sender = senders.entry(name.clone()).or_insert_with(|| {
            let (queue, waiting) = mpsc::channel(SENDER_QUEUE);
            tokio::spawn(send_comments(target.clone(), name, waiting, outcomes_tx.clone()));
            queue
        });
        totals.sent += 1;
        if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(comment.clone()) {
            totals.note(PlayOutcome::Refused { code: "sender's queue full".into() });
        }
    }
    drop((senders, outcomes_tx));
    while let Ok(Some(outcome)) = timeout(ANSWER_TIMEOUT, outcomes_rx.recv()).await {
        totals.note(outcome);
    }
    totals
}

/// The users of each recorded sender, with the moment of each one's last comment.
#[derive(Default)]
struct Cast(HashMap<String, Vec<Instant>>);

impl Cast {
    /// A user of the comment's sender that may send again. A comment without a sender gets a user of its own.
    fn name(&mut self, comment: &Recorded, index: usize) -> String {
        let known = comment.sender.as_deref().filter(|sender| sender.bytes().all(|b| b.is_ascii_alphanumeric()));
        let Some(sender) = known else { return format!("viewer-{index}") };
        let last_sent = self.0.entry(sender.to_owned()).or_default();
        let free = last_sent.iter().position(|at| at.elapsed() >= USER_INTERVAL).unwrap_or(last_sent.len());
        match last_sent.get_mut(free) {
            Some(at) => *at = Instant::now(),
            None => last_sent.push(Instant::now()),
        }
        if free == 0 { format!("viewer-{sender}") } else { format!("viewer-{sender}-{free}") }
    }
}

/// One sender: sends what is queued over a socket, one comment after another, and reports the outcomes.
async fn send_comments(
    target: std::sync::Arc<PlayTarget>,
    name: String,
    mut waiting: mpsc::Receiver<Recorded>,
    outcomes_tx: mpsc::Sender<PlayOutcome>,
) {
    let enter = async {
        let (client, room) = target.connect(&name).await?;
        // A viewer as others are, whom nothing is sent but events.
        room.join(JoinOptions { max_per_s: Some(0), ..JoinOptions::default() }).await?;
        anyhow::Ok((client, room))
    };
    let Ok((_client, room)) = enter.await else {
        while waiting.try_recv().is_ok() {
            let _ = outcomes_tx.send(PlayOutcome::Refused { code: "connection failed".into() }).await;
        }
        return;
    };
    while let Ok(Some(comment)) = timeout(SENDER_IDLE, waiting.recv()).await {
        if outcomes_tx.send(send(&room, comment).await).await.is_err() {
            return;
        }
    }
}

async fn send(room: &Room, comment: Recorded) -> PlayOutcome {
    let Recorded { content, style, .. } = comment;
    let style = serde_json::from_value(json!(style)).ok();
    match room.comment(CommentDraft { content: content.clone(), style, ..CommentDraft::default() }).await {
        Ok(ack) => PlayOutcome::Accepted { id: ack.id, status: ack.status, content },
        Err(error) => PlayOutcome::Refused { code: error.code },
    }
}

/// Collects what a viewer receives, until `stopped` is true and nothing more comes.
async fn watch(mut items: RoomItems, mut stopped: tokio::sync::watch::Receiver<bool>) -> Received {
    let mut seen = Received::default();
    let mut last = None;
    loop {
        let item = match last {
            None => tokio::select! {
                item = items.next() => item,
                _ = stopped.wait_for(|stopped| *stopped) => { last = Some(Instant::now() + Duration::from_secs(2)); continue }
            },
            Some(until) => match tokio::time::timeout_at(until, items.next()).await {
                Ok(item) => item,
                Err(_) => return seen,
            },
        };
        match item {
            Some(RoomItem::Comments(batch)) => seen.note(batch),
            Some(_) => {}
            None => return seen,
        }
    }
}

impl PlayTotals {
    fn note(&mut self, outcome: PlayOutcome) {
        let outcome = match outcome {
            PlayOutcome::Accepted { id, status, content } => {
                self.texts.insert(id, content);
                status
            }
            PlayOutcome::Refused { code } => format!("refused: {code}"),
        };
        *self.outcomes.entry(outcome).or_default() += 1;
    }
}

impl Received {
    fn note(&mut self, batch: Batch) {
        self.omitted += batch.omitted;
        for comment in batch.comments {
            self.delivered += 1;
            self.merged += comment.count.saturating_sub(1);
            self.contents.push((comment.id, comment.content));
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

fn report(recording: &recording::Recording, totals: &PlayTotals, seen: &Received) {
    print(&format!("in the file        {:>8}", recording.comments.len()));
    print(&format!("not showable       {:>8}", recording.report.skipped.total()));
    print(&format!("sent               {:>8}", totals.sent));
    for (outcome, n) in &totals.outcomes {
        print(&format!("{outcome:<18} {n:>8}"));
    }
    print("one viewer was given:");
    print(&format!("  delivered        {:>8}", seen.delivered));
    print(&format!("  of them masked   {:>8}", seen.masked(&totals.texts)));
    print(&format!("  merged away      {:>8}", seen.merged));
    print(&format!("  omitted          {:>8}   (merged away included)", seen.omitted));
}
