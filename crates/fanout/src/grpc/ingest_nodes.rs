//! The client side of `Admit`: sends comments to ingest nodes.
//!
//! One stream to each ingest node. A user's comments go to one node for as long as it answers; another takes over when it does
//! not. Whether a comment that was sent and not answered may be sent again depends on it: with a `client_msg_id` it is
//! recognised, without one it could come twice. So after [`PATIENCE`] a recognised comment is asked of another node as
//! well, and the first answer counts. A node that let somebody wait so long is left out until it answers anything: it is
//! sent probes, requests that ask for nothing.

use std::collections::HashMap;
use std::error::Error;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backon::BackoffBuilder;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::metrics::count;
use model::{Admitted, Code, Identity, Metrics, Role, RoomId, UserId, WireError};
use parking_lot::Mutex;
use protocol::message::CommentDraft;
use siphasher::sip::SipHasher13;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::admit_codec::{decode_answer, encode_request};
use super::{COMMENT_BYTES_MAX, PeerSecurity, RECONNECT, connect, log_failure};
use crate::AdmitComments;
use crate::proto::cluster::v1::ingest_client::IngestClient;
use crate::proto::cluster::v1::{AdmitRequest, AdmitResponse};
use cluster::membership::{Members, Node};

/// Comments of this node in flight at once; more are refused.
const IN_FLIGHT_MAX: usize = 16_384;
/// Comments that may wait for one connection.
const WAITING_MAX: usize = 4_096;
/// A node that takes longer to answer is asked no more until it does; another is asked meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long all nodes together may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Nodes that are asked for one comment.
const TRIES: usize = 2;
/// How often a silent node is probed, unless a probe is under way.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);
/// The number of a probe's call; comments have others.
const PROBE: u64 = 0;

/// Why a comment has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoAnswer {
    /// Too many comments are in flight.
    Full,
    /// No node could be reached; the comment was not sent.
    Unsent,
    /// It was sent and may have been admitted.
    Lost,
}

impl NoAnswer {
    const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unsent => "unsent",
            Self::Lost => "lost",
        }
    }
}

impl From<NoAnswer> for WireError {
    fn from(failure: NoAnswer) -> Self {
        match failure {
            NoAnswer::Full => Self::new(Code::Overloaded, "too many comments; try again").retry_after_ms(1_000),
            NoAnswer::Unsent => Self::unavailable(),
            NoAnswer::Lost => Self::unknown_outcome(),
        }
    }
}

/// The ingest nodes of the deployment.
pub struct IngestNodes {
    members: Members,
    links: Links,
    permits: Semaphore,
    calls: AtomicU64,
    metrics: Arc<Metrics>,
    _task: AbortOnDropHandle<()>,
}

type Links = Arc<Mutex<HashMap<u16, Link>>>;

struct Link {
    address: String,
    /// The connection, while there is one.
    life: Arc<Mutex<Option<Arc<Life>>>>,
    _task: AbortOnDropHandle<()>,
}

/// One connection and the calls that wait for answers on it.
struct Life {
    comments: mpsc::Sender<AdmitRequest>,
    /// By call number; `None` once the connection is closed.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<AdmitResponse>>>>,
    /// It let somebody wait too long, and has answered nothing since.
    is_silent: AtomicBool,
}

impl IngestNodes {
    /// Connects to the members with the role `ingest`, as they come and go. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(members: &Members, security: impl Into<PeerSecurity>, metrics: Arc<Metrics>) -> Self {
        let (security, links, mut changes) = (security.into(), Links::default(), members.changes());
        let followed = links.clone();
        let task = tokio::spawn(async move {
            loop {
                let nodes = changes.borrow_and_update().clone();
                follow(&followed, &nodes, &security);
                if changes.changed().await.is_err() {
                    // Nobody looks any more: these nodes it stays.
                    std::future::pending::<()>().await;
                }
            }
        });
        let (permits, calls) = (Semaphore::new(IN_FLIGHT_MAX), AtomicU64::new(PROBE + 1));
        Self { members: members.clone(), links, permits, calls, metrics, _task: AbortOnDropHandle::new(task) }
    }

    /// Whether any of them can be reached.
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.links.lock().values().any(|link| link.life.lock().is_some())
    }

    /// Sends a comment and waits for the answer, at most [`ANSWER_MAX`]. Counts a failure.
    async fn send(&self, user: &UserId, comment: AdmitRequest) -> Result<AdmitResponse, NoAnswer> {
        let answer = match self.permits.try_acquire() {
            Ok(_permit) => self.try_nodes(user, comment).await,
            Err(_) => Err(NoAnswer::Full),
        };
        if answer.as_ref().is_err_and(|failure| *failure == NoAnswer::Unsent) {
            // One may just have come.
            self.members.request_refresh();
        }
        let outcome = answer.as_ref().map_or_else(|failure| failure.label(), |_| "answered");
        count(&self.metrics.remote_admits, "outcome", outcome);
        answer
    }

    /// Asks one node, and another when that one fails or is silent. Both may answer then: the first answer counts.
    async fn try_nodes(&self, user: &UserId, comment: AdmitRequest) -> Result<AdmitResponse, NoAnswer> {
        let is_recognised = comment.draft.as_ref().is_some_and(|draft| draft.client_msg_id.is_some());
        let mut nodes = self.reachable(user).into_iter().take(TRIES);
        let (mut asked, mut failure) = (FuturesUnordered::new(), NoAnswer::Unsent);
        let deadline = sleep(ANSWER_MAX);
        tokio::pin!(deadline);
        loop {
            if asked.is_empty() {
                let Some(node) = nodes.next() else { return Err(failure) };
                asked.push(self.ask(node, comment.clone()));
            }
            let is_silent = sleep(PATIENCE);
            let answer = tokio::select! {
                biased;
                answer = asked.select_next_some() => answer,
                () = &mut deadline => return Err(NoAnswer::Lost),
                () = is_silent, if is_recognised => {
                    asked.extend(nodes.next().map(|node| self.ask(node, comment.clone())));
                    continue;
                }
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(NoAnswer::Lost) if !is_recognised => return Err(NoAnswer::Lost),
                Err(NoAnswer::Lost) => failure = NoAnswer::Lost,
                Err(_) => {}
            }
        }
    }

    async fn ask(&self, node: Arc<Life>, mut comment: AdmitRequest) -> Result<AdmitResponse, NoAnswer> {
        comment.call = self.calls.fetch_add(1, Ordering::Relaxed);
        node.ask(comment).await
    }

    /// The nodes that can be reached, those that answer first, of these the user's own. A node that comes or goes moves
    /// only the users that are its own (rendezvous hashing, Thaler and Ravishankar 1998).
    fn reachable(&self, user: &UserId) -> Vec<Arc<Life>> {
        let links = self.links.lock();
        let alive = links.iter().filter_map(|(number, link)| Some((weight(user, *number), link.life.lock().clone()?)));
        let mut alive: Vec<_> = alive.collect();
        alive.sort_unstable_by_key(|(weight, life)| {
            (life.is_silent.load(Ordering::Relaxed), std::cmp::Reverse(*weight))
        });
        alive.into_iter().map(|(_, life)| life).collect()
    }
}

#[async_trait]
impl AdmitComments for IngestNodes {
    async fn admit(&self, who: &Identity, room: &RoomId, draft: CommentDraft) -> Result<Admitted, WireError> {
        decode_answer(self.send(&who.user_id, encode_request(who, room, draft)).await?.outcome)
    }
}

fn weight(user: &UserId, number: u16) -> u64 {
    // With a specified hash all nodes agree.
    let mut hasher = SipHasher13::new();
    (user.as_str(), number).hash(&mut hasher);
    hasher.finish()
}

impl Life {
    async fn ask(&self, comment: AdmitRequest) -> Result<AdmitResponse, NoAnswer> {
        let (call, (tell, answer)) = (comment.call, oneshot::channel());
        self.waiting.lock().as_mut().ok_or(NoAnswer::Unsent)?.insert(call, tell);
        let _forget = Forget { life: self, call };
        self.comments.try_send(comment).map_err(|_| NoAnswer::Unsent)?;
        tokio::pin!(answer);
        if let Ok(answer) = timeout(PATIENCE, &mut answer).await {
            return answer.map_err(|_| NoAnswer::Lost);
        }
        if !self.is_silent.swap(true, Ordering::Relaxed) {
            tracing::warn!("an ingest node does not answer; it is left out until it does");
        }
        answer.await.map_err(|_| NoAnswer::Lost)
    }

    /// Somebody is there.
    fn answers(&self) {
        if self.is_silent.swap(false, Ordering::Relaxed) {
            tracing::info!("an ingest node answers again");
        }
    }

    /// The waiter for this call's answer, if there still is one.
    fn answered(&self, call: u64) -> Option<oneshot::Sender<AdmitResponse>> {
        self.waiting.lock().as_mut()?.remove(&call)
    }
}

/// Removes the waiter when its caller is dropped.
struct Forget<'a> {
    life: &'a Life,
    call: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.life.answered(self.call);
    }
}

fn follow(links: &Links, nodes: &[Node], security: &PeerSecurity) {
    let wanted: HashMap<u16, &str> = nodes
        .iter()
        .filter(|node| node.info.roles.has(Role::Ingest) && !node.info.address.is_empty())
        .map(|node| (node.number, node.info.address.as_str()))
        .collect();
    let mut links = links.lock();
    links.retain(|number, link| wanted.get(number) == Some(&link.address.as_str()));
    for (number, address) in wanted {
        links.entry(number).or_insert_with(|| {
            let life = Arc::default();
            let task = tokio::spawn(keep_connected(address.to_owned(), security.clone(), Arc::clone(&life)));
            Link { address: address.to_owned(), life, _task: AbortOnDropHandle::new(task) }
        });
    }
}

/// Connects and dispatches answers, again and again, until the link is dropped.
async fn keep_connected(address: String, security: PeerSecurity, place: Arc<Mutex<Option<Arc<Life>>>>) {
    let mut pauses = RECONNECT.build();
    loop {
        match live(&address, &security, &place).await {
            Ok(()) => {
                tracing::info!(address, "the connection to an ingest node ended");
                pauses = RECONNECT.build();
            }
            Err(error) => log_failure(&address, &*error),
        }
        sleep(pauses.next().unwrap_or_default()).await;
    }
}

/// Runs one connection until it ends.
async fn live(
    address: &str,
    security: &PeerSecurity,
    place: &Mutex<Option<Arc<Life>>>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let node = connect(address, security).await?;
    let mut node = IngestClient::new(node).max_decoding_message_size(COMMENT_BYTES_MAX);
    let (comments, sent) = mpsc::channel(WAITING_MAX);
    let mut answers = node.admit(ReceiverStream::new(sent)).await?.into_inner();
    let life =
        Arc::new(Life { comments, waiting: Mutex::new(Some(HashMap::new())), is_silent: AtomicBool::new(false) });
    let _ended = Ended { place, life: life.clone() };
    *place.lock() = Some(life.clone());
    let mut beat = interval(PROBE_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_probed = false;
    loop {
        let answer = tokio::select! {
            answer = answers.message() => answer,
            _ = beat.tick() => {
                if !is_probed && life.is_silent.load(Ordering::Relaxed) {
                    is_probed = life.comments.try_send(AdmitRequest { call: PROBE, ..AdmitRequest::default() }).is_ok();
                }
                continue;
            }
        };
        let Ok(Some(answer)) = answer else { return Ok(()) };
        life.answers();
        is_probed &= answer.call != PROBE;
        if let Some(waiting) = life.answered(answer.call) {
            // Whoever stopped waiting has no use for it.
            let _ = waiting.send(answer);
        }
    }
}

/// Closes a connection for new calls and fails those that wait.
struct Ended<'a> {
    place: &'a Mutex<Option<Arc<Life>>>,
    life: Arc<Life>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        *self.place.lock() = None;
        self.life.waiting.lock().take();
    }
}
