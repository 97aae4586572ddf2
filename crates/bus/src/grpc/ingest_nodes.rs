//! The other side: comments handed to a node that decides about them.
//!
//! One stream to each ingest node. A user's comments go to one node for as long as it can be reached; another takes
//! over when it cannot. Whether a comment that was sent and not answered may be sent again depends on it: with a
//! `client_msg_id` it is recognised, without one it could come twice.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::metrics::count;
use model::{Metrics, Role, UserId};
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::{COMMENT_BYTES_MAX, PAUSE, PAUSE_MAX, Secret, connect};
use crate::proto::cluster::v1::ingest_client::IngestClient;
use crate::proto::cluster::v1::{AdmitRequest, AdmitResponse};
use crate::registry::{Members, Node};

/// Comments of this node that may be on their way at once; more are refused.
const IN_FLIGHT_MAX: usize = 16_384;
/// Comments that may wait for one connection.
const WAITING_MAX: usize = 4_096;
/// How long one node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Nodes that are asked for one comment.
const TRIES: usize = 2;

/// Why a comment has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Too many are on their way.
    #[error("too many comments are on their way")]
    Full,
    /// No node could be reached; the comment was not sent.
    #[error("no ingest node can be reached")]
    Unsent,
    /// It was sent, and may have been taken.
    #[error("an ingest node gave no answer")]
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

/// The nodes that decide about comments.
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

/// One connection, and who waits for answers on it.
struct Life {
    comments: mpsc::Sender<AdmitRequest>,
    /// By the number of the call; `None` once the connection is over.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<AdmitResponse>>>>,
}

impl IngestNodes {
    /// Connects to the members with the role `ingest`, as they come and go. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(members: &Members, secret: Secret, metrics: Arc<Metrics>) -> Self {
        let (links, mut changes) = (Links::default(), members.changes());
        let followed = links.clone();
        let task = tokio::spawn(async move {
            loop {
                let nodes = changes.borrow_and_update().clone();
                follow(&followed, &nodes, &secret);
                if changes.changed().await.is_err() {
                    // Nobody looks any more: these nodes it stays.
                    std::future::pending::<()>().await;
                }
            }
        });
        let (permits, calls) = (Semaphore::new(IN_FLIGHT_MAX), AtomicU64::new(0));
        Self { members: members.clone(), links, permits, calls, metrics, _task: AbortOnDropHandle::new(task) }
    }

    /// Whether any of them can be reached.
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.links.lock().values().any(|link| link.life.lock().is_some())
    }

    /// Hands a comment over and waits for the answer, at most ten seconds.
    ///
    /// # Errors
    /// [`NoAnswer`], counted.
    pub async fn admit(&self, user: &UserId, comment: AdmitRequest) -> Result<AdmitResponse, NoAnswer> {
        let answer = match self.permits.try_acquire() {
            Ok(_permit) => self.try_nodes(user, comment).await,
            Err(_) => Err(NoAnswer::Full),
        };
        if answer.as_ref().is_err_and(|failure| *failure == NoAnswer::Unsent) {
            // One may just have come.
            self.members.look_again();
        }
        let outcome = answer.as_ref().map_or_else(|failure| failure.label(), |_| "answered");
        count(&self.metrics.remote_admits, "outcome", outcome);
        answer
    }

    async fn try_nodes(&self, user: &UserId, mut comment: AdmitRequest) -> Result<AdmitResponse, NoAnswer> {
        let is_recognised = comment.draft.as_ref().is_some_and(|draft| draft.client_msg_id.is_some());
        let mut failure = NoAnswer::Unsent;
        for life in self.reachable(user).into_iter().take(TRIES) {
            comment.call = self.calls.fetch_add(1, Ordering::Relaxed);
            match life.ask(comment.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(NoAnswer::Lost) if !is_recognised => return Err(NoAnswer::Lost),
                Err(NoAnswer::Lost) => failure = NoAnswer::Lost,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    /// The nodes that can be reached, the user's own first. A node that comes or goes moves only the users that are its
    /// own (rendezvous hashing, Thaler and Ravishankar 1998).
    fn reachable(&self, user: &UserId) -> Vec<Arc<Life>> {
        let links = self.links.lock();
        let alive = links.iter().filter_map(|(number, link)| Some((weight(user, *number), link.life.lock().clone()?)));
        let mut alive: Vec<_> = alive.collect();
        alive.sort_unstable_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        alive.into_iter().map(|(_, life)| life).collect()
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
        let forget = Forget { life: self, call };
        self.comments.try_send(comment).map_err(|_| NoAnswer::Unsent)?;
        let answer = timeout(ANSWER_MAX, answer).await;
        drop(forget);
        answer.ok().and_then(Result::ok).ok_or(NoAnswer::Lost)
    }

    /// Who waits for the answer to this call, if somebody still does.
    fn answered(&self, call: u64) -> Option<oneshot::Sender<AdmitResponse>> {
        self.waiting.lock().as_mut()?.remove(&call)
    }
}

/// Nobody waits for the answer any more, also when whoever asked has gone away.
struct Forget<'a> {
    life: &'a Life,
    call: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.life.answered(self.call);
    }
}

fn follow(links: &Links, nodes: &[Node], secret: &Secret) {
    let wanted: HashMap<u16, &str> = nodes
        .iter()
        .filter(|node| node.card.roles.has(Role::Ingest) && !node.card.address.is_empty())
        .map(|node| (node.number, node.card.address.as_str()))
        .collect();
    let mut links = links.lock();
    links.retain(|number, link| wanted.get(number) == Some(&link.address.as_str()));
    for (number, address) in wanted {
        links.entry(number).or_insert_with(|| {
            let life = Arc::default();
            let task = tokio::spawn(keep_connected(address.to_owned(), secret.clone(), Arc::clone(&life)));
            Link { address: address.to_owned(), life, _task: AbortOnDropHandle::new(task) }
        });
    }
}

/// Connects and hands answers over, again and again, until the link is dropped.
async fn keep_connected(address: String, secret: Secret, place: Arc<Mutex<Option<Arc<Life>>>>) {
    let mut pause = PAUSE;
    loop {
        match live(&address, &secret, &place).await {
            Ok(()) => {
                tracing::info!(address, "the connection to an ingest node ended");
                pause = PAUSE;
            }
            Err(error) => tracing::debug!(address, %error, "an ingest node cannot be reached"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One connection, from its beginning to its end.
async fn live(address: &str, secret: &Secret, place: &Mutex<Option<Arc<Life>>>) -> Result<(), Status> {
    let node = connect(address, secret).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut node = IngestClient::new(node).max_decoding_message_size(COMMENT_BYTES_MAX);
    let (comments, sent) = mpsc::channel(WAITING_MAX);
    let mut answers = node.admit(ReceiverStream::new(sent)).await?.into_inner();
    let life = Arc::new(Life { comments, waiting: Mutex::new(Some(HashMap::new())) });
    let _ended = Ended { place, life: life.clone() };
    *place.lock() = Some(life.clone());
    while let Ok(Some(answer)) = answers.message().await {
        if let Some(waiting) = life.answered(answer.call) {
            // Whoever stopped waiting has no use for it.
            let _ = waiting.send(answer);
        }
    }
    Ok(())
}

/// Nobody begins to wait on a connection that is over, and those who do wait are told.
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
