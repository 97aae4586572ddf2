//! One connection of the IRC door: who it is, what it has joined, what it says.
//!
//! Reads line after line, and none while the one before is at work, so that TCP tells a flooding client to wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::metrics::count;
use model::{Code, CommentStatus, RoomId, UserId, WireError};
use protocol::message::CommentDraft;
use tokio::time::{Instant, sleep_until};

use super::codec::{BadLine, Line, Lines, Message, SERVER, nick_of, token_of};
use super::room::{Capabilities, JoinedRoom, LineWriter};
use super::{moderate, render};
use crate::edge::Edge;
use crate::feed::{Feed, Viewer};
use crate::identity;
use crate::link::{Incoming, Outbox};

/// The capabilities of this dialect.
const CAPABILITIES: [&str; 3] = ["twitch.tv/commands", "twitch.tv/membership", "twitch.tv/tags"];
/// Lines a second that are worked on at once; further ones wait for the next second.
const LINES_PER_S: u32 = 50;
/// Bad lines after which a connection is closed.
const BAD_LINES_MAX: u32 = 20;
/// Longest `client-nonce` that counts as a `client_msg_id`.
const NONCE_BYTES_MAX: usize = 64;
/// How nicks begin that read without an identity.
const ANONYMOUS: &str = "justinfan";

/// A connection over TCP.
pub(crate) async fn run(edge: Arc<Edge>, incoming: Incoming, outbox: Outbox) {
    Session::new(edge, outbox, false).run(incoming).await;
}

/// A connection over WebSocket, where a message's end is a line's end.
pub(super) async fn run_messages(edge: Arc<Edge>, incoming: Incoming, outbox: Outbox) {
    Session::new(edge, outbox, true).run(incoming).await;
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Continue,
    Quit,
}

/// Who this is, from the welcome on.
pub(super) struct Registered {
    pub viewer: Viewer,
    pub nick: String,
}

struct Session {
    edge: Arc<Edge>,
    writer: LineWriter,
    is_messages: bool,
    lines: Lines,
    pass: Option<String>,
    nick: Option<String>,
    /// `CAP LS` came first: the welcome waits for `CAP END`.
    is_negotiating: bool,
    registered: Option<Registered>,
    rooms: HashMap<RoomId, JoinedRoom>,
    bad_lines: u32,
    second: Instant,
    lines_in_second: u32,
}

impl Session {
    fn new(edge: Arc<Edge>, outbox: Outbox, is_messages: bool) -> Self {
        let writer = LineWriter { outbox, capabilities: Arc::<Capabilities>::default() };
        Self {
            edge,
            writer,
            is_messages,
            lines: Lines::default(),
            pass: None,
            nick: None,
            is_negotiating: false,
            registered: None,
            rooms: HashMap::new(),
            bad_lines: 0,
            second: Instant::now(),
            lines_in_second: 0,
        }
    }

    async fn run(mut self, mut incoming: Incoming) {
        let heartbeat = Duration::from_secs(self.edge.settings.sockets.heartbeat_s.into());
        let login_by = Instant::now() + Duration::from_secs(self.edge.settings.sockets.login_s.into());
        let (mut heard, mut pinged) = (Instant::now(), false);
        let edge = self.edge.clone();
        loop {
            let viewer = self.registered.as_ref().map(|registered| registered.viewer.clone());
            let refused = async {
                match &viewer {
                    Some(viewer) => edge.app.ingest.until_refused(viewer.reader(), None).await,
                    None => std::future::pending().await,
                }
            };
            let wake = match (&viewer, pinged) {
                (None, _) => login_by,
                (Some(_), false) => heard + heartbeat,
                (Some(_), true) => heard + heartbeat * 3,
            };
            tokio::select! {
                biased;
                () = self.writer.outbox.ended() => return,
                () = edge.draining() => {
                    self.writer.send_command(&Line::server("RECONNECT"));
                    return self.writer.outbox.close(1012, &edge.reconnect_ms().to_string());
                }
                refusal = refused => {
                    let error = WireError::from(refusal);
                    self.tell("*", error.code, &error.message);
                    return self.quit(if error.code == Code::Banned { 4003 } else { 4001 }, &error.message);
                }
                () = sleep_until(wake) => match (&viewer, pinged) {
                    (Some(_), false) => {
                        pinged = true;
                        self.writer.send(&Line::bare("PING").text(SERVER));
                    }
                    (None, _) => return self.quit(4001, "Login timed out"),
                    (Some(_), true) => return self.quit(1000, "Ping timeout"),
                },
                bytes = incoming.next() => {
                    let Ok(bytes) = bytes else { return };
                    (heard, pinged) = (Instant::now(), false);
                    self.lines.push(&bytes);
                    if self.is_messages {
                        self.lines.end_message();
                    }
                    if self.read_lines().await == Then::Quit {
                        return;
                    }
                }
            }
        }
    }

    async fn read_lines(&mut self) -> Then {
        while let Some(line) = self.lines.next_line() {
            self.pace().await;
            let then = match line {
                Ok(line) => match Message::parse(&line) {
                    Some(message) => self.message(&message).await,
                    None => self.bad_line("no_command"),
                },
                Err(BadLine::TooLong) => {
                    self.numeric("417", &[], "Input line was too long");
                    self.bad_line("line_too_long")
                }
                Err(BadLine::Garbled) => self.bad_line("line_garbled"),
            };
            if then == Then::Quit {
                return Then::Quit;
            }
        }
        Then::Continue
    }

    /// Waits for the next second when this one had enough lines.
    async fn pace(&mut self) {
        let now = Instant::now();
        if now >= self.second + Duration::from_secs(1) {
            (self.second, self.lines_in_second) = (now, 0);
        }
        self.lines_in_second += 1;
        if self.lines_in_second > LINES_PER_S {
            sleep_until(self.second + Duration::from_secs(1)).await;
            (self.second, self.lines_in_second) = (Instant::now(), 1);
        }
    }

    fn bad_line(&mut self, reason: &'static str) -> Then {
        count(&self.edge.app.metrics.parse_errors, "reason", reason);
        self.bad_lines += 1;
        if self.bad_lines < BAD_LINES_MAX {
            return Then::Continue;
        }
        self.quit(4010, "Too many lines that are no messages");
        Then::Quit
    }

    async fn message(&mut self, message: &Message<'_>) -> Then {
        match message.command.as_str() {
            "CAP" => return self.capability(message).await,
            "PASS" => self.pass = Some(message.parameter(0).to_owned()),
            "NICK" => return self.take_nick(message.parameter(0)).await,
            // Says nothing that matters here.
            "USER" | "PONG" => {}
            "PING" => self.pong(message),
            "QUIT" => {
                self.quit(1000, "Bye");
                return Then::Quit;
            }
            _ if self.registered.is_none() => self.numeric("451", &[], "You have not registered"),
            command => self.command(command, message).await,
        }
        Then::Continue
    }

    async fn command(&mut self, command: &str, message: &Message<'_>) {
        let target = message.parameter(0);
        match command {
            "JOIN" => self.join(target).await,
            "PART" => self.part(target),
            "PRIVMSG" => self.say(message).await,
            "WHO" => self.numeric("315", &[target], "End of /WHO list"),
            "WHOIS" => self.numeric("318", &[target], "End of /WHOIS list"),
            "NAMES" => self.numeric("366", &[target], "End of /NAMES list"),
            "LIST" => self.numeric("323", &[], "End of /LIST"),
            "TOPIC" => self.numeric("331", &[target], "No topic is set"),
            "MODE" if target.starts_with('#') => self.reply(&["324", target, "+nt"]),
            "MODE" => self.reply(&["221", "+"]),
            "USERHOST" => self.numeric("302", &[], ""),
            "ISON" => self.numeric("303", &[], ""),
            // Nobody here is told of these.
            "AWAY" | "NOTICE" => {}
            unknown => self.numeric("421", &[unknown], "Unknown command"),
        }
    }

    async fn capability(&mut self, message: &Message<'_>) -> Then {
        let target = self.nick.clone().unwrap_or_else(|| "*".to_owned());
        let answer = |verb: &str, list: &str| Line::server("CAP").parameter(&target).parameter(verb).text(list);
        match message.parameter(0).to_ascii_uppercase().as_str() {
            "LS" => {
                self.is_negotiating = self.registered.is_none();
                self.writer.send(&answer("LS", &CAPABILITIES.join(" ")));
            }
            "LIST" => {
                let names = CAPABILITIES.into_iter().filter(|name| self.capability_flag(name).load(Ordering::Relaxed));
                self.writer.send(&answer("LIST", &names.collect::<Vec<_>>().join(" ")));
            }
            "REQ" => {
                let wanted = message.parameter(1);
                let names: Vec<&str> = wanted.split_whitespace().collect();
                let is_known = |name: &&str| CAPABILITIES.contains(&name.trim_start_matches('-'));
                if names.iter().all(is_known) {
                    for name in names {
                        let flag = self.capability_flag(name.trim_start_matches('-'));
                        flag.store(!name.starts_with('-'), Ordering::Relaxed);
                    }
                    self.writer.send(&answer("ACK", wanted));
                } else {
                    self.writer.send(&answer("NAK", wanted));
                }
            }
            "END" => {
                self.is_negotiating = false;
                return self.welcome().await;
            }
            _ => self.numeric("410", &[message.parameter(0)], "Invalid CAP command"),
        }
        Then::Continue
    }

    fn capability_flag(&self, name: &str) -> &std::sync::atomic::AtomicBool {
        let capabilities = &self.writer.capabilities;
        match name {
            "twitch.tv/tags" => &capabilities.tags,
            "twitch.tv/commands" => &capabilities.commands,
            _ => &capabilities.membership,
        }
    }

    async fn take_nick(&mut self, nick: &str) -> Then {
        if let Some(registered) = &self.registered {
            // The token says who this is.
            if !nick.eq_ignore_ascii_case(&registered.nick) {
                self.numeric("432", &[nick], "The nick follows from the token");
            }
            return Then::Continue;
        }
        if nick.is_empty() {
            self.numeric("431", &[], "No nickname given");
            return Then::Continue;
        }
        self.nick = Some(nick.to_owned());
        self.welcome().await
    }

    /// Registers once everything for it has come.
    async fn welcome(&mut self) -> Then {
        if self.is_negotiating || self.registered.is_some() {
            return Then::Continue;
        }
        let Some(nick) = self.nick.clone() else { return Then::Continue };
        let viewer = match self.identify(&nick) {
            Ok(viewer) => viewer,
            Err(error) => {
                tracing::debug!(%error, "a login over IRC was refused");
                count(&self.edge.app.metrics.handshakes, "outcome", error.code.as_str());
                self.writer.send(&render::notice("*", None, "Login authentication failed"));
                self.quit(if error.code == Code::Banned { 4003 } else { 4001 }, &error.message);
                return Then::Quit;
            }
        };
        let nick = viewer.identity().map_or_else(|| nick.to_ascii_lowercase(), |who| nick_of(who.user_id.as_str()));
        self.nick = Some(nick.clone());
        let version = format!("barrage-{}", self.edge.settings.version);
        self.registered = Some(Registered { viewer: viewer.clone(), nick });
        self.numeric("001", &[], "Welcome");
        self.numeric("002", &[], &format!("Your host is {SERVER}, running {version}"));
        self.numeric("003", &[], "Rooms are channels: /join #room");
        self.reply(&["004", SERVER, &version, "i", "nt"]);
        self.numeric("375", &[], "-");
        self.numeric("372", &[], "Barrage");
        self.numeric("376", &[], ">");
        if let Some(who) = viewer.identity() {
            self.writer.send_command(&render::global_user_state(who));
        }
        Then::Continue
    }

    fn identify(&self, nick: &str) -> Result<Viewer, WireError> {
        let app = &self.edge.app;
        let lower = nick.to_ascii_lowercase();
        if lower.strip_prefix(ANONYMOUS).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
            app.ingest.may_connect(ingest::Reader::Anonymous)?;
            return Ok(Viewer::Anonymous);
        }
        if let Some(token) = self.pass.as_deref().and_then(token_of) {
            return identity::by_token(app, &token).map(Viewer::User);
        }
        let named = identity::by_name(app, nick);
        named.map(Viewer::User).ok_or_else(|| WireError::new(Code::Unauthorized, "a token is needed"))
    }

    fn pong(&self, message: &Message<'_>) {
        // Without a prefix: some clients know no other.
        let text = if message.parameters.is_empty() { SERVER } else { message.parameter(0) };
        self.writer.send(&Line::bare("PONG").text(text));
    }

    async fn join(&mut self, channels: &str) {
        for name in channels.split(',').take(self.edge.settings.sockets.rooms_per_socket_max) {
            let Some(room) = name.strip_prefix('#').and_then(|room| RoomId::new(room).ok()) else {
                self.numeric("403", &[name], "No such channel");
                continue;
            };
            self.rooms.retain(|_, joined| !joined.has_ended());
            if self.rooms.contains_key(&room) {
                continue;
            }
            if self.rooms.len() >= self.edge.settings.sockets.rooms_per_socket_max {
                self.numeric("405", &[name], "You have joined too many channels");
                continue;
            }
            if let Err(error) = self.enter(&room).await {
                self.tell(name, error.code, &error.message);
                self.numeric("473", &[name], &error.message);
            }
        }
    }

    async fn enter(&mut self, room: &RoomId) -> Result<(), WireError> {
        let Some(Registered { viewer, nick }) = &self.registered else { return Ok(()) };
        let (viewer, nick, channel) = (viewer.clone(), nick.clone(), render::channel(room));
        let feed = Feed::open(&self.edge.app, viewer.clone(), room.clone()).await?;
        let info = self.edge.app.ingest.rooms.info(room).await.map_err(|_| WireError::unavailable())?;
        self.writer.send(&Line::user(&nick, "JOIN").parameter(&channel));
        self.writer.send(&self.numeric_line("353").parameter("=").parameter(&channel).text(&nick));
        self.numeric("366", &[&channel], "End of /NAMES list");
        if let Some(who) = viewer.identity() {
            self.writer.send_command(&render::user_state(who, room, None, None));
        }
        self.writer.send_command(&render::room_state(room, &info.settings));
        let user = viewer.identity().map(|who| who.user_id.clone());
        let joined = JoinedRoom::start(self.edge.clone(), feed, self.writer.clone(), user, nick);
        self.rooms.insert(room.clone(), joined);
        Ok(())
    }

    fn part(&mut self, channels: &str) {
        for name in channels.split(',').take(self.edge.settings.sockets.rooms_per_socket_max) {
            let left = name.strip_prefix('#').is_some_and(|room| self.rooms.remove(room).is_some());
            match &self.registered {
                Some(registered) if left => {
                    self.writer.send(&Line::user(&registered.nick, "PART").parameter(name));
                }
                _ => self.numeric("442", &[name], "You are not on that channel"),
            }
        }
    }

    async fn say(&mut self, message: &Message<'_>) {
        let target = message.parameter(0);
        let Some(room) = target.strip_prefix('#').and_then(|room| RoomId::new(room).ok()) else {
            return self.numeric("401", &[target], "No such nick or channel");
        };
        let Some(Registered { viewer: Viewer::User(who), .. }) = &self.registered else {
            return self.tell(target, Code::Unauthorized, "a token is needed");
        };
        let who = who.clone();
        let text = message.parameter(1);
        let text = text.strip_prefix("\u{1}ACTION ").map_or(text, |action| action.trim_end_matches('\u{1}'));
        // Some clients begin so, to say that no command follows.
        let plain = text.strip_prefix(". ");
        if plain.is_none()
            && let Some(command) = moderate::Command::parse(text)
        {
            return self.moderate(&who, &room, command).await;
        }
        let nonce = message.tag("client-nonce").filter(|nonce| (1..=NONCE_BYTES_MAX).contains(&nonce.len()));
        let draft = CommentDraft {
            room_id: None,
            content: plain.unwrap_or(text).to_owned(),
            client_msg_id: nonce.clone(),
            style: None,
            mentions: Vec::new(),
            session_id: None,
            offset_ms: None,
            address: None,
        };
        let own = self.rooms.get(&room).map(|joined| joined.own.clone());
        if let Some(own) = &own {
            own.begin();
        }
        let outcome = self.edge.app.admission.admit(&who, &room, draft).await;
        if let Some(own) = own {
            let id = outcome.as_ref().ok().map(|said| said.id);
            own.end(id).iter().for_each(|comment| self.writer.send(&render::comment(comment)));
        }
        match outcome {
            Ok(said) => {
                self.writer.send_command(&render::user_state(&who, &room, Some(said.id), nonce.as_deref()));
                if said.status == CommentStatus::PendingReview {
                    self.writer.send(&render::notice(
                        target,
                        Some("msg_rejected"),
                        "A moderator looks at your message.",
                    ));
                }
            }
            Err(error) => self.tell(target, error.code, &error.message),
        }
    }

    async fn moderate(&self, who: &model::Identity, room: &RoomId, command: moderate::Command<'_>) {
        let recent = self.rooms.get(room).map(|joined| joined.recent.clone());
        let user = |name: &str| -> Option<UserId> {
            let name = name.trim_start_matches('@');
            recent.as_ref().and_then(|recent| recent.user(name)).or_else(|| UserId::new(name).ok())
        };
        let (id, text) = moderate::run(&self.edge.app, who, room, command, user).await;
        self.writer.send(&render::notice(&render::channel(room), Some(id), &text));
    }

    fn tell(&self, target: &str, code: Code, text: &str) {
        self.writer.send(&render::notice(target, Some(notice_id(code)), text));
    }

    fn numeric_line(&self, number: &str) -> Line {
        Line::server(number).parameter(self.nick.as_deref().unwrap_or("*"))
    }

    fn numeric(&self, number: &str, parameters: &[&str], text: &str) {
        let line = parameters.iter().fold(self.numeric_line(number), |line, parameter| line.parameter(parameter));
        self.writer.send(&line.text(text));
    }

    /// A reply without a text.
    fn reply(&self, words: &[&str]) {
        let Some((number, parameters)) = words.split_first() else { return };
        let line = parameters.iter().fold(self.numeric_line(number), |line, parameter| line.parameter(parameter));
        self.writer.send(&line);
    }

    fn quit(&self, code: u16, reason: &str) {
        self.writer.send(&Line::bare("ERROR").text(reason));
        self.writer.outbox.close(code, reason);
    }
}

/// The `msg-id` of a refusal.
pub(super) const fn notice_id(code: Code) -> &'static str {
    match code {
        Code::RateLimited | Code::Overloaded | Code::Unavailable => "msg_ratelimit",
        Code::Banned => "msg_banned",
        Code::Muted => "msg_timedout",
        Code::ContentBlocked | Code::ContentEmpty | Code::ContentTooLong => "msg_rejected_mandatory",
        Code::DuplicateComment => "msg_duplicate",
        Code::RoomClosed => "msg_channel_suspended",
        _ => "no_permission",
    }
}
