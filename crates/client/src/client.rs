//! The handle on a connection: options, states, and what concerns no single room.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use url::Url;

use crate::clock::ServerClock;
use crate::driver::{Command, Driver};
use crate::feed::{self, Latest, Reader, Source, Store};
use crate::http::Api;
use crate::retry::{RetryPolicy, full_jitter};
use crate::room::{Room, RoomQueue};
use crate::transport::{self, Transport};
use crate::types::{Connected, Event, LikeAck};
use crate::{Error, Level, tls};

/// Commands that may wait for the connection's task.
const COMMANDS_MAX: usize = 1_024;
/// What may wait for somebody who reads [`Client::subscribe`].
const ITEMS_MAX: usize = 4_096;
/// How long an answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A token, or what is asked for one at every attempt to connect.
#[derive(Clone)]
pub enum Token {
    /// Always the same.
    Fixed(String),
    /// A fresh one each time.
    Fetched(Arc<dyn Fn() -> BoxFuture<'static, Result<String, Error>> + Send + Sync>),
}

/// Whom a server started with `--dev` is to believe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DevIdentity {
    /// The user.
    pub user_id: String,
    /// The shown name.
    pub username: Option<String>,
    /// The level.
    pub level: Option<Level>,
}

impl DevIdentity {
    /// A user of this id.
    #[must_use]
    pub fn new(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), ..Self::default() }
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let level = self.level.map(|level| match level {
            Level::Normal => "normal",
            Level::Vip => "vip",
            Level::Owner => "owner",
            Level::Moderator => "moderator",
            Level::Admin => "admin",
        });
        let pairs = [("user_id", Some(&*self.user_id)), ("username", self.username.as_deref()), ("level", level)];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// What a client is made of.
#[derive(Clone)]
pub struct ClientOptions {
    /// Where the server is, such as `https://live.example`.
    pub url: String,
    /// The identity; without one the client reads what anybody may read.
    pub token: Option<Token>,
    /// The identity for a server in `--dev` mode; a token wins over it.
    pub identity: Option<DevIdentity>,
    /// Names this device: the same one connecting again replaces its older connection. Absent: a fresh one each time.
    pub device_id: Option<String>,
    /// How long to wait before each new attempt. Default: [`full_jitter`].
    pub retry: RetryPolicy,
    /// How long an answer may take on a connection.
    pub request_timeout: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// What carries the messages: the first that works here. Default: [`transport::defaults`].
    pub transports: Vec<Arc<dyn Transport>>,
    /// Whom TLS believes. Default: the authorities that the system trusts.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl ClientOptions {
    /// A client of this server, without an identity.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: None,
            identity: None,
            device_id: None,
            retry: full_jitter(),
            request_timeout: REQUEST_TIMEOUT,
            connect_timeout: REQUEST_TIMEOUT,
            transports: transport::defaults(),
            tls: None,
        }
    }

    /// With this token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        Self { token: Some(Token::Fixed(token.to_owned())), ..self }
    }

    /// With this identity on a development server.
    #[must_use]
    pub fn identity(self, identity: DevIdentity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// With these delays: given how many attempts have failed in a row.
    #[must_use]
    pub fn retry(self, retry: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Self { retry: Arc::new(retry), ..self }
    }

    /// Over this transport alone.
    #[must_use]
    pub fn transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { transports: vec![transport], ..self }
    }
}

/// Where the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// An attempt is under way.
    Connecting,
    /// Rooms are joined again, and what was unanswered is sent again.
    Connected,
    /// Lost or refused; the next attempt starts after this time. [`Client::connect`] starts it now.
    Waiting {
        /// From the loss on.
        retry_in: Duration,
        /// The close code; below 1000 the HTTP status of a refusal.
        code: u16,
        /// For people.
        reason: String,
    },
    /// Not connected and not trying: it was closed here (code 1000), or the server ended it for good.
    Closed {
        /// The close code.
        code: u16,
        /// For people.
        reason: String,
    },
}

/// What concerns no single room.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientItem {
    /// The server said whom it takes us for.
    Identified(Connected),
    /// Something happened in a room or to this user; each once, critical ones acknowledged.
    Event(Event),
    /// A message that the client itself has no use for, such as those of the chat.
    Message(Value),
    /// The server complained about something that was no request waiting for its answer.
    Complaint(Error),
    /// The reader was slow: so many items before this made way. What the chat missed comes by syncing.
    Lagged(u64),
}

/// Items that wait, and how many made way.
#[derive(Default)]
pub(crate) struct ClientQueue {
    items: Latest<ClientItem>,
    lost: u64,
}

impl Store<ClientItem> for ClientQueue {
    fn push(&mut self, item: ClientItem) -> bool {
        let items = &mut self.items.0;
        if items.len() >= ITEMS_MAX {
            self.lost += 1;
            // An event that the server repeats may be taken up with its repeat.
            if matches!(&item, ClientItem::Event(event) if event.critical) {
                return false;
            }
            items.pop_front();
        }
        items.push_back(item);
        true
    }

    fn pop(&mut self) -> Option<ClientItem> {
        match std::mem::take(&mut self.lost) {
            0 => self.items.0.pop_front(),
            lost => Some(ClientItem::Lagged(lost)),
        }
    }
}

/// A reader of [`Client::subscribe`].
pub struct ClientItems(Reader<ClientQueue>);

impl ClientItems {
    /// The next item; nothing once the client is gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ClientItem> {
        self.0.next().await
    }
}

/// What the handle and the connection's task share.
pub(crate) struct Shared {
    pub options: ClientOptions,
    pub origin: Url,
    pub tls: Arc<rustls::ClientConfig>,
    pub state: watch::Sender<State>,
    pub transport: Mutex<&'static str>,
    pub identity: Mutex<Option<Connected>>,
    pub clock: Mutex<ServerClock>,
    pub readers: Mutex<Vec<Source<ClientQueue>>>,
    /// The token of the next attempt.
    pub token: Mutex<Option<Token>>,
    /// Readers of rooms that the connection's task has not taken up yet. They are as many as their holders keep.
    pub room_readers: Mutex<Vec<(String, Source<RoomQueue>)>>,
    pub wishes: WishBoard,
}

/// What the handles want of the connection as a whole. Asking twice is asking once, so nothing queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wishes {
    /// Comes before `connect`: who closes and connects again wants a new connection.
    pub close: bool,
    pub connect: bool,
}

/// The wishes that the connection's task has not taken up yet.
#[derive(Default)]
pub(crate) struct WishBoard {
    wishes: Mutex<Wishes>,
    changed: Notify,
}

impl WishBoard {
    fn connect(&self) {
        self.wishes.lock().connect = true;
        self.changed.notify_one();
    }

    fn close(&self) {
        *self.wishes.lock() = Wishes { close: true, connect: false };
        self.changed.notify_one();
    }

    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub fn take(&self) -> Wishes {
        std::mem::take(&mut *self.wishes.lock())
    }
}

/// A connection that keeps itself. Clones are the same connection; when the last is dropped, it ends.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl Client {
    /// A client that is not connected yet. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// `invalid` when the address is not one of a server.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        let origin = Url::parse(&options.url).map_err(|error| Error::new("invalid", format!("url: {error}")))?;
        if !matches!(origin.scheme(), "http" | "https") || options.transports.is_empty() {
            return Err(Error::new("invalid", "a client needs an http(s) address and a transport"));
        }
        let tls = match &options.tls {
            Some(tls) => tls.clone(),
            None => tls::config(origin.scheme() == "https")?,
        };
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        let shared = Arc::new(Shared {
            origin,
            tls,
            state: watch::Sender::new(State::Closed { code: 1000, reason: String::new() }),
            transport: Mutex::new(options.transports.first().map_or("", |first| first.name())),
            identity: Mutex::default(),
            clock: Mutex::new(ServerClock::new()),
            readers: Mutex::default(),
            token: Mutex::new(options.token.clone()),
            room_readers: Mutex::default(),
            wishes: WishBoard::default(),
            options,
        });
        tokio::spawn(Driver::new(shared.clone()).run(waiting));
        Ok(Self { shared, commands })
    }

    /// Starts to connect; while waiting, tries at once instead. Does nothing when connected or connecting.
    pub fn connect(&self) {
        // At once, so that whoever waits for the connection does not find the state of before.
        self.shared.state.send_if_modified(|state| {
            let is_closed = matches!(state, State::Closed { .. });
            if is_closed {
                *state = State::Connecting;
            }
            is_closed
        });
        self.shared.wishes.connect();
    }

    /// Ends the connection and all attempts; every open request fails with `closed`.
    pub fn close(&self) {
        self.shared.wishes.close();
    }

    /// Where the connection stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state.borrow().clone()
    }

    /// Every change of state from here on.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Waits until it is connected.
    ///
    /// # Errors
    /// `closed` when the server ended it for good, with the reason.
    pub async fn connected(&self) -> Result<(), Error> {
        let mut states = self.states();
        let settled = states.wait_for(|state| matches!(state, State::Connected | State::Closed { .. })).await;
        match settled.as_deref() {
            Ok(State::Closed { code, reason }) => Err(Error::new("closed", format!("{code} {reason}"))),
            _ => Ok(()),
        }
    }

    /// What carries the messages now, or will with the next attempt: `websocket`, `protobuf`, `event-stream`, `long-poll`,
    /// `segments`.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        *self.shared.transport.lock()
    }

    /// Whom the server took us for, once it has said so.
    #[must_use]
    pub fn identity(&self) -> Option<Connected> {
        self.shared.identity.lock().clone()
    }

    /// The server's clock.
    #[must_use]
    pub fn clock(&self) -> ServerClock {
        self.shared.clock.lock().clone()
    }

    /// What concerns no single room, from here on.
    #[must_use]
    pub fn subscribe(&self) -> ClientItems {
        let (source, reader) = feed::queue();
        let mut readers = self.shared.readers.lock();
        readers.retain(Source::is_read);
        readers.push(source);
        ClientItems(reader)
    }

    /// A room. It is not joined yet.
    #[must_use]
    pub fn room(&self, room_id: &str) -> Room {
        Room::new(self.clone(), room_id)
    }

    /// The HTTP endpoints, as the same user.
    ///
    /// # Errors
    /// When there is no token to be had.
    pub async fn api(&self) -> Result<Api, Error> {
        let token = self.shared.token.lock().clone();
        let token = match token {
            None => None,
            Some(Token::Fixed(token)) => Some(token),
            Some(Token::Fetched(fetch)) => Some(fetch().await?),
        };
        Api::with(&self.shared.origin, token, self.shared.options.identity.clone(), &self.shared.tls)
    }

    /// Takes another identity: at once when connected, and with every further connection.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn login(&self, token: &str) -> Result<(), Error> {
        *self.shared.token.lock() = Some(Token::Fixed(token.to_owned()));
        if self.state() == State::Connected {
            self.request(json!({ "type": "login", "token": token }), false).await?;
        }
        Ok(())
    }

    /// Likes a comment.
    ///
    /// # Errors
    /// `already_liked` the second time, or another refusal.
    pub async fn like(&self, comment_id: &str) -> Result<LikeAck, Error> {
        read(self.request(json!({ "type": "like", "comment_id": comment_id }), false).await?)
    }

    /// Sends a message of the protocol and waits for its answer. A `repeatable` one waits out a lost connection and is sent
    /// again: only what the server recognises as a repeat (`client_msg_id`) may be.
    ///
    /// # Errors
    /// The server's refusal, `disconnected`, `timeout`, `closed`, or `outbox_full` when a thousand wait.
    pub async fn request(&self, message: Value, repeatable: bool) -> Result<Value, Error> {
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Request { message, repeatable, answer }, answered).await
    }

    pub(crate) async fn ask<T>(
        &self,
        command: Command,
        answered: oneshot::Receiver<Result<T, Error>>,
    ) -> Result<T, Error> {
        let gone = || Error::new("closed", "the client is gone");
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Error::new("outbox_full", format!("{COMMANDS_MAX} requests wait to be taken up")),
            TrySendError::Closed(_) => gone(),
        })?;
        answered.await.map_err(|_| gone())?
    }

    /// Sends a message that has no answer; dropped while there is no connection, and while too much waits.
    pub fn send(&self, message: Value) {
        let _ = self.commands.try_send(Command::Send(message));
    }

    /// Has the connection's task give what happens in a room to this reader.
    pub(crate) fn read_room(&self, room_id: &str, source: Source<RoomQueue>) {
        let mut readers = self.shared.room_readers.lock();
        readers.retain(|(_, source)| source.is_read());
        readers.push((room_id.to_owned(), source));
    }
}

/// An answer as its type.
pub(crate) fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, Error> {
    serde_json::from_value(answer).map_err(|error| Error::new("invalid", format!("the answer: {error}")))
}

impl Shared {
    /// Gives an item to everybody who reads: whether anybody took it, or nothing where nobody reads.
    pub fn emit(&self, item: &ClientItem) -> Option<bool> {
        feed::push_all(&mut self.readers.lock(), item)
    }

    pub fn become_state(&self, state: State) {
        self.state.send_replace(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_told_how_much_made_way() {
        let mut queue = ClientQueue::default();
        let message = |n: usize| ClientItem::Message(json!(n));
        assert!((0..ITEMS_MAX + 5).all(|n| queue.push(message(n))));
        let critical = json!({ "event_id": "1", "kind": "gift", "critical": true });
        assert!(!queue.push(ClientItem::Event(serde_json::from_value(critical).expect("an event"))));
        assert_eq!(queue.pop(), Some(ClientItem::Lagged(6)));
        assert_eq!(queue.pop(), Some(message(5)));
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), ITEMS_MAX - 1);
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_at_once() {
        for url in ["", "live.example", "ftp://live.example", "ws://live.example"] {
            assert_eq!(Client::new(ClientOptions::new(url)).err().map(|error| error.code).as_deref(), Some("invalid"));
        }
        let client = Client::new(ClientOptions::new("http://127.0.0.1:1")).expect("a client");
        let error = client.request(json!({ "type": "heartbeat" }), true).await.expect_err("closed");
        assert_eq!(error.code, "closed");
    }

    #[tokio::test]
    async fn what_waits_for_the_task_is_bounded_and_the_rest_is_told_so() {
        let client = Client::new(ClientOptions::new("http://127.0.0.1:1")).expect("a client");
        // The task runs on this thread, and does not come to it before the first `await`.
        let asked = (0..COMMANDS_MAX + 10).map(|_| client.request(json!({ "type": "heartbeat" }), false));
        let answers = futures::future::join_all(asked).await;
        let count = |code: &str| {
            answers.iter().flat_map(|answer| answer.as_ref().err()).filter(|error| error.code == code).count()
        };
        assert_eq!((count("closed"), count("outbox_full")), (COMMANDS_MAX, 10));
        // Wishes and readers take no room in it.
        (0..2 * COMMANDS_MAX).for_each(|_| client.send(json!({ "type": "heartbeat" })));
        let readers: Vec<_> = (0..10).map(|n| client.room(&n.to_string()).subscribe()).collect();
        client.connect();
        client.close();
        let closed = |state: &State| matches!(state, State::Closed { code: 1000, reason } if !reason.is_empty());
        client.states().wait_for(closed).await.expect("closed");
        drop(readers);
        let _reader = client.room("last").subscribe();
        assert!(client.shared.room_readers.lock().len() <= 1, "readers that are gone take no memory");
    }
}
