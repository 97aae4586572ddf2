//! Twitch's dialect of IRC, over TCP and WebSocket.

use std::collections::HashMap;

use serde_json::json;
use testkit::{Options, PATIENCE, Server, eventually};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::{Socket, port_of, token_of, with_doors};
use crate::{BIN, NO_LIMITS};

/// A client over TCP.
pub struct Client {
    stream: BufReader<TcpStream>,
    heard: Vec<String>,
}

/// A server whose IRC door listens on a free port of its own, and that port.
async fn server(more: &str) -> (Server, u16) {
    let server = with_doors(&format!("[doors.irc]\nlisten = \"127.0.0.1:0\"\n{more}")).await;
    let port = port_of(&server, "irc").await;
    (server, port)
}

impl Client {
    async fn connect(port: u16) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap()), heard: Vec::new() }
    }

    /// One who has said who it is, with all capabilities.
    pub async fn login(port: u16, token: &str) -> Self {
        let mut client = Self::connect(port).await;
        client.send("CAP REQ :twitch.tv/tags twitch.tv/commands twitch.tv/membership").await;
        client.send(&format!("PASS oauth:{token}")).await;
        client.send("NICK whatever").await;
        client.wait_for(" 376 ").await;
        client
    }

    /// One without an identity.
    async fn anonymous(port: u16) -> Self {
        let mut client = Self::connect(port).await;
        client.send("CAP REQ :twitch.tv/tags twitch.tv/commands").await;
        client.send("PASS SCHMOOPIIE\r\nNICK justinfan77").await;
        client.wait_for(" 376 ").await;
        client
    }

    pub async fn join(&mut self, room: &str) {
        self.send(&format!("JOIN #{room}")).await;
        self.wait_for(" ROOMSTATE ").await;
    }

    pub async fn send(&mut self, line: &str) {
        self.bytes(format!("{line}\r\n").as_bytes()).await;
    }

    async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    /// The next line with this in it; those before it are dropped.
    pub async fn wait_for(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.stream.read_line(&mut line)).await;
            let read = read.unwrap_or_else(|_| panic!("no {part:?} after {:?}", self.heard)).unwrap();
            assert!(read > 0, "ended before {part:?}: {:?}", self.heard);
            let line = line.trim_end_matches("\r\n").to_owned();
            self.heard.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Everything until the server hangs up.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("an end").unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// The tags of a line.
fn tags(line: &str) -> HashMap<&str, &str> {
    let tags = line.strip_prefix('@').and_then(|line| line.split_once(' ')).map_or("", |(tags, _)| tags);
    tags.split(';').filter_map(|tag| tag.split_once('=')).collect()
}

#[tokio::test]
async fn a_client_reads_and_writes() {
    let (server, port) = server("").await;
    let mut ann = Client::login(port, &token_of("Ann.B", "vip", None)).await;
    assert!(
        ann.heard
            .iter()
            .any(|line| line == ":tmi.twitch.tv CAP * ACK :twitch.tv/tags twitch.tv/commands twitch.tv/membership")
    );
    assert!(ann.heard.iter().any(|line| line.contains(" 004 ann_b tmi.twitch.tv ")), "{:?}", ann.heard);
    ann.join("lobby").await;
    let joined: Vec<&str> = ann.heard.iter().map(String::as_str).skip_while(|line| !line.contains(" JOIN ")).collect();
    assert_eq!(joined[0], ":ann_b!ann_b@ann_b.tmi.twitch.tv JOIN #lobby");
    let order = [" JOIN ", " 353 ", " 366 ", " USERSTATE ", " ROOMSTATE "];
    assert!(joined.iter().zip(order).all(|(line, part)| line.contains(part)), "{joined:?}");

    let mut bob = server.viewer("bob", "lobby").await;
    bob.send(json!({ "type": "comment", "content": "hello; from a socket", "style": { "color": "#FF0000" } })).await;
    let line = ann.wait_for(" PRIVMSG ").await;
    assert!(line.ends_with(":bob!bob@bob.tmi.twitch.tv PRIVMSG #lobby :hello; from a socket"), "{line}");
    let tags = tags(&line);
    assert_eq!(
        (tags["user-id"], tags["display-name"], tags["color"], tags["room-id"]),
        ("bob", "bob", "#FF0000", "lobby")
    );

    ann.send("@client-nonce=abc PRIVMSG #lobby :. /me says hi").await;
    let state = ann.wait_for(" USERSTATE ").await;
    assert!(state.contains("client-nonce=abc") && state.contains("badges=vip/1"), "{state}");
    let given = bob.given_when("ann's", |given| given.iter().find(|c| c["user_id"] == "Ann.B").cloned()).await;
    assert_eq!((&given["content"], &given["level"]), (&json!("/me says hi"), &json!("vip")));

    // What she said does not come back; what she says elsewhere does.
    server.bearing(&token_of("Ann.B", "vip", None)).say("lobby", "from my phone").await;
    let line = ann.wait_for(" PRIVMSG ").await;
    assert!(line.ends_with("PRIVMSG #lobby :from my phone"), "{line}");
}

#[tokio::test]
async fn pings_and_the_usual_commands_are_answered() {
    let (_server, port) = server("").await;
    let mut ann = Client::login(port, &token_of("ann", "normal", None)).await;
    ann.send("PING :once upon a time").await;
    assert_eq!(ann.wait_for("PONG").await, "PONG :once upon a time");
    ann.send("PING").await;
    assert!(ann.wait_for("PONG").await.starts_with("PONG"));
    for (sent, answered) in [
        ("WHO #lobby", " 315 ann #lobby "),
        ("WHOIS bob", " 318 ann bob "),
        ("MODE #lobby", " 324 ann #lobby +nt"),
        ("NONSENSE x", " 421 ann NONSENSE "),
        ("NICK other", " 432 ann other "),
        ("JOIN lobby", " 403 ann lobby "),
        ("PART #lobby", " 442 ann #lobby "),
        ("PRIVMSG bob :hi", " 401 ann bob "),
        ("CAP LIST", "CAP ann LIST :twitch.tv/commands twitch.tv/membership twitch.tv/tags"),
        ("CAP REQ :twitch.tv/tags sasl", "CAP ann NAK "),
    ] {
        ann.send(sent).await;
        ann.wait_for(answered).await;
    }
    ann.send("QUIT").await;
    assert!(ann.rest().await.contains("ERROR :Bye"));
}

#[tokio::test]
async fn the_welcome_waits_for_the_end_of_negotiation() {
    let (_server, port) = server("").await;
    let mut client = Client::connect(port).await;
    client.send("CAP LS 302\r\nNICK justinfan1\r\nUSER x 0 * :x\r\nJOIN #lobby").await;
    let listed = client.wait_for("CAP * LS").await;
    assert!(listed.contains("twitch.tv/commands") && listed.contains("twitch.tv/tags"), "{listed}");
    // Whoever is not registered joins nothing.
    client.wait_for(" 451 ").await;
    client.send("CAP REQ :twitch.tv/commands\r\nCAP END").await;
    client.wait_for(" 001 justinfan1 ").await;
    client.join("lobby").await;
    assert!(!client.heard.iter().any(|line| line.contains("USERSTATE")), "an anonymous reader has no state");
}

#[tokio::test]
async fn who_has_no_valid_token_is_refused() {
    let (server, port) = server("").await;
    for login in [
        "NICK ann".to_owned(),
        "PASS oauth:no.valid.token\r\nNICK ann".to_owned(),
        "PASS oauth:abcdef\r\nNICK ann".to_owned(),
        format!("PASS oauth:{}x\r\nNICK ann", token_of("ann", "normal", None)),
    ] {
        let mut client = Client::connect(port).await;
        client.send(&login).await;
        client.wait_for("NOTICE * :Login authentication failed").await;
        client.rest().await;
    }
    // In hexadecimal, because the client changes its case.
    let token: String = token_of("ann", "normal", None).bytes().map(|byte| format!("{byte:02X}")).collect();
    Client::login(port, &token).await;
    server.admin().post("admin/bans", json!({ "user_id": "ann", "duration_s": 60, "kind": "ban" })).await.is(201);
    let mut banned = Client::connect(port).await;
    banned.send(&format!("PASS oauth:{}\r\nNICK ann", token_of("ann", "normal", None))).await;
    banned.wait_for("Login authentication failed").await;
}

#[tokio::test]
async fn rules_answer_with_notices() {
    let (server, port) = server("").await;
    let admin = server.admin();
    admin.put("admin/words", json!({ "mask": ["darn"], "review": ["hmm"], "block": ["spam"] })).await.is(200);
    let mut bob = server.viewer("bob", "lobby").await;
    let mut ann = Client::login(port, &token_of("ann", "normal", None)).await;
    ann.join("lobby").await;
    ann.send("PRIVMSG #lobby :darn it").await;
    bob.given_when("the masked one", |given| given.iter().any(|c| c["content"] == "**** it").then_some(())).await;
    for (text, id) in [("buy spam", "msg_rejected_mandatory"), ("hmm", "msg_rejected"), ("", "msg_rejected_mandatory")]
    {
        ann.send(&format!("PRIVMSG #lobby :{text}")).await;
        let notice = ann.wait_for("NOTICE #lobby").await;
        assert_eq!(tags(&notice)["msg-id"], id, "{notice}");
    }
    admin.put("admin/rooms/lobby", json!({ "slow_mode_s": 60 })).await.is(200);
    let state = ann.wait_for(" ROOMSTATE ").await;
    assert_eq!(tags(&state)["slow"], "60");
    ann.send("PRIVMSG #lobby :one").await;
    ann.send("PRIVMSG #lobby :two").await;
    assert_eq!(tags(&ann.wait_for("NOTICE #lobby").await)["msg-id"], "msg_ratelimit");
    admin
        .post("admin/bans", json!({ "user_id": "ann", "room_id": "lobby", "duration_s": 60, "kind": "mute" }))
        .await
        .is(201);
    assert!(ann.wait_for("CLEARCHAT #lobby :ann").await.contains("ban-duration=60"));
    ann.send("PRIVMSG #lobby :three").await;
    assert_eq!(tags(&ann.wait_for("NOTICE #lobby").await)["msg-id"], "msg_timedout");
    let mut reader = Client::anonymous(port).await;
    reader.join("lobby").await;
    reader.send("PRIVMSG #lobby :me too").await;
    assert_eq!(tags(&reader.wait_for("NOTICE #lobby").await)["msg-id"], "no_permission");
}

#[tokio::test]
async fn the_same_text_again_is_a_duplicate() {
    let config = "[doors.irc]\nlisten = \"127.0.0.1:0\"\n[limits]\nnormal_per_s = 100\n";
    let server = Options::new(BIN).config(config).start().await;
    let port = port_of(&server, "irc").await;
    let mut ann = Client::login(port, &token_of("ann", "normal", None)).await;
    for _ in 0..2 {
        ann.send("PRIVMSG #lobby :again").await;
    }
    assert_eq!(tags(&ann.wait_for("NOTICE #lobby").await)["msg-id"], "msg_duplicate");
}

#[tokio::test]
async fn everybody_sees_bans_deletions_gifts_and_announcements() {
    let (server, port) = server("").await;
    let admin = server.admin();
    let mut reader = Client::anonymous(port).await;
    reader.join("lobby").await;
    let id = server.user("bob").say("lobby", "delete me").await;
    let said = reader.wait_for("delete me").await;
    assert_eq!(tags(&said)["id"], id);
    admin.delete(&format!("admin/comments/{id}")).await.is(204);
    let deleted = reader.wait_for("CLEARMSG #lobby").await;
    assert!(deleted.ends_with(" CLEARMSG #lobby :delete me"), "{deleted}");
    assert_eq!((tags(&deleted)["login"], tags(&deleted)["target-msg-id"]), ("bob", id.as_str()));
    admin.post("admin/rooms/lobby/announcements", json!({ "content": "doors open at 8" })).await.is(201);
    let announced = reader.wait_for("USERNOTICE #lobby").await;
    assert!(tags(&announced)["msg-id"] == "announcement" && announced.ends_with(":doors open at 8"), "{announced}");
    let gift = json!({ "gift": "rocket", "user_id": "bob", "username": "Bob", "count": 3, "value": 30 });
    admin.post("admin/rooms/lobby/gifts", gift).await.is(201);
    let gift = reader.wait_for("USERNOTICE #lobby").await;
    assert_eq!((tags(&gift)["msg-id"], tags(&gift)["msg-param-count"]), ("gift", "3"));
    admin
        .post("admin/bans", json!({ "user_id": "bob", "room_id": "lobby", "duration_s": 90, "kind": "ban" }))
        .await
        .is(201);
    let banned = reader.wait_for("CLEARCHAT #lobby :bob").await;
    assert_eq!((tags(&banned)["ban-duration"], tags(&banned)["target-user-id"]), ("90", "bob"));
}

#[tokio::test]
async fn who_is_banned_from_a_room_parts_and_comes_in_no_more() {
    let (server, port) = server("").await;
    let mut ann = Client::login(port, &token_of("ann", "normal", None)).await;
    ann.join("lobby").await;
    ann.join("attic").await;
    let ban = json!({ "user_id": "ann", "room_id": "lobby", "duration_s": 60, "kind": "ban" });
    server.admin().post("admin/bans", ban).await.is(201);
    assert_eq!(tags(&ann.wait_for("NOTICE #lobby").await)["msg-id"], "msg_banned");
    ann.wait_for("PART #lobby").await;
    ann.send("JOIN #lobby").await;
    assert_eq!(tags(&ann.wait_for("NOTICE #lobby").await)["msg-id"], "msg_banned");
    server.user("bob").say("attic", "still here?").await;
    ann.wait_for("still here?").await;
    server.admin().put("admin/rooms/attic", json!({ "enabled": false })).await.is(200);
    assert_eq!(tags(&ann.wait_for("NOTICE #attic").await)["msg-id"], "msg_channel_suspended");
    server.admin().post("admin/bans", json!({ "user_id": "ann", "duration_s": 60, "kind": "ban" })).await.is(201);
    assert!(ann.rest().await.contains("ERROR :you are banned"));
}

#[tokio::test]
async fn moderators_type_commands() {
    let (server, port) = server("").await;
    let mut mo = Client::login(port, &token_of("mo", "moderator", Some(&["lobby"]))).await;
    mo.join("lobby").await;
    let mut bob = server.viewer("Bob-1", "lobby").await;
    let id = server.user("Bob-1").say("lobby", "something rude").await;
    mo.wait_for("something rude").await;
    for (typed, id) in [
        (format!("/delete {id}"), "delete_message_success"),
        ("/timeout bob_1 30 be nice".to_owned(), "timeout_success"),
        ("/untimeout bob_1".to_owned(), "untimeout_success"),
        ("/slow 5".to_owned(), "slow_on"),
        (".slowoff".to_owned(), "slow_off"),
        ("/ban Bob-1".to_owned(), "ban_success"),
        ("/unban Bob-1".to_owned(), "unban_success"),
        ("/unban Bob-1".to_owned(), "bad_unban_no_ban"),
        ("/timeout bob_1 soon".to_owned(), "usage_error"),
        ("/delete 5".to_owned(), "bad_delete_message_error"),
        ("/dance".to_owned(), "unrecognized_cmd"),
    ] {
        mo.send(&format!("PRIVMSG #lobby :{typed}")).await;
        let notice = mo.wait_for("NOTICE #lobby").await;
        assert_eq!(tags(&notice)["msg-id"], id, "{typed}: {notice}");
    }
    bob.wait_for("room_left").await;
    let mut ann = Client::login(port, &token_of("ann", "normal", None)).await;
    ann.send("PRIVMSG #lobby :/ban mo").await;
    assert_eq!(tags(&ann.wait_for("NOTICE #lobby").await)["msg-id"], "no_permission");
}

#[tokio::test]
async fn private_rooms_open_to_who_is_named_in_a_token() {
    let (server, port) = server("").await;
    server.admin().put("admin/rooms/secret", json!({ "private": true })).await.is(200);
    let mut reader = Client::anonymous(port).await;
    reader.send("JOIN #secret").await;
    assert_eq!(tags(&reader.wait_for("NOTICE #secret").await)["msg-id"], "no_permission");
    let mut ann = Client::login(port, &token_of("ann", "normal", Some(&["secret"]))).await;
    ann.join("secret").await;
}

#[tokio::test]
async fn floods_half_lines_and_garbage_end_nothing_but_themselves() {
    let (server, port) = server("[sockets]\nlogin_s = 2\n").await;
    let mut ann = Client::login(port, &token_of("ann", "normal", None)).await;
    ann.join("lobby").await;
    // A line without an end is refused once, and then skipped.
    ann.bytes(&vec![b'x'; 20_000]).await;
    ann.wait_for(" 417 ").await;
    ann.bytes(b"\nPRIVMSG #lobby :with\0nul\r\n@a=b\rc PRIVMSG #lobby :with cr\r\nPRIVMSG #lobby :\xff\xfe\r\n").await;
    ann.send("PING :still here").await;
    ann.wait_for("PONG :still here").await;
    let mut bob = server.viewer("bob", "lobby").await;
    ann.send("PRIVMSG #lobby :<script>alert(1)</script> \u{1}\u{7}\u{202e}x").await;
    let given = bob.given_when("the text", |given| given.last().cloned()).await;
    assert!(given["content"].as_str().unwrap().starts_with("<script>alert(1)</script>"), "{given}");
    for bad in [b"\x80\x80\n".as_slice(), b"\0\n", b"@\n", b": \n"] {
        let mut rude = Client::connect(port).await;
        for _ in 0..20 {
            rude.bytes(bad).await;
        }
        assert!(rude.rest().await.contains("ERROR"), "{bad:?}");
    }
    // Nobody stays without saying who they are.
    let mut silent = Client::connect(port).await;
    assert!(silent.rest().await.contains("Login timed out"));
    ann.send("PING :unharmed").await;
    ann.wait_for("PONG :unharmed").await;
    assert!(server.http().metric("barrage_parse_errors_total{reason=\"line_garbled\"}").await >= 3.0);
}

#[tokio::test]
async fn who_never_reads_is_closed_and_others_are_not_kept() {
    let config = format!(
        "[doors.irc]\nlisten = \"127.0.0.1:0\"\n[auth]\nanonymous_read = true\n\
         [sockets]\nbacklog_bytes_max = 16384\nslow_patience_s = 1\n{NO_LIMITS}"
    );
    let server = Options::new(BIN).config(&config).env("BARRAGE__LIMITS__COMMENT_CHARS_MAX", "2000").start().await;
    let port = port_of(&server, "irc").await;
    let mut deaf = Client::anonymous(port).await;
    deaf.join("lobby").await;
    let mut ann = Client::anonymous(port).await;
    ann.join("lobby").await;
    let connections = "barrage_connections{door=\"irc\"}";
    assert!((server.http().metric(connections).await - 2.0).abs() < f64::EPSILON);
    let long = "长".repeat(1_900);
    let speaker = server.user("bob");
    let mut n = 0;
    eventually("the deaf one to be closed", async || {
        for _ in 0..50 {
            n += 1;
            speaker.say("lobby", &format!("{n} {long}")).await;
            ann.wait_for(" PRIVMSG ").await;
        }
        (server.http().metric(connections).await < 1.5).then_some(())
    })
    .await;
    drop(deaf);
}

#[tokio::test]
async fn the_same_over_websocket() {
    let (server, _) = server("").await;
    for (path, headers) in [("/irc", [].as_slice()), ("/", &[("sec-websocket-protocol", "irc")])] {
        let mut socket = Socket::open(&server, path, headers).await.expect("an upgrade");
        socket.send(Message::text("CAP REQ :twitch.tv/tags\r\nPASS oauth:\r\nNICK justinfan5\r\nJOIN #lobby")).await;
        let mut heard = String::new();
        while !heard.contains(" 366 ") {
            heard.push_str(socket.next().await.to_text().unwrap());
        }
        server.user("bob").say("lobby", "hi there").await;
        while !heard.contains("hi there") {
            heard.push_str(socket.next().await.to_text().unwrap());
        }
    }
    // Other sites' pages are refused as at /ws, and so is a plain request.
    let evil = Socket::open(&server, "/irc", &[("origin", "https://evil.example")]).await;
    assert_eq!(evil.err(), Some(403));
    assert_eq!(server.http().get("/irc").await.status, 426);
    assert_eq!(server.http().get("/").await.status, 200, "the pages stay");
}

#[tokio::test]
async fn a_drain_asks_clients_to_come_back() {
    let (mut server, port) = server("").await;
    let mut ann = Client::anonymous(port).await;
    let mut socket = Socket::open(&server, "/irc", &[]).await.expect("an upgrade");
    socket.send(Message::text("CAP REQ :twitch.tv/commands\r\nNICK justinfan5")).await;
    let mut heard = String::new();
    while !heard.contains(" 376 ") {
        heard.push_str(socket.next().await.to_text().unwrap());
    }
    let ended = tokio::spawn(async move { server.terminate().await });
    assert!(ann.rest().await.contains(":tmi.twitch.tv RECONNECT"));
    let (code, delay) = socket.closed().await;
    assert_eq!(code, 1012);
    assert!(delay.parse::<u64>().is_ok(), "{delay}");
    let ended = ended.await.unwrap();
    assert!(ended.status.success() && ended.took.as_secs() < 10, "{ended:?}");
}

#[tokio::test]
async fn a_door_that_is_off_is_not_there() {
    let server = with_doors("").await;
    assert_eq!(Socket::open(&server, "/irc", &[]).await.err(), Some(404));
    assert_eq!(Socket::open(&server, "/sub", &[]).await.err(), Some(404));
    assert_eq!(Socket::open(&server, "/app/k?protocol=7", &[]).await.err(), Some(404));
}

#[tokio::test]
async fn a_development_server_believes_the_nick() {
    let server = Options::new(BIN).dev().config("[doors.irc]\nlisten = \"\"\n").start().await;
    let mut socket = Socket::open(&server, "/irc", &[]).await.expect("an upgrade");
    socket.send(Message::text("NICK Ann\r\nPRIVMSG #lobby :hello\r\n")).await;
    let comments = eventually("her comment", async || {
        let page = server.http().get("rooms/lobby/comments?user_id=bob").await.body;
        page["comments"].as_array().filter(|comments| !comments.is_empty()).cloned()
    })
    .await;
    assert_eq!((&comments[0]["user_id"], &comments[0]["content"]), (&json!("Ann"), &json!("hello")));
}
