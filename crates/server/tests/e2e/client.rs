//! The Rust client against the real binary: what its users rely on when servers die, tokens are refused and readers are slow.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use barrage_client::transport::{
    Closed, Link, Target, Transport, event_stream, long_poll, proto_socket, segments, web_socket,
};
use barrage_client::{
    Chat, ChatCursor, ChatItem, ChatItems, Client, ClientItem, ClientOptions, Comment, CommentDraft, JoinOptions,
    Recipient, ReplayQuery, Room, RoomItem, RoomItems, Source, State,
};
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use testkit::{Certificate, Options, PATIENCE, Server, eventually, now_s, token};
use tokio::time::timeout;

use crate::{BIN, NO_LIMITS};

/// A server that comes back under the same address.
async fn server() -> Server {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Options::new(BIN).listen(&format!("127.0.0.1:{port}")).config(NO_LIMITS).start().await
}

fn token_of(user: &str) -> String {
    token(&json!({ "sub": user, "iat": now_s() - 5, "exp": now_s() + 3_600 }))
}

/// Without live segments: a busy machine is a busy server, which sends its viewers there.
fn options(server: &Server, user: &str) -> ClientOptions {
    let transports = vec![web_socket(), event_stream(), long_poll()];
    let options = ClientOptions::new(&server.url()).token(&token_of(user)).retry(|_| Duration::from_millis(20));
    ClientOptions { transports, ..options }
}

/// A client that connects again only when it is told to.
fn patient(server: &Server, user: &str) -> Client {
    Client::new(options(server, user).retry(|_| Duration::from_secs(3_600))).unwrap()
}

fn user(server: &Server, user: &str) -> Client {
    let client = Client::new(options(server, user)).unwrap();
    client.connect();
    client
}

async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

async fn lost(client: &Client) {
    within("the loss", client.states().wait_for(|state| matches!(state, State::Waiting { .. }))).await.unwrap();
}

/// What a reader was given, and what it was told it was not.
#[derive(Default)]
struct Read {
    comments: Vec<Comment>,
    omitted: u64,
    gaps: u64,
    resumed: usize,
}

impl Read {
    /// Reads on until this comment has come.
    async fn until(&mut self, items: &mut RoomItems, content: &str) {
        while self.comments.last().is_none_or(|comment| comment.content != content) {
            match within(content, items.next()).await.expect("the client lives") {
                RoomItem::Comments(batch) => {
                    self.resumed += if batch.source == Source::Resumed { batch.comments.len() } else { 0 };
                    self.omitted += batch.omitted;
                    self.comments.extend(batch.comments);
                }
                RoomItem::Gap(gap) => self.gaps += gap.omitted,
                _ => {}
            }
        }
    }

    fn contents(&self) -> Vec<&str> {
        self.comments.iter().map(|comment| comment.content.as_str()).collect()
    }
}

async fn joined(client: &Client, room: &str, options: JoinOptions) -> (Room, RoomItems) {
    let room = client.room(room);
    let items = room.subscribe();
    within("the join", room.join(options)).await.unwrap();
    (room, items)
}

/// How often each content is in a room, as the server keeps it.
async fn kept(server: &Server, room: &str) -> HashMap<String, usize> {
    let (http, mut since, mut kept) = (server.admin(), "0".to_owned(), HashMap::new());
    loop {
        let page = http.get(&format!("rooms/{room}/comments?since_id={since}&limit=100")).await.expect(200);
        let comments = page["comments"].as_array().unwrap().clone();
        if comments.is_empty() {
            return kept;
        }
        for comment in comments {
            *kept.entry(comment["content"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        page["latest_id"].as_str().unwrap().clone_into(&mut since);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_read_and_spoken_in_over_every_transport() {
    let server = server().await;
    let transports: [fn() -> Arc<dyn Transport>; 5] = [web_socket, proto_socket, event_stream, long_poll, segments];
    for transport in transports {
        let (name, room) = (transport().name(), format!("room-{}", transport().name()));
        server.user("bob").say(&room, "before").await;
        let ann = Client::new(options(&server, "ann").transport(transport())).unwrap();
        ann.connect();
        let (spoken, mut items) = joined(&ann, &room, JoinOptions::default()).await;
        assert_eq!((ann.transport(), ann.identity().map(|who| who.user_id).as_deref()), (name, Some("ann")));
        let style = barrage_client::Style { color: "#FF0000".into(), ..Default::default() };
        let draft = CommentDraft { style: Some(style), ..CommentDraft::from("mine") };
        let ack = within("the answer", spoken.comment(draft)).await.unwrap();
        assert_eq!(ack.status, "accepted");
        let last = server.user("bob").say(&room, "after").await;
        let mut read = Read::default();
        read.until(&mut items, "after").await;
        assert_eq!((read.contents(), read.omitted, read.gaps), (vec!["before", "mine", "after"], 0, 0), "{name}");
        assert_eq!((&read.comments[1].id, &*read.comments[1].style.color), (&ack.id, "#FF0000"));
        assert_eq!(within("the like", ann.like(&last)).await.unwrap().like_count, 1);
        assert_eq!(within("the refusal", ann.like(&last)).await.unwrap_err().code, "already_liked");
        let refused = within("the refusal", spoken.comment("x".repeat(500))).await.unwrap_err();
        assert_eq!(refused.code, "content_too_long");

        let api = ann.api().await.unwrap();
        let page = api.replay(&room, &ReplayQuery::default()).await.unwrap();
        assert_eq!(page.comments.len(), 3);
        assert_eq!(api.room(&room).await.unwrap().state, "live");
        assert_eq!(api.room("nowhere at all").await.unwrap_err().status, Some(400));
        assert!(api.hot(&room, 10).await.unwrap().iter().any(|comment| comment.id == last));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_nothing_comes_twice_and_what_is_missing_is_said() {
    let mut server = server().await;
    server.user("bob").say("hall", "said before").await;
    let ann = patient(&server, "ann");
    ann.connect();
    let (_, mut items) = joined(&ann, "hall", JoinOptions::default()).await;
    // One who joined while nobody had said anything.
    let (_, mut silent) = joined(&ann, "attic", JoinOptions::default()).await;
    let mut read = Read::default();
    server.user("bob").say("hall", "live").await;
    read.until(&mut items, "live").await;
    assert_eq!(read.contents(), ["said before", "live"]);

    server.kill9().await;
    lost(&ann).await;
    server.restart().await;
    for n in 0..30 {
        server.user(&format!("u{n}")).say("hall", &format!("missed {n}")).await;
    }
    server.user("bob").say("attic", "the first of all").await;
    ann.connect();
    read.until(&mut items, "missed 29").await;
    assert_eq!((read.comments.len(), read.resumed, read.omitted, read.gaps), (32, 30, 0, 0));
    let mut attic = Read::default();
    attic.until(&mut silent, "the first of all").await;

    // More than coming back may bring.
    server.kill9().await;
    lost(&ann).await;
    server.restart().await;
    for n in 0..150 {
        server.user(&format!("v{n}")).say("hall", &format!("many {n}")).await;
    }
    ann.connect();
    read.until(&mut items, "many 149").await;
    assert_eq!((read.comments.len(), read.gaps, read.omitted), (132, 50, 50));
    let ids: std::collections::HashSet<&str> = read.comments.iter().map(|comment| comment.id.as_str()).collect();
    assert_eq!(ids.len(), read.comments.len(), "a comment came twice");
    assert_eq!(kept(&server, "hall").await.len() as u64, read.comments.len() as u64 + read.gaps);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_an_outage_is_said_once() {
    let mut server = server().await;
    let ann = user(&server, "ann");
    let (room, _items) = joined(&ann, "hall", JoinOptions::default()).await;
    let (chat, _chat_items) = Chat::start(&ann, ChatCursor::default());
    let bob = Recipient::User("bob".into());
    // Some of these are with the server when it dies, and their answers are lost.
    let saying = |n: usize| {
        let (room, chat, bob) = (room.clone(), chat.clone(), bob.clone());
        async move {
            let text = format!("number {n}");
            let (comment, message) = tokio::join!(room.comment(text.clone()), chat.send(&bob, text.as_str()));
            (comment.unwrap().id, message.unwrap().server_msg_id)
        }
    };
    let mut said = tokio::spawn(join_all((0..20).map(saying)));
    let begun = eventually("the first comment", async || (!kept(&server, "hall").await.is_empty()).then_some(()));
    begun.await;
    server.kill9().await;
    lost(&ann).await;
    let offline = tokio::spawn(join_all((20..40).map(saying)));
    server.restart().await;
    let first = within("the answers of before", &mut said).await.unwrap();
    let second = within("the answers of the outage", offline).await.unwrap();
    let ids: std::collections::HashSet<_> = first.iter().chain(&second).collect();
    assert_eq!(ids.len(), 40);
    let kept = kept(&server, "hall").await;
    assert_eq!(kept.len(), 40, "{kept:?}");
    assert!(kept.values().all(|times| *times == 1), "{kept:?}");
    let messages = server.user("bob").get("messages?since_id=0&limit=500").await.expect(200);
    let mut contents: Vec<&str> =
        messages["messages"].as_array().unwrap().iter().filter_map(|message| message["content"].as_str()).collect();
    contents.sort_unstable();
    contents.dedup();
    assert_eq!((contents.len(), messages["messages"].as_array().map(Vec::len)), (40, Some(40)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_closes_for_good_and_says_why() {
    let server = server().await;
    let transports: [fn() -> Arc<dyn Transport>; 5] = [web_socket, proto_socket, event_stream, long_poll, segments];
    for transport in transports {
        let attempts = Arc::new(AtomicU32::new(0));
        let counted = attempts.clone();
        let mut options = ClientOptions::new(&server.url()).token("no.valid.token").transport(transport());
        options.retry = Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Duration::from_millis(1)
        });
        let client = Client::new(options).unwrap();
        client.connect();
        let room = client.room("hall");
        let refused = within("the refusal", room.join(JoinOptions::default())).await.unwrap_err();
        assert!(refused.code == "closed" && refused.message.starts_with("4001 "), "{refused}");
        let State::Closed { code, reason } = client.state() else { panic!("{:?}", client.state()) };
        assert!(code == 4001 && !reason.is_empty(), "{code} {reason}");
        assert_eq!(attempts.load(Ordering::Relaxed), 0, "it tried again");
        assert_eq!(client.request(json!({ "type": "heartbeat" }), true).await.unwrap_err().code, "closed");
    }
    // A new token and another call connect it.
    let client = Client::new(ClientOptions::new(&server.url()).token("no.valid.token")).unwrap();
    client.connect();
    within("the refusal", client.connected()).await.unwrap_err();
    client.login(&token_of("ann")).await.unwrap();
    client.connect();
    within("the connection", client.connected()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_closes_for_good_and_a_full_server_is_tried_again() {
    let server = server().await;
    let ann = user(&server, "ann");
    within("the connection", ann.connected()).await.unwrap();
    server.admin().post("admin/bans", json!({ "user_id": "ann", "duration_s": 60, "kind": "ban" })).await.is(201);
    let closed = |state: &State| matches!(state, State::Closed { code: 4003, .. });
    within("the ban", ann.states().wait_for(closed)).await.unwrap();

    let full = Options::new(BIN).config("[sockets]\nopen_max = 1\n").start().await;
    let first = user(&full, "first");
    within("the connection", first.connected()).await.unwrap();
    let second = Client::new(options(&full, "second").transport(web_socket())).unwrap();
    second.connect();
    lost(&second).await;
    first.close();
    // The server orders a pause of about ten seconds, which clients spread.
    let (mut states, free) = (second.states(), |state: &State| *state == State::Connected);
    timeout(3 * PATIENCE, states.wait_for(free)).await.expect("the free place").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_nobody_and_is_told_what_it_was_not_given() {
    let server = server().await;
    let (slow, quick) = (user(&server, "slow"), user(&server, "quick"));
    let (_, mut slow_items) = joined(&slow, "hall", JoinOptions::default()).await;
    let (room, mut quick_items) = joined(&quick, "hall", JoinOptions::default()).await;
    // Nobody reads the items of the slow one meanwhile; its connection goes on.
    for round in 0..5 {
        let says = (0..100).map(|n| {
            let (server, text) = (&server, format!("{round} {n} {}", "x".repeat(100)));
            async move { server.user(&format!("u{n}")).say("hall", &text).await }
        });
        join_all(says).await;
        within("an answer on the slow one's connection", slow.request(json!({ "type": "heartbeat" }), false))
            .await
            .unwrap();
    }
    within("the end", room.comment("the end")).await.unwrap();
    for items in [&mut quick_items, &mut slow_items] {
        let (mut given, mut omitted) = (0, 0);
        while given + omitted < 501 {
            match within("every comment to be accounted for", items.next()).await.expect("the client lives") {
                RoomItem::Comments(batch) => {
                    given += batch.comments.len() as u64;
                    omitted += batch.omitted;
                }
                RoomItem::Lagged(lost) => panic!("{lost} items made way"),
                _ => {}
            }
        }
        assert_eq!(given + omitted, 501, "{given} given, {omitted} omitted");
    }
    assert_eq!(slow.state(), State::Connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn critical_events_are_acknowledged_and_told_once() {
    let server = server().await;
    let ann = user(&server, "ann");
    let (_, mut items) = joined(&ann, "hall", JoinOptions { max_per_s: Some(0), ..JoinOptions::default() }).await;
    let mut everywhere = ann.subscribe();
    // Two sockets that do not acknowledge. The server repeats the event to one of them; for the other, which is of the same
    // user, the client's acknowledgement counts.
    let mut deaf = server.viewer("deaf", "hall").await;
    let mut same = server.viewer("ann", "hall").await;
    server.admin().post("admin/rooms/hall/announcements", json!({ "content": "hear, hear" })).await.is(201);
    deaf.event("announcement").await;
    deaf.event("announcement").await;
    same.settled().await;
    let told = same.take(&["event"]).into_iter().filter(|event| event["kind"] == "announcement").count();
    assert_eq!(told, 1, "the client did not acknowledge");
    server.admin().post("admin/rooms/hall/announcements", json!({ "content": "the next" })).await.is(201);
    let mut heard = Vec::new();
    while heard.last().is_none_or(|content| content != "the next") {
        if let RoomItem::Event(event) = within("an event", items.next()).await.unwrap()
            && event.kind == "announcement"
        {
            assert!(event.critical);
            heard.push(event.fields["content"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(heard, ["hear, hear", "the next"]);
    loop {
        match within("the event", everywhere.next()).await.unwrap() {
            ClientItem::Event(event) if event.kind == "announcement" => break,
            _ => {}
        }
    }
}

/// A network that lets WebSockets through, or not.
struct Switch(Arc<AtomicBool>);

impl Transport for Switch {
    fn name(&self) -> &'static str {
        "websocket"
    }

    fn connect(&self, target: Target) -> BoxFuture<'static, Result<Link, Closed>> {
        if self.0.load(Ordering::Relaxed) {
            return web_socket().connect(target);
        }
        Box::pin(async { Err(Closed::new(1006, "blocked")) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_sockets_are_blocked_http_serves_until_they_are_not() {
    let mut server = server().await;
    let opens = Arc::new(AtomicBool::new(true));
    let transports: Vec<Arc<dyn Transport>> = vec![Arc::new(Switch(opens.clone())), event_stream(), long_poll()];
    let ann = Client::new(ClientOptions { transports, ..options(&server, "ann") }).unwrap();
    ann.connect();
    let (room, mut items) = joined(&ann, "hall", JoinOptions::default()).await;
    let mut read = Read::default();
    within("the answer", room.comment("over a socket")).await.unwrap();
    read.until(&mut items, "over a socket").await;
    opens.store(false, Ordering::Relaxed);
    server.kill9().await;
    lost(&ann).await;
    server.restart().await;
    within("the answer", room.comment("over http")).await.unwrap();
    assert_ne!(ann.transport(), "websocket");
    read.until(&mut items, "over http").await;
    opens.store(true, Ordering::Relaxed);
    eventually("the socket", async || {
        (ann.transport() == "websocket" && ann.state() == State::Connected).then_some(())
    })
    .await;
    server.user("bob").say("hall", "and on").await;
    read.until(&mut items, "and on").await;
    assert_eq!((read.contents(), read.omitted), (vec!["over a socket", "over http", "and on"], 0));
}

/// Says 1, 2, 3 … in a room until it is told to stop; then returns the last.
struct Talk {
    stop: tokio::sync::oneshot::Sender<()>,
    talking: tokio::task::JoinHandle<usize>,
}

impl Talk {
    fn start(server: &Server, room: &'static str) -> Self {
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let http = server.user("talker");
        let talking = tokio::spawn(async move {
            let mut said = 0;
            loop {
                said += 1;
                http.say(room, &said.to_string()).await;
                if timeout(Duration::from_millis(40), &mut stopped).await.is_ok() {
                    return said;
                }
            }
        });
        Self { stop, talking }
    }

    async fn stop(self) -> usize {
        self.stop.send(()).unwrap();
        within("the last word", self.talking).await.unwrap()
    }
}

impl Read {
    /// Reads on until it has this many comments.
    async fn count(&mut self, items: &mut RoomItems, count: usize) {
        while self.comments.len() < count {
            if let RoomItem::Comments(batch) = within("comments", items.next()).await.expect("the client lives") {
                self.omitted += batch.omitted;
                self.comments.extend(batch.comments);
            }
        }
    }
}

async fn carried_by(client: &Client, transport: &str) {
    let is_there = || client.transport() == transport && client.state() == State::Connected;
    eventually(transport, async || is_there().then_some(())).await;
}

/// Viewers whose sockets are all that a node has room for, or nearly all.
async fn sockets(server: &Server, count: usize) -> Vec<testkit::Viewer> {
    let names: Vec<String> = (0..count).map(|n| format!("s{n}")).collect();
    join_all(names.iter().map(|name| server.viewer(name, "crowd"))).await
}

/// Reads what is said while the client is on segments and comes back to a socket, once the server has room.
async fn over_segments_and_back(server: &Server, client: &Client, crowd: Vec<testkit::Viewer>) {
    carried_by(client, "segments").await;
    let (room, mut items) = joined(client, "hall", JoinOptions { history: Some(0), ..JoinOptions::default() }).await;
    let talk = Talk::start(server, "hall");
    let mut read = Read::default();
    read.count(&mut items, 20).await;
    // What is said goes over HTTP meanwhile.
    let other = client.room("attic");
    assert_eq!(within("the answer", other.comment("from afar")).await.unwrap().status, "accepted");
    assert_eq!(client.transport(), "segments", "as long as the server is full");
    join_all(crowd.into_iter().map(testkit::Viewer::close)).await;
    carried_by(client, "websocket").await;
    let so_far = read.comments.len();
    read.count(&mut items, so_far + 40).await;
    let last = talk.stop().await;
    read.until(&mut items, &last.to_string()).await;
    let expected: Vec<String> = (1..=last).map(|n| n.to_string()).collect();
    assert_eq!((read.contents(), read.omitted, read.gaps), (expected.iter().map(String::as_str).collect(), 0, 0));
    room.leave().await.unwrap();
}

async fn small() -> Server {
    Options::new(BIN)
        .config(&format!("{NO_LIMITS}[sockets]\nopen_max = 10\n[rooms]\nlive_segment_ms = 250\n"))
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_to_segments_when_the_server_says_so_and_comes_back_without_a_repeat_or_a_gap() {
    let server = small().await;
    let crowd = sockets(&server, 9).await;
    // The tenth is let in, and told that it should rather go.
    let transports = vec![web_socket(), event_stream(), long_poll(), segments()];
    let ann = Client::new(ClientOptions { transports, ..options(&server, "ann") }).unwrap();
    ann.connect();
    over_segments_and_back(&server, &ann, crowd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whom_a_full_server_refuses_reads_segments_until_there_is_room() {
    let server = small().await;
    let crowd = sockets(&server, 10).await;
    let transports = vec![web_socket(), segments()];
    let ann = Client::new(ClientOptions { transports, ..options(&server, "ann") }).unwrap();
    ann.connect();
    over_segments_and_back(&server, &ann, crowd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_go_on_after_a_restart_and_miss_nothing() {
    let mut server = server().await;
    let ann = Client::new(options(&server, "ann").transport(segments())).unwrap();
    ann.connect();
    let (_, mut items) = joined(&ann, "hall", JoinOptions { history: Some(0), ..JoinOptions::default() }).await;
    let mut read = Read::default();
    server.user("bob").say("hall", "before").await;
    read.until(&mut items, "before").await;
    server.kill9().await;
    server.restart().await;
    // Segments of before are gone with the process; the server has the comments.
    for n in 0..30 {
        server.user("bob").say("hall", &n.to_string()).await;
    }
    read.until(&mut items, "29").await;
    let expected: Vec<String> = std::iter::once("before".to_owned()).chain((0..30).map(|n| n.to_string())).collect();
    assert_eq!((read.contents(), read.omitted, read.gaps), (expected.iter().map(String::as_str).collect(), 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_encodings_tell_the_same() {
    let server = server().await;
    server.user("bob").say("hall", "before").await;
    let mut told = Vec::new();
    let clients = [web_socket(), proto_socket()].map(|transport| {
        let client = Client::new(options(&server, "ann").transport(transport)).unwrap();
        client.connect();
        client
    });
    let mut readers = Vec::new();
    for client in &clients {
        readers.push(joined(client, "hall", JoinOptions::default()).await.1);
    }
    let style =
        barrage_client::Style { color: "#12AB34".into(), mode: barrage_client::Mode::Top, ..Default::default() };
    let draft = CommentDraft { style: Some(style), mentions: vec!["bob".into()], ..CommentDraft::from("弹幕 <b>") };
    let room = clients[1].room("hall");
    let said = within("the answer", room.comment(draft)).await.unwrap();
    assert!(said.created_at.ends_with('Z'), "{said:?}");
    assert_eq!(within("the refusal", room.comment(CommentDraft::default())).await.unwrap_err().code, "content_empty");
    let admin = server.admin();
    admin.post("admin/rooms/hall/announcements", json!({ "content": "hear, hear" })).await.is(201);
    admin.delete(&format!("admin/comments/{}", said.id)).await.is(204);
    server.user("bob").say("hall", "the end").await;
    for (client, items) in clients.iter().zip(&mut readers) {
        let (mut comments, mut events, mut viewers) = (Vec::new(), Vec::new(), None);
        let is_over = |comments: &[Comment], events: &[barrage_client::Event]| {
            comments.iter().any(|comment| comment.content == "the end")
                && ["announcement", "comment_deleted"].iter().all(|kind| events.iter().any(|event| event.kind == *kind))
        };
        while !is_over(&comments, &events) {
            match within("an item", items.next()).await.expect("the client lives") {
                RoomItem::Comments(batch) => comments.extend(batch.comments),
                RoomItem::Event(event) => events.push(event),
                RoomItem::Joined(joined) => viewers = Some(joined.state),
                _ => {}
            }
        }
        events.retain(|event| matches!(event.kind.as_str(), "announcement" | "comment_deleted"));
        let identity = client.identity().unwrap();
        told.push((comments, events, viewers, identity.user_id, identity.heartbeat_s));
    }
    assert_eq!(told[0].0.len(), 3);
    assert_eq!(told[0], told[1]);
    let (chat, _items) = Chat::start(&clients[1], ChatCursor::default());
    let ack = within("the answer", chat.send(&Recipient::User("bob".into()), "over Protobuf")).await.unwrap();
    assert!(!ack.server_msg_id.is_empty() && !ack.created_at.is_empty(), "{ack:?}");
    within("the edit", chat.edit(&ack.server_msg_id, "edited")).await.unwrap();
    within("the reaction", chat.react(&ack.server_msg_id, "👍", true)).await.unwrap();
}

/// Reads a chat until a message has come; the contents of all.
async fn chatted(items: &mut ChatItems, last: &str) -> Vec<String> {
    let mut contents = Vec::new();
    loop {
        if let ChatItem::Message(message) = within(last, items.next()).await.unwrap() {
            contents.push(message.content);
            if contents.last().is_some_and(|content| content == last) {
                return contents;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_once_over_outages_and_runs() {
    let mut server = server().await;
    let bob = patient(&server, "bob");
    bob.connect();
    let (chat, mut items) = Chat::start(&bob, ChatCursor::default());
    while within("the sync", items.next()).await != Some(ChatItem::Synced) {}
    let write = async |server: &Server, content: &str| {
        let message = json!({ "client_msg_id": content, "to_user": "bob", "content": content });
        server.user("ann").post("messages", message).await.expect(201)
    };
    write(&server, "live").await;
    assert_eq!(chatted(&mut items, "live").await, ["live"]);
    server.kill9().await;
    lost(&bob).await;
    server.restart().await;
    let mut last = Value::Null;
    for n in 0..120 {
        last = write(&server, &format!("missed {n}")).await;
    }
    bob.connect();
    assert_eq!(chatted(&mut items, "missed 119").await.len(), 120);
    let id = last["server_msg_id"].as_str().unwrap();
    server.user("ann").post(&format!("messages/{id}/recall"), Value::Null).await.is(200);
    loop {
        if let ChatItem::Change(change) = within("the recall", items.next()).await.unwrap() {
            assert_eq!((change.message_id.as_str(), change.status.as_str()), (id, "recalled"));
            break;
        }
    }
    let cursor = chat.cursor();
    bob.close();
    write(&server, "while the program did not run").await;
    let again = user(&server, "bob");
    let (chat, mut items) = Chat::start(&again, cursor);
    assert_eq!(chatted(&mut items, "while the program did not run").await, ["while the program did not run"]);
    let group = again.api().await.unwrap().create_group("us", &["ann"]).await.unwrap();
    let ack = within("the answer", chat.send(&Recipient::Group(group), "hello, us")).await.unwrap();
    let own = chatted(&mut items, "hello, us").await;
    assert_eq!(own, ["hello, us"], "one's own, too");
    within("the recall", chat.recall(&ack.server_msg_id)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_tls_believes_whom_it_is_told_to() {
    let certificate = Certificate::new();
    let server = Options::new(BIN)
        .config("[tls]\ncertificate_file = \"{dir}/certificate.pem\"\nkey_file = \"{dir}/key.pem\"\n")
        .file("certificate.pem", &certificate.certificate_pem)
        .file("key.pem", &certificate.key_pem)
        .start()
        .await;
    let url = format!("https://{}", server.address());
    let trusting = ClientOptions { tls: Some(Arc::new(certificate.client_config())), ..ClientOptions::new(&url) };
    let transports: [fn() -> Arc<dyn Transport>; 2] = [web_socket, event_stream];
    for transport in transports {
        let token = token_of(transport().name());
        let client = Client::new(trusting.clone().token(&token).transport(transport())).unwrap();
        client.connect();
        let ack = within("the answer", client.room("hall").comment(format!("over {}", client.transport()))).await;
        assert_eq!(ack.unwrap().status, "accepted");
    }
    let doubting = ClientOptions::new(&url).token(&token_of("ann")).transport(web_socket());
    let client = Client::new(doubting.retry(|_| Duration::from_secs(3_600))).unwrap();
    client.connect();
    lost(&client).await;
}

#[path = "../../../../examples/answer-bot/main.rs"]
#[allow(dead_code)] // Its `main`.
mod answer_bot;

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_bot_answers_also_after_the_server_died() {
    let mut server = server().await;
    let bot = user(&server, "bot");
    let answering = tokio::spawn({
        let bot = bot.clone();
        async move { answer_bot::answer(&bot, "lobby").await }
    });
    let ann = user(&server, "ann");
    let (room, mut items) = joined(&ann, "lobby", JoinOptions::default()).await;
    eventually("the bot", async || (server.admin().get("rooms/lobby").await.body["viewers"] == 2).then_some(())).await;
    within("the answer", room.comment("!hello")).await.unwrap();
    let mut read = Read::default();
    read.until(&mut items, "hello, ann!").await;
    server.kill9().await;
    lost(&ann).await;
    server.restart().await;
    // Nobody had joined when this was said.
    within("the answer", room.comment("!hello")).await.unwrap();
    read.until(&mut items, "!hello").await;
    read.until(&mut items, "hello, ann!").await;
    bot.close();
    drop(bot);
    answering.abort();
}
