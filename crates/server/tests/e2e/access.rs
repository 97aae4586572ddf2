//! One person, one answer: every door of a room is asked for every kind of person. And what waits ends with the right to
//! wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Http, Reply, Server, Viewer, eventually, now_s, token};

use crate::{NO_LIMITS, configured};

/// What a door answered: `ok`, or the code of the error.
type Answer = String;

/// A person with the answers that reading doors, like doors and comment doors are to give.
struct Case {
    who: &'static str,
    token: Option<String>,
    room: &'static str,
    reads: &'static str,
    likes: &'static str,
    writes: &'static str,
}

/// A server with a room of every kind, and a comment in each.
struct World {
    server: Server,
    comments: BTreeMap<&'static str, String>,
}

impl World {
    async fn start(config: &str) -> Self {
        let server = configured(&format!("{config}\n{NO_LIMITS}")).await;
        let mut comments = BTreeMap::new();
        for (room, settings) in [
            ("open", json!({})),
            ("club", json!({ "private": true })),
            ("off", json!({ "enabled": false })),
            ("quiet", json!({ "speakers": "moderators" })),
            ("closed", json!({})),
        ] {
            comments.insert(room, server.user("sam").say(room, "first").await);
            server.admin().put(&format!("admin/rooms/{room}"), json!({ "owner_id": "olga" })).await.is(200);
            server.admin().put(&format!("admin/rooms/{room}"), settings).await.is(200);
        }
        server.admin().post("admin/rooms/closed/close", Value::Null).await.is(200);
        let world = Self { server, comments };
        for room in ["open", "club", "off", "closed"] {
            world.ban(json!({ "user_id": "bea", "room_id": room, "kind": "ban" })).await;
        }
        world.ban(json!({ "user_id": "bart", "kind": "ban" })).await;
        world.ban(json!({ "user_id": "mia", "room_id": "open", "kind": "mute" })).await;
        world
    }

    async fn ban(&self, mut ban: Value) {
        ban["duration_s"] = json!(600);
        self.server.admin().post("admin/bans", ban).await.is(201);
    }

    /// Asks every door of the case's room.
    async fn check(&self, case: Case) {
        let Case { who, room, .. } = case;
        let http = match &case.token {
            Some(token) => self.server.bearing(token),
            None => self.server.http(),
        };
        let same = |door: &str, answer: Answer, right: &str| {
            assert_eq!(answer, right, "{who} at {door} of the room {room}");
        };
        for path in ["", "/comments", "/comments?since_id=0&wait_s=5", "/replay", "/hot", "/ranking", "/sessions"] {
            let path = format!("rooms/{room}{path}");
            same(&path, answer(&http.get(&path).await), case.reads);
        }
        same("the event stream", stream(http.request(Method::GET, &format!("rooms/{room}/events"))).await, case.reads);
        let listed = match &*listed(&http.get("rooms").await, room) {
            "absent" if !matches!(case.reads, "ok" | "unauthorized") => case.reads.to_owned(),
            answer => answer.to_owned(),
        };
        same("the list of rooms", listed, case.reads);
        let like = format!("comments/{}/like", self.comments[room]);
        same("like", answer(&http.post(&like, Value::Null).await), case.likes);
        same("unlike", answer(&http.delete(&like).await), case.likes);
        same("comment", answer(&http.comment(room, "over HTTP").await), case.writes);
        if case.token.as_deref() == Some(testkit::ADMIN_KEY) {
            return; // Sockets know tokens alone.
        }

        let mut joined = self.socket(&case, &format!("room_id={room}&")).await;
        same("the socket's query", joined.answer().await, case.reads);
        let mut socket = self.socket(&case, "").await;
        same("join_room", socket.ask(json!({ "type": "join_room", "room_id": room })).await, case.reads);
        let like = json!({ "type": "like", "comment_id": self.comments[room] });
        same("the socket's like", socket.ask(like).await, case.likes);
        let comment = json!({ "type": "comment", "room_id": room, "content": "over a socket" });
        same("the socket's comment", socket.ask(comment).await, case.writes);
        http.delete(&format!("comments/{}/like", self.comments[room])).await;
    }

    async fn socket(&self, case: &Case, query: &str) -> Socket {
        let token = case.token.as_ref().map(|token| format!("token={token}")).unwrap_or_default();
        match Viewer::open(self.server.address(), &format!("{query}{token}"), &[]).await {
            Ok(viewer) => Socket::Open(Box::new(viewer)),
            Err(refused) => Socket::Refused(refused.code),
        }
    }
}

/// A socket that may have been refused, or be closed at any time.
enum Socket {
    Open(Box<Viewer>),
    Refused(Answer),
}

impl Socket {
    /// What came of the room in the query.
    async fn answer(&mut self) -> Answer {
        let viewer = match self {
            Self::Open(viewer) => viewer,
            Self::Refused(code) => return code.clone(),
        };
        loop {
            if let Some(message) = viewer.take(&["room_joined", "error"]).first() {
                return of_message(message);
            }
            if viewer.is_closed() {
                return of_close(viewer.wait_close().await.0);
            }
            viewer.hear("what becomes of the room in the query").await;
        }
    }

    async fn ask(&mut self, message: Value) -> Answer {
        match self {
            Self::Open(viewer) => match viewer.attempt(message).await {
                Some(answer) => of_message(&answer),
                None => of_close(viewer.wait_close().await.0),
            },
            Self::Refused(code) => code.clone(),
        }
    }
}

fn of_message(message: &Value) -> Answer {
    match message["type"].as_str() {
        Some("error") => message["code"].as_str().unwrap_or_default().to_owned(),
        _ => "ok".to_owned(),
    }
}

fn of_close(code: u16) -> Answer {
    match code {
        4003 => "banned".to_owned(),
        code => format!("closed with {code}"),
    }
}

fn answer(reply: &Reply) -> Answer {
    let code = reply.body["error"]["code"].as_str();
    let fits = match code {
        None => reply.status < 300,
        Some("unauthorized") => reply.status == 401,
        Some("not_found") => reply.status == 404,
        Some(_) => reply.status == 403,
    };
    assert!(fits, "{} {}", reply.status, reply.text);
    code.unwrap_or("ok").to_owned()
}

fn listed(reply: &Reply, room: &str) -> Answer {
    let answer = answer(reply);
    let rooms = reply.body["rooms"].as_array();
    match rooms.is_some_and(|rooms| rooms.iter().any(|listed| listed["room_id"] == room)) {
        false if answer == "ok" => "absent".to_owned(),
        _ => answer,
    }
}

/// Whether an event stream begins: what comes in it is not waited for.
async fn stream(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    if response.status() == 200 {
        return "ok".to_owned();
    }
    let body: Value = response.json().await.unwrap();
    body["error"]["code"].as_str().unwrap_or_default().to_owned()
}

fn bears(user: &str, level: &str, rooms: Value) -> Option<String> {
    let claims = json!({ "sub": user, "level": level, "iat": now_s() - 5, "exp": now_s() + 600 });
    let mut claims = claims;
    if !rooms.is_null() {
        claims["rooms"] = rooms;
    }
    Some(token(&claims))
}

#[tokio::test]
async fn every_door_of_a_room_gives_one_person_one_answer() {
    let world = World::start("").await;
    let stranger = || None;
    let alice = || bears("alice", "normal", Value::Null);
    let narrow = || bears("nell", "vip", json!(["elsewhere"]));
    let member = || bears("max", "normal", json!(["club"]));
    let bea = || bears("bea", "normal", Value::Null);
    let bart = || bears("bart", "normal", Value::Null);
    let mo = || bears("mo", "moderator", json!(["open", "club", "quiet", "off", "closed"]));
    let roaming = || bears("rosa", "moderator", Value::Null);
    let olga = || bears("olga", "normal", Value::Null);
    let root = || bears("root", "admin", Value::Null);
    let key = || Some(testkit::ADMIN_KEY.to_owned());
    for (who, token, room, reads, likes, writes) in [
        ("a stranger", stranger(), "open", "unauthorized", "unauthorized", "unauthorized"),
        ("a stranger", stranger(), "club", "unauthorized", "unauthorized", "unauthorized"),
        ("a stranger", stranger(), "off", "unauthorized", "unauthorized", "unauthorized"),
        ("a user", alice(), "open", "ok", "ok", "ok"),
        ("a user", alice(), "club", "forbidden", "not_found", "forbidden"),
        ("a user", alice(), "off", "room_closed", "room_closed", "room_closed"),
        ("a user", alice(), "quiet", "ok", "ok", "forbidden"),
        ("a user", alice(), "closed", "ok", "ok", "room_closed"),
        ("a user whose token names other rooms", narrow(), "open", "forbidden", "not_found", "forbidden"),
        ("a user whose token names other rooms", narrow(), "club", "forbidden", "not_found", "forbidden"),
        ("a user whose token names other rooms", narrow(), "off", "forbidden", "not_found", "forbidden"),
        ("a member", member(), "club", "ok", "ok", "ok"),
        ("a member", member(), "open", "forbidden", "not_found", "forbidden"),
        ("banned here", bea(), "open", "banned", "banned", "banned"),
        ("banned here", bea(), "closed", "banned", "banned", "banned"),
        ("banned here and no member", bea(), "club", "forbidden", "not_found", "forbidden"),
        ("banned here", bea(), "off", "room_closed", "room_closed", "room_closed"),
        ("a banned member", bears("bea", "normal", json!(["club"])), "club", "banned", "banned", "banned"),
        ("banned in another room", bea(), "quiet", "ok", "ok", "forbidden"),
        ("banned everywhere", bart(), "open", "banned", "banned", "banned"),
        ("banned everywhere", bart(), "club", "banned", "banned", "banned"),
        ("banned everywhere", bart(), "off", "banned", "banned", "banned"),
        ("banned everywhere", bart(), "closed", "banned", "banned", "banned"),
        ("muted here", bears("mia", "normal", Value::Null), "open", "ok", "ok", "muted"),
        ("muted in another room", bears("mia", "normal", Value::Null), "closed", "ok", "ok", "room_closed"),
        ("a moderator", mo(), "open", "ok", "ok", "ok"),
        ("a moderator", mo(), "club", "ok", "ok", "ok"),
        ("a moderator", mo(), "quiet", "ok", "ok", "ok"),
        ("a moderator", mo(), "off", "room_closed", "room_closed", "room_closed"),
        ("a moderator", mo(), "closed", "ok", "ok", "room_closed"),
        ("a moderator of no room", roaming(), "open", "ok", "ok", "ok"),
        ("a moderator of no room", roaming(), "club", "forbidden", "not_found", "forbidden"),
        ("a moderator of no room", roaming(), "quiet", "ok", "ok", "forbidden"),
        ("the owner", olga(), "open", "ok", "ok", "ok"),
        ("the owner", olga(), "club", "ok", "ok", "ok"),
        ("the owner", olga(), "quiet", "ok", "ok", "ok"),
        ("the owner", olga(), "off", "ok", "ok", "room_closed"),
        ("the owner", olga(), "closed", "ok", "ok", "room_closed"),
        ("an admin", root(), "club", "ok", "ok", "ok"),
        ("an admin", root(), "quiet", "ok", "ok", "ok"),
        ("an admin", root(), "off", "ok", "ok", "room_closed"),
        ("an admin", root(), "closed", "ok", "ok", "room_closed"),
        (
            "an admin of other rooms",
            bears("root", "admin", json!(["elsewhere"])),
            "open",
            "forbidden",
            "not_found",
            "forbidden",
        ),
        (
            "the owner with a token for other rooms",
            bears("olga", "normal", json!(["elsewhere"])),
            "open",
            "forbidden",
            "not_found",
            "forbidden",
        ),
        ("the admin key", key(), "open", "ok", "unauthorized", "unauthorized"),
        ("the admin key", key(), "club", "ok", "unauthorized", "unauthorized"),
        ("the admin key", key(), "off", "ok", "unauthorized", "unauthorized"),
    ] {
        world.check(Case { who, token, room, reads, likes, writes }).await;
    }
}

#[tokio::test]
async fn a_stranger_reads_open_rooms_where_that_is_allowed_and_writes_nowhere() {
    let world = World::start("[auth]\nanonymous_read = true").await;
    for (room, reads) in
        [("open", "ok"), ("club", "forbidden"), ("off", "room_closed"), ("quiet", "ok"), ("closed", "ok")]
    {
        let (likes, writes) = ("unauthorized", "unauthorized");
        world.check(Case { who: "a stranger", token: None, room, reads, likes, writes }).await;
    }
}

/// Everything with which somebody waits in a room: a socket, an event stream, and a long poll; and a long poll of chat.
struct Waiting {
    socket: Viewer,
    stream: tokio::task::JoinHandle<()>,
    poll: tokio::task::JoinHandle<Reply>,
    chat: tokio::task::JoinHandle<Reply>,
}

impl Waiting {
    async fn of(server: &Server, token: &str) -> Self {
        let mut socket = server.connect(&format!("room_id=hall&token={token}")).await;
        socket.wait_for("room_joined").await;
        let http = server.bearing(token);
        let latest = http.get("rooms/hall/comments").await.expect(200)["latest_id"].as_str().unwrap().to_owned();
        let mut events = http.events("hall", "history=0", None).await;
        assert_eq!(events.status, 200);
        let waits = |http: &Http, path: String| {
            let http = http.clone();
            tokio::spawn(async move { http.get(&path).await })
        };
        let poll = waits(&http, format!("rooms/hall/comments?since_id={latest}&wait_s=30"));
        let chat = waits(&http, "messages?wait_s=30".to_owned());
        let stream = tokio::spawn(async move { while events.next().await.is_some() {} });
        eventually("all of them to wait", async || {
            let metrics = server.http().get("/metrics").await.text;
            metrics.lines().any(|line| line.contains("streams") && line.ends_with(" 3")).then_some(())
        })
        .await;
        Self { socket, stream, poll, chat }
    }

    /// Everything in the room ends soon (within a second where the machine is idle): polls with this code, the socket by leaving or by this close.
    async fn end(mut self, since: Instant, code: &str, close: Option<u16>) -> tokio::task::JoinHandle<Reply> {
        assert_eq!(self.poll.await.unwrap().body["error"]["code"], code);
        self.stream.await.unwrap();
        match close {
            Some(close) => assert_eq!(self.socket.wait_close().await.0, close),
            None => assert_eq!(self.socket.wait_for("room_left").await["room_id"], "hall"),
        }
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
        self.chat
    }

    /// The same, with the poll of chat.
    async fn end_with_chat(self, since: Instant, code: &str, close: u16) {
        let chat = self.end(since, code, Some(close)).await.await.unwrap();
        assert_eq!(chat.body["error"]["code"], code);
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    }
}

#[tokio::test]
async fn what_waits_ends_within_a_second_of_its_right_to_wait() {
    let server = configured(NO_LIMITS).await;
    server.user("sam").say("hall", "first").await;
    let admin = server.admin();
    let alice = || bears("alice", "normal", Value::Null).unwrap();

    let waiting = Waiting::of(&server, &alice()).await;
    let since = Instant::now();
    let ban = json!({ "user_id": "alice", "room_id": "hall", "kind": "ban", "duration_s": 600 });
    let ban = admin.post("admin/bans", ban).await.expect(201);
    waiting.end(since, "banned", None).await.abort();
    admin.delete(&format!("admin/bans/{}", ban["id"].as_str().unwrap())).await.is(204);

    for (closed, open) in [("private", "private"), ("enabled", "enabled")] {
        let shut = closed == "private";
        let waiting = Waiting::of(&server, &alice()).await;
        let since = Instant::now();
        admin.put("admin/rooms/hall", json!({ closed: shut })).await.is(200);
        waiting.end(since, if shut { "forbidden" } else { "room_closed" }, None).await.abort();
        admin.put("admin/rooms/hall", json!({ open: !shut })).await.is(200);
    }

    let waiting = Waiting::of(&server, &alice()).await;
    let since = Instant::now();
    let ban = json!({ "user_id": "alice", "kind": "ban", "duration_s": 600 });
    admin.post("admin/bans", ban).await.is(201);
    waiting.end_with_chat(since, "banned", 4003).await;

    let waiting = Waiting::of(&server, &bears("rita", "normal", Value::Null).unwrap()).await;
    let since = Instant::now();
    admin.post("admin/tokens/revoke", json!({ "user_id": "rita" })).await.is(204);
    waiting.end_with_chat(since, "unauthorized", 4001).await;

    let expires = now_s() + 4;
    let short = token(&json!({ "sub": "ed", "iat": now_s() - 5, "exp": expires }));
    let waiting = Waiting::of(&server, &short).await;
    let left = u64::try_from((expires - now_s()).max(0)).unwrap();
    let since = Instant::now() + Duration::from_secs(left);
    waiting.end_with_chat(since, "unauthorized", 4001).await;
}

#[tokio::test]
async fn a_narrower_token_leaves_the_rooms_it_does_not_name() {
    let server = configured(NO_LIMITS).await;
    let mut alice = server.viewer("alice", "hall").await;
    alice.join("attic", json!({})).await;
    let narrower = bears("alice", "normal", json!(["attic"])).unwrap();
    alice.ask(json!({ "type": "login", "token": narrower })).await;
    assert_eq!(alice.wait_for("room_left").await["room_id"], "hall");
    server.user("sam").say("hall", "without her").await;
    server.user("sam").say("attic", "with her").await;
    alice.sees("with her").await;
    assert!(!alice.contents().contains(&"without her"));
}
