//! The task of a connection: it connects, keeps alive, connects again, and hands each message to the room it belongs to.
//!
//! [`Client`](crate::Client) starts it and sends it commands; when the last handle is gone, it closes and ends. It waits for
//! nobody: queues to readers are bounded and say what they dropped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Error;
use crate::client::{ClientItem, Shared, State, Token, Wishes};
use crate::clock::ServerClock;
use crate::error::{ABNORMAL, NORMAL, RECONNECT, UNAUTHORIZED, is_fatal_close};
use crate::ladder::Ladder;
use crate::pending::{Answer, Pending};
use crate::retry::{ordered_delay, spread};
use crate::room::{RoomItem, RoomState, Source};
use crate::seen::SeenIds;
use crate::transport::{Closed, Link, Received, SEGMENTS, Target, Transport};
use crate::types::{Comment, Connected, Event, JoinOptions, Joined};

/// How often to send something, where the server does not say.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// A connection that lived shorter than this counts as another failure, so that a flapping server is not hammered.
const STABLE: Duration = Duration::from_secs(10);
/// Viewers whom a server sends to live segments go within this time, each at another moment.
const MOVE: Duration = Duration::from_secs(3);
/// And come back within this one, once it has room again.
const COME_BACK: Duration = Duration::from_secs(10);
/// Event ids remembered.
const EVENTS: usize = 1_024;

/// What the handles want that has an answer, or may be dropped.
pub(crate) enum Command {
    Request { message: Value, repeatable: bool, answer: Answer },
    Send(Value),
    Join { room_id: String, options: JoinOptions, answer: oneshot::Sender<Result<Joined, Error>> },
    Leave { room_id: String, answer: Answer },
}

/// Where the task stands. [`State`] is what others see of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Connecting,
    Connected,
    Waiting,
}

type Connecting = BoxFuture<'static, Result<Link, Closed>>;
/// A link of a better transport, and its greeting.
type Probing = BoxFuture<'static, Result<(Link, Option<Value>), Closed>>;

pub(crate) struct Driver {
    shared: Arc<Shared>,
    phase: Phase,
    connecting: Option<Connecting>,
    link: Option<Link>,
    /// An attempt over the first transport while a lesser one is in use.
    probing: Option<Probing>,
    probe_at: Option<Instant>,
    /// Whether the server would rather have us read segments, and when we go.
    prefers_segments: bool,
    move_at: Option<Instant>,
    ladder: Ladder,
    pending: Pending,
    /// Joins under way: each answer is its room's.
    joins: Vec<(String, oneshot::Receiver<Result<Value, Error>>)>,
    rooms: HashMap<String, RoomState>,
    events: SeenIds,
    failures: u32,
    /// When the attempt has to be over, or the next one begins.
    deadline: Option<Instant>,
    began: std::time::Instant,
    connected_at: Instant,
    heartbeat: Duration,
    beat_at: Option<Instant>,
    beat_sent: Option<std::time::Instant>,
    heard_at: Instant,
}

impl Driver {
    pub fn new(shared: Arc<Shared>) -> Self {
        let options = &shared.options;
        let (ladder, pending) = (Ladder::new(options.transports.clone()), Pending::new(options.request_timeout));
        Self {
            shared,
            phase: Phase::Closed,
            connecting: None,
            link: None,
            probing: None,
            probe_at: None,
            prefers_segments: false,
            move_at: None,
            ladder,
            pending,
            joins: Vec::new(),
            rooms: HashMap::new(),
            events: SeenIds::new(EVENTS),
            failures: 0,
            deadline: None,
            began: std::time::Instant::now(),
            connected_at: Instant::now(),
            heartbeat: HEARTBEAT,
            beat_at: None,
            beat_sent: None,
            heard_at: Instant::now(),
        }
    }

    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let shared = self.shared.clone();
        loop {
            let wake = self.wake();
            tokio::select! {
                () = shared.wishes.changed() => self.wishes(),
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return self.finish(NORMAL, "the client is gone"),
                },
                Some(opened) = OptionFuture::from(self.connecting.as_mut()) => {
                    self.connecting = None;
                    match opened {
                        Ok(link) => self.opened(link),
                        Err(closed) => self.lost(closed),
                    }
                }
                Some(received) = OptionFuture::from(self.link.as_mut().map(|link| link.incoming.recv())) => match received {
                    Some(Received::Message(message)) => self.received(message),
                    Some(Received::PrefersSegments(prefers)) => self.preferred(prefers),
                    Some(Received::Closed(closed)) => self.lost(closed),
                    None => self.lost(Closed::new(ABNORMAL, "the connection ended")),
                },
                Some(opened) = OptionFuture::from(self.probing.as_mut()) => {
                    self.probing = None;
                    match opened {
                        Ok((link, greeting)) => self.change_over(link, greeting),
                        Err(_) => {
                            self.ladder.probed_in_vain();
                            self.probe_later();
                        }
                    }
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.tick(),
            }
        }
    }

    /// The next moment at which something is to be done.
    fn wake(&self) -> Option<Instant> {
        let rejoins = self.rooms.values().filter_map(|room| room.rejoin_at);
        let moments = [self.deadline, self.beat_at, self.probe_at, self.move_at, self.pending.due()];
        moments.into_iter().flatten().chain(rejoins).min()
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.deadline) {
            match self.phase {
                Phase::Waiting => self.open(),
                Phase::Connected => self.lost(Closed::new(ABNORMAL, "the connection takes nothing more")),
                Phase::Connecting | Phase::Closed => self.lost(Closed::new(ABNORMAL, "not connected in time")),
            }
        }
        if is_due(self.beat_at) {
            if now.saturating_duration_since(self.heard_at) >= self.heartbeat * 2 {
                return self.lost(Closed::new(ABNORMAL, "no heartbeat"));
            }
            self.beat();
        }
        if is_due(self.probe_at) {
            self.probe_at = None;
            self.probing = self.ladder.better().map(|(transport, _)| self.probe(&transport));
        }
        if is_due(self.move_at) {
            self.move_at = None;
            if self.ladder.take_segments() {
                self.change_transport();
            }
        }
        self.pending.expire();
        self.settle_joins();
        let due: Vec<String> =
            self.rooms.iter().filter(|(_, room)| is_due(room.rejoin_at)).map(|(room_id, _)| room_id.clone()).collect();
        due.iter().for_each(|room_id| self.rejoin(room_id));
    }

    // ---- commands

    /// Takes up what the handles want of the connection as a whole.
    fn wishes(&mut self) {
        let Wishes { connect, close } = self.shared.wishes.take();
        if close {
            self.finish(NORMAL, "the client was closed");
        }
        match self.phase {
            _ if !connect => {}
            Phase::Closed => {
                self.failures = 0;
                self.open();
            }
            Phase::Waiting => self.open(),
            Phase::Connecting | Phase::Connected => {}
        }
    }

    /// Readers that came since.
    fn take_readers(&mut self) {
        let readers = std::mem::take(&mut *self.shared.room_readers.lock());
        for (room_id, source) in readers {
            self.room(room_id).subscribe(source);
        }
    }

    fn command(&mut self, command: Command) {
        // What is asked after a `connect` finds it begun.
        self.wishes();
        self.take_readers();
        match command {
            Command::Request { message, repeatable, answer } => self.request(message, repeatable, answer),
            Command::Send(message) => self.send(message),
            Command::Join { room_id, options, answer } => {
                self.room(room_id.clone()).want(options, answer);
                if self.phase == Phase::Connected {
                    self.rejoin(&room_id);
                }
            }
            Command::Leave { room_id, answer } => {
                let room = self.room(room_id.clone());
                (room.wanted, room.rejoin_at) = (false, None);
                room.fail_waiters(&Error::new("closed", "the room was left"));
                if !room.is_read() {
                    self.rooms.remove(&room_id);
                }
                self.request(json!({ "type": "leave_room", "room_id": room_id }), false, answer);
            }
        }
    }

    fn request(&mut self, message: Value, repeatable: bool, answer: Answer) {
        if self.phase == Phase::Closed {
            let _ = answer.send(Err(Error::new("closed", "the client is closed")));
            return;
        }
        if let Some(message) = self.pending.add(message, repeatable, answer, self.phase == Phase::Connected) {
            self.send(message);
        }
    }

    fn room(&mut self, room_id: String) -> &mut RoomState {
        self.rooms.entry(room_id).or_insert_with(RoomState::new)
    }

    fn rejoin(&mut self, room_id: &str) {
        let Some(room) = self.rooms.get_mut(room_id).filter(|room| room.wanted) else { return };
        let message = room.join_message(room_id);
        let (answer, answered) = oneshot::channel();
        self.joins.push((room_id.to_owned(), answered));
        self.request(message, false, answer);
    }

    /// Hands answered joins to their rooms.
    fn settle_joins(&mut self) {
        let mut open = Vec::new();
        for (room_id, mut answered) in std::mem::take(&mut self.joins) {
            let Some(room) = self.rooms.get_mut(&room_id) else { continue };
            match answered.try_recv() {
                Ok(Ok(answer)) => room.joined(answer),
                Ok(Err(error)) => room.refused(&error),
                Err(oneshot::error::TryRecvError::Empty) => open.push((room_id, answered)),
                Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
        self.joins = open;
    }

    /// Sends a message while there is a link. One that takes nothing more is as good as lost.
    fn send(&mut self, message: Value) {
        let Some(link) = &self.link else { return };
        if link.outgoing.try_send(message).is_err() {
            self.deadline = Some(Instant::now());
        }
    }

    // ---- coming and going

    fn open(&mut self) {
        self.drop_link();
        let Some(transport) = self.ladder.current().cloned() else { return };
        *self.shared.transport.lock() = transport.name();
        self.begin();
        self.connecting = Some(self.attempt(&transport));
    }

    fn begin(&mut self) {
        self.phase = Phase::Connecting;
        self.prefers_segments = false;
        self.shared.become_state(State::Connecting);
        self.began = std::time::Instant::now();
        self.deadline = Some(Instant::now() + self.shared.options.connect_timeout);
    }

    fn attempt(&self, transport: &Arc<dyn Transport>) -> Connecting {
        let (shared, token, transport) = (self.shared.clone(), self.shared.token.lock().clone(), transport.clone());
        let within = shared.options.connect_timeout;
        Box::pin(async move {
            let connecting = async {
                let token = match token {
                    None => None,
                    Some(Token::Fixed(token)) => Some(token),
                    Some(Token::Fetched(fetch)) => {
                        Some(fetch().await.map_err(|error| Closed::new(ABNORMAL, format!("no token: {error}")))?)
                    }
                };
                let target = Target {
                    origin: shared.origin.clone(),
                    token,
                    identity: shared.options.identity.clone(),
                    device_id: shared.options.device_id.clone(),
                    tls: shared.tls.clone(),
                };
                transport.connect(target).await
            };
            timeout(within, connecting).await.unwrap_or_else(|_| Err(Closed::new(ABNORMAL, "not connected in time")))
        })
    }

    /// Tries a better transport out. Somebody with an identity is told whether the server has room.
    fn probe(&self, transport: &Arc<dyn Transport>) -> Probing {
        let (attempt, is_greeted, within) =
            (self.attempt(transport), self.is_greeted(), self.shared.options.connect_timeout);
        Box::pin(async move {
            let mut link = attempt.await?;
            if !is_greeted {
                return Ok((link, None));
            }
            match timeout(within, link.incoming.recv()).await {
                Ok(Some(Received::Message(message)))
                    if message["type"] == "connected" && message["prefer"] != SEGMENTS =>
                {
                    Ok((link, Some(message)))
                }
                _ => Err(Closed::new(ABNORMAL, "the server has no room yet")),
            }
        })
    }

    fn is_greeted(&self) -> bool {
        self.shared.token.lock().is_some() || self.shared.options.identity.is_some()
    }

    /// Somebody with an identity is greeted by `connected`; an anonymous reader is connected as soon as the link is open.
    fn opened(&mut self, link: Link) {
        self.link = Some(link);
        self.heard_at = Instant::now();
        if !self.is_greeted() {
            self.established(HEARTBEAT);
        }
    }

    fn established(&mut self, heartbeat: Duration) {
        self.phase = Phase::Connected;
        self.deadline = None;
        self.connected_at = Instant::now();
        self.heartbeat = heartbeat;
        // Before anybody hears of the state: what they send then comes after this.
        let unanswered = self.pending.resume();
        let wanted: Vec<String> = self.rooms.iter().filter(|(_, room)| room.wanted).map(|(id, _)| id.clone()).collect();
        wanted.iter().for_each(|room_id| self.rejoin(room_id));
        unanswered.into_iter().for_each(|message| self.send(message));
        self.beat();
        self.probe_later();
        self.shared.become_state(State::Connected);
    }

    fn probe_later(&mut self) {
        let better = self.ladder.better().filter(|_| !self.prefers_segments);
        self.probe_at = better.map(|(_, after)| Instant::now() + after);
    }

    /// The server says whether it would rather have us read segments. Until it has room, nothing better is tried out.
    fn preferred(&mut self, segments: bool) {
        let before = std::mem::replace(&mut self.prefers_segments, segments);
        if segments {
            self.probe_at = None;
            if self.ladder.current().is_some_and(|transport| transport.name() != SEGMENTS) {
                self.move_at.get_or_insert_with(|| Instant::now() + MOVE.mul_f64(rand::random()));
            }
        } else {
            self.move_at = None;
            if before && self.ladder.better().is_some() {
                self.probe_at = Some(Instant::now() + COME_BACK.mul_f64(rand::random()));
            }
        }
    }

    /// Goes on over the ladder's transport, which is another one now. Rooms resume where they are.
    fn change_transport(&mut self) {
        self.let_go();
        self.open();
    }

    /// The first transport works: goes on over it. Rooms resume where they are.
    fn change_over(&mut self, link: Link, greeting: Option<Value>) {
        self.drop_link();
        self.ladder.climb();
        *self.shared.transport.lock() = self.ladder.current().map_or("", |transport| transport.name());
        self.begin();
        self.let_go();
        self.opened(link);
        if let Some(greeting) = greeting {
            self.received(greeting);
        }
    }

    /// What was asked over the link of before has no answer any more.
    fn let_go(&mut self) {
        self.pending.disconnected();
        self.settle_joins();
    }

    fn drop_link(&mut self) {
        (self.link, self.connecting, self.probing) = (None, None, None);
        (self.deadline, self.beat_at, self.beat_sent) = (None, None, None);
        (self.probe_at, self.move_at) = (None, None);
    }

    fn lost(&mut self, closed: Closed) {
        if is_fatal_close(closed.code) {
            return self.finish(closed.code, &closed.reason);
        }
        let lived = (self.phase == Phase::Connected).then(|| self.connected_at.elapsed());
        self.failures = if lived.is_some_and(|lived| lived >= STABLE) { 1 } else { self.failures.saturating_add(1) };
        let Closed { code, reason, retry_after, prefers_segments } = closed;
        let goes_to_segments = prefers_segments && self.ladder.take_segments();
        if !goes_to_segments {
            self.ladder.ended(lived);
        }
        self.drop_link();
        let retry_after = retry_after.filter(|_| !goes_to_segments);
        let ordered = ordered_delay(&reason).filter(|_| code == RECONNECT).or_else(|| retry_after.map(spread));
        let retry_in = ordered.unwrap_or_else(|| (self.shared.options.retry)(self.failures));
        self.phase = Phase::Waiting;
        self.deadline = Some(Instant::now() + retry_in);
        // Before anybody's request fails: who looks then finds the state that explains it.
        self.shared.become_state(State::Waiting { retry_in, code, reason });
        self.let_go();
    }

    fn finish(&mut self, code: u16, reason: &str) {
        self.drop_link();
        self.phase = Phase::Closed;
        self.shared.become_state(State::Closed { code, reason: reason.to_owned() });
        let error = Error::new("closed", if code == NORMAL { reason.to_owned() } else { format!("{code} {reason}") });
        self.pending.fail_all(&error);
        self.settle_joins();
        self.rooms.values_mut().for_each(|room| room.fail_waiters(&error));
    }

    // ---- messages

    fn received(&mut self, message: Value) {
        self.take_readers();
        self.heard_at = Instant::now();
        let kind = message["type"].as_str().unwrap_or_default();
        if kind == "error" && message["prefer"] == SEGMENTS {
            self.preferred(true);
        }
        if kind == "connected" {
            self.greeted(&message);
        }
        if self.pending.settle(&message) {
            return self.settle_joins();
        }
        match kind {
            "connected" => {}
            "heartbeat_ack" => self.beaten(&message),
            "comments" => self.comments(message),
            "event" => self.event(message),
            "error" => self.complained(&Error::of(&message)),
            _ => drop(self.shared.emit(&ClientItem::Message(message))),
        }
    }

    fn greeted(&mut self, message: &Value) {
        let Ok(connected) = serde_json::from_value::<Connected>(message.clone()) else { return };
        let heartbeat = match connected.heartbeat_s {
            0 => HEARTBEAT,
            seconds => Duration::from_secs(seconds),
        };
        *self.shared.identity.lock() = Some(connected.clone());
        if self.phase == Phase::Connecting {
            let mut clock = ServerClock::new();
            if connected.server_time_ms > 0 {
                clock.observe(self.began, std::time::Instant::now(), connected.server_time_ms);
            }
            *self.shared.clock.lock() = clock;
            self.established(heartbeat);
        } else {
            self.heartbeat = heartbeat;
        }
        self.preferred(message["prefer"] == SEGMENTS);
        self.shared.emit(&ClientItem::Identified(connected));
    }

    fn beat(&mut self) {
        self.beat_sent = Some(std::time::Instant::now());
        self.beat_at = Some(Instant::now() + self.heartbeat);
        self.send(json!({ "type": "heartbeat" }));
    }

    fn beaten(&mut self, message: &Value) {
        if let (Some(sent), Some(server_ms)) = (self.beat_sent.take(), message["server_time_ms"].as_i64()) {
            self.shared.clock.lock().observe(sent, std::time::Instant::now(), server_ms);
        }
    }

    fn comments(&mut self, mut message: Value) {
        let Some(room) = message["room_id"].as_str().and_then(|room_id| self.rooms.get_mut(room_id)) else { return };
        if !room.wanted {
            return;
        }
        let omitted = message["omitted"].as_u64().unwrap_or(0);
        // What this crate cannot read is something that this reader is not given.
        let all: Vec<Value> = message["comments"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let count = all.len();
        let read: Vec<Comment> = all.into_iter().filter_map(|comment| serde_json::from_value(comment).ok()).collect();
        let unreadable = (count - read.len()) as u64;
        room.comments(read, omitted + unreadable, Source::Live);
    }

    /// A repeat is acknowledged again, because the first acknowledgement may be lost, but told only once. What no reader had
    /// room for is not acknowledged: the server repeats it.
    fn event(&mut self, message: Value) {
        let Ok(event) = serde_json::from_value::<Event>(message) else { return };
        if !self.events.has(&event.event_id) {
            let item = RoomItem::Event(event.clone());
            let room = self.rooms.get_mut(&event.room_id).filter(|room| room.wanted);
            let told = [room.and_then(|room| room.tell(&item)), self.shared.emit(&ClientItem::Event(event.clone()))];
            if told.contains(&Some(false)) && !told.contains(&Some(true)) {
                return;
            }
            self.events.add(&event.event_id);
        }
        if event.critical {
            self.send(json!({ "type": "ack", "event_id": event.event_id }));
        }
    }

    /// An identity refused at the door will be refused at every door.
    fn complained(&mut self, error: &Error) {
        self.shared.emit(&ClientItem::Complaint(error.clone()));
        if self.phase == Phase::Connecting && error.code == "unauthorized" {
            self.finish(UNAUTHORIZED, &error.message);
        }
    }
}
