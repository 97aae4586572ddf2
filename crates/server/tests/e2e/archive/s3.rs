//! The archive and the uploads in an object store that speaks S3, behind a stand-in for the network between them.
//!
//! A test without the service `s3` says so and passes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use reqwest::Method;
use testkit::{Http, Reply, eventually as soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

/// How the store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Answers,
    /// Each part of an answer comes this late.
    IsSlow(Duration),
    /// Every request fails.
    Fails,
    /// Takes requests and says nothing.
    Hangs,
    /// Ends every connection.
    IsAway,
}

/// Stands between the server and the store, and notes what is asked.
struct Between {
    address: String,
    mode: watch::Sender<Mode>,
    /// The first lines of requests.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Between {
    async fn start(store: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (mode, watched) = watch::channel(Mode::Answers);
        let (asked, store) = (Arc::default(), store.trim_start_matches("http://").to_owned());
        let noted: Arc<Mutex<Vec<String>>> = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, store.clone(), watched.clone(), noted.clone()));
            }
        });
        Self { address, mode, asked }
    }

    fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How often objects were read since the last call.
    fn reads(&self) -> usize {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let is_read = |line: &&String| line.starts_with("GET /barrage/") && !line.contains("/deployment ");
        asked.iter().filter(is_read).count()
    }
}

/// One connection. It ends when the store changes its behaviour.
async fn serve(mut client: TcpStream, store: String, mut mode: watch::Receiver<Mode>, asked: Arc<Mutex<Vec<String>>>) {
    let now = *mode.borrow_and_update();
    let work = async {
        match now {
            Mode::IsAway => {}
            Mode::Hangs => std::future::pending().await,
            Mode::Fails => {
                let mut request = [0; 65_536];
                let _ = client.read(&mut request).await;
                let answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = client.write_all(answer).await;
            }
            Mode::Answers | Mode::IsSlow(_) => {
                let Ok(store) = TcpStream::connect(store).await else { return };
                let ((mut from_client, mut to_client), (mut from_store, mut to_store)) =
                    (client.split(), store.into_split());
                let requests = async {
                    let mut part = vec![0; 65_536];
                    while let Ok(n @ 1..) = from_client.read(&mut part).await {
                        // The server sends no request before it has the answer to the last one.
                        if let Some(line) = part[..n].split(|byte| *byte == b'\r').next() {
                            asked.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
                        }
                        if to_store.write_all(&part[..n]).await.is_err() {
                            return;
                        }
                    }
                };
                let answers = async {
                    let mut part = vec![0; 65_536];
                    while let Ok(n @ 1..) = from_store.read(&mut part).await {
                        if let Mode::IsSlow(late) = now {
                            sleep(late).await;
                        }
                        if to_client.write_all(&part[..n]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! { () = requests => {}, () = answers => {} }
            }
        }
    };
    tokio::select! { () = work => {}, _ = mode.changed() => {} }
}

/// A server over a store, what is between them, and the store.
struct World {
    server: Server,
    between: Between,
    bucket: Http,
    prefix: String,
}

impl World {
    /// `None` without the service.
    async fn start() -> Option<Self> {
        let store = testkit::service("BARRAGE_TEST_S3")?;
        let between = Between::start(&store).await;
        let prefix = format!("{:016x}", std::process::id() as u128 ^ now_ns());
        let archive = format!("[archive]\nurl = \"s3://barrage/{prefix}/\"\nafter_days = 0\n");
        // A reader who rests is not dropped by the server, so what drops it would be the store.
        let patience = "[sockets]\nslow_patience_s = 60\n";
        let server = Options::new(BIN)
            .config(&format!("{NO_LIMITS}{archive}{patience}"))
            .env("AWS_ENDPOINT_URL", &format!("http://{}", between.address))
            .env("AWS_ACCESS_KEY_ID", "any")
            .env("AWS_SECRET_ACCESS_KEY", "any")
            .env("AWS_REGION", "eu-central-1");
        // The store checks no signature, but keeps strangers from changing what is there.
        Some(Self { server: server.start().await, between, bucket: Http::new(&store, Some("any")), prefix })
    }

    /// The names of this server's objects, the marker apart.
    async fn names(&self, within: &str) -> BTreeSet<String> {
        let path = format!("/barrage?list-type=2&prefix={}/{within}", self.prefix);
        let listed = self.bucket.get(&path).await.text;
        let keys = listed.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        keys.map(|(key, _)| key.to_owned()).filter(|key| !key.ends_with("/deployment")).collect()
    }

    /// The names of segments.
    async fn segments(&self) -> BTreeSet<String> {
        let names = self.names("").await;
        names.into_iter().filter(|name| !name.contains("/uploads/")).collect()
    }

    async fn object(&self, name: &str) -> Vec<u8> {
        let request = self.bucket.request(Method::GET, &format!("/barrage/{name}"));
        request.send().await.unwrap().bytes().await.unwrap().to_vec()
    }

    async fn put(&self, name: &str, bytes: Option<Vec<u8>>) {
        let path = format!("/barrage/{name}");
        let request = match bytes {
            Some(bytes) => self.bucket.request(Method::PUT, &path).body(bytes),
            None => self.bucket.request(Method::DELETE, &path),
        };
        assert!(request.send().await.unwrap().status().is_success());
    }
}

fn now_ns() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

#[tokio::test]
async fn sessions_move_to_s3_and_are_read_with_one_get_a_segment() {
    let Some(mut world) = World::start().await else { return };
    let session = import(&world.server, &[1, 2, 400, 401, 900]).await;
    let whole = format!("session_id={session}");
    archived(&world.server, &session).await;
    eventually("an empty database", async || (rows(&world.server) == 0).then_some(())).await;
    let before = world.segments().await;
    assert_eq!(before.len(), 3, "{before:?}");
    let all = replay(&world.server, &whole).await;
    assert_eq!(contents(&all["comments"]), ["a 在 1", "b 在 2", "c 在 400", "a 在 401", "b 在 900"]);

    // From the objects alone: nothing is in memory.
    world.server.restart().await;
    world.between.reads();
    let minute = replay(&world.server, &format!("{whole}&from_ms=400000&to_ms=460000")).await;
    assert_eq!(contents(&minute["comments"]), ["c 在 400", "a 在 401"]);
    assert_eq!(world.between.reads(), 1, "one GET for a minute");
    assert_eq!(replay(&world.server, &whole).await, all);
    assert_eq!(world.between.reads(), 2, "and one for each other segment");
    world.server.restart().await;
    let url = manifest(&world.server, &session).await["segments"][0]["url"].as_str().unwrap().to_owned();
    world.between.reads();
    let (status, headers, body) = segment(&world.server, &url, STORED, "br").await;
    assert_eq!((status, &headers["content-encoding"]), (200, &"br".parse().unwrap()));
    assert_eq!(world.between.reads(), 1);
    let mut same = 0;
    for name in &before {
        same += usize::from(world.object(name).await == body);
    }
    assert_eq!(same, 1, "the object's own bytes");

    // A deletion is a new revision; the old object goes.
    let last = all["comments"][4]["id"].as_str().unwrap();
    world.server.admin().delete(&format!("admin/comments/{last}")).await.is(204);
    assert_eq!(replay(&world.server, &whole).await["comments"].as_array().map(Vec::len), Some(4));
    eventually("the object's end", async || (world.segments().await.len() == 2).then_some(())).await;
    let ban = json!({ "user_id": "a", "room_id": "film", "duration_s": 60, "kind": "ban", "purge": true });
    world.server.admin().post("admin/bans", ban).await.is(201);
    eventually("objects without the purged user", async || {
        let names = world.segments().await;
        (names.len() == 2 && names.is_disjoint(&before)).then_some(())
    })
    .await;
    let left = replay(&world.server, &whole).await;
    assert_eq!(contents(&left["comments"]), ["b 在 2", "c 在 400"]);
    world.server.restart().await;
    assert_eq!(replay(&world.server, &whole).await, left);
}

#[tokio::test]
async fn a_damaged_object_in_s3_is_never_served_and_verify_names_it() {
    let Some(mut world) = World::start().await else { return };
    let session = import(&world.server, &[1, 2, 400]).await;
    archived(&world.server, &session).await;
    let whole = format!("rooms/film/replay?session_id={session}");
    let names: Vec<_> = world.segments().await.into_iter().collect();
    let (first, other) = (world.object(&names[0]).await, world.object(&names[1]).await);
    let mut changed = first.clone();
    changed[first.len() / 2] ^= 1;
    for (what, bytes) in [
        ("a changed byte", Some(changed)),
        ("a cut", Some(first[..first.len() - 3].to_vec())),
        ("another segment", Some(other)),
        ("a missing object", None),
    ] {
        world.put(&names[0], bytes).await;
        world.server.restart().await;
        world.server.user("reader").get(&whole).await.fails(503, "unavailable");
        let found = world.server.command(&["archive", "verify", "--server", &world.server.url()]).await;
        let out = String::from_utf8_lossy(&found.stdout).into_owned();
        assert_eq!(found.status.code(), Some(1), "{what}: {out}");
        assert!(out.lines().any(|line| line.contains(&session)), "{what}: {out}");
    }
    world.put(&names[0], Some(first)).await;
    let all = world.server.user("reader").get(&whole).await.expect(200);
    assert_eq!(all["comments"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_store_that_fails_hangs_or_is_away_stops_only_what_needs_it() {
    let Some(mut world) = World::start().await else { return };
    let session = import(&world.server, &[1, 2, 400]).await;
    archived(&world.server, &session).await;
    let whole = format!("rooms/film/replay?session_id={session}");
    for (n, mode) in [Mode::Fails, Mode::Hangs, Mode::IsAway].into_iter().enumerate() {
        world.between.set(mode);
        world.server.restart().await;
        world.server.user("reader").get(&whole).await.fails(503, "unavailable");
        world.server.user("ann").say("hall", &format!("still here {n}")).await;
        let ready = soon("a degraded state", async || {
            let answer = world.server.http().get("/readyz").await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            (answer.body["status"] == "degraded").then_some(answer.body)
        })
        .await;
        assert_eq!(ready["dependencies"]["archive"]["state"], "away", "{mode:?}: {ready}");
        // A session that should be archived waits, and is replayed from the database.
        let waiting = import(&world.server, &[7]).await;
        assert_eq!(contents(&replay(&world.server, &format!("session_id={waiting}")).await["comments"]), ["a 在 7"]);
        world.between.set(Mode::Answers);
        archived(&world.server, &waiting).await;
        let all = soon("the replay", async || {
            let answer = world.server.user("reader").get(&whole).await;
            (answer.status == 200).then_some(answer.body)
        })
        .await;
        assert_eq!(all["comments"].as_array().map(Vec::len), Some(3), "{mode:?}");
    }
    world.between.set(Mode::IsSlow(Duration::from_millis(700)));
    world.server.restart().await;
    let all = world.server.user("reader").get(&whole).await.expect(200);
    assert_eq!(all["comments"].as_array().map(Vec::len), Some(3), "slow is not away");
    let late = import(&world.server, &[9]).await;
    archived(&world.server, &late).await;
}

async fn announce(who: &Http, msg_type: &str, content_type: &str, size: usize) -> Value {
    let draft = json!({ "msg_type": msg_type, "content_type": content_type, "size_bytes": size, "name": "a file" });
    who.post("uploads", draft).await.expect(201)
}

async fn bring(server: &Server, upload: &Value, content_type: &str, bytes: &[u8]) -> Reply {
    let request = server.http().request(Method::PUT, upload["put_url"].as_str().unwrap());
    Reply::of(request.header("content-type", content_type).body(bytes.to_vec())).await
}

#[tokio::test]
async fn uploads_lie_in_the_same_store_and_an_erasure_reaches_them() {
    let Some(mut world) = World::start().await else { return };
    const PNG: &[u8] = b"\x89PNG not really, but nobody looks";
    let big: Vec<u8> = (0..12_000_000u32).map(|n| (n % 251) as u8).collect();
    let ann = world.server.user("ann");
    let uploads = [("image", "image/png", PNG.to_vec()), ("file", "application/zip", big)].into_iter().enumerate();
    let mut links = Vec::new();
    let mut messages = Vec::new();
    for (n, (msg_type, content_type, bytes)) in uploads {
        let upload = announce(&ann, msg_type, content_type, bytes.len()).await;
        // One byte too few leaves nothing in the store.
        bring(&world.server, &upload, content_type, &bytes[1..]).await.fails(400, "invalid_request");
        assert_eq!(world.names("uploads/").await.len(), n);
        bring(&world.server, &upload, content_type, &bytes).await.is(201);
        assert_eq!(world.names("uploads/").await.len(), n + 1, "{msg_type}");
        let id = upload["upload_id"].as_str().unwrap();
        let message = json!({ "client_msg_id": id, "to_user": "bob", "msg_type": msg_type, "content": id });
        let sent = ann.post("messages", message).await.expect(201);
        messages.push(sent["server_msg_id"].as_str().unwrap().to_owned());
        links.push((id.to_owned(), bytes));
    }
    world.server.kill9().await;
    world.server.restart().await;
    let (ann, bob) = (world.server.user("ann"), world.server.user("bob"));
    let mut urls = Vec::new();
    for (id, bytes) in &links {
        let url = bob.get(&format!("uploads/{id}")).await.expect(200)["url"].as_str().unwrap().to_owned();
        let read = world.server.http().request(Method::GET, &url).send().await.unwrap();
        assert!(read.bytes().await.unwrap() == *bytes, "the same bytes");
        let part = world.server.http().request(Method::GET, &url).header("range", "bytes=2-9").send().await.unwrap();
        assert_eq!((part.status().as_u16(), &*part.bytes().await.unwrap()), (206, &bytes[2..10]));
        urls.push(url);
    }
    // A reader who takes longer than one request to the store may last gets it all.
    let mut slow = world.server.http().request(Method::GET, &urls[1]).send().await.unwrap();
    let mut came = slow.chunk().await.unwrap().map_or(0, |part| part.len());
    sleep(Duration::from_secs(10)).await;
    while let Some(part) = slow.chunk().await.unwrap() {
        came += part.len();
    }
    assert_eq!(came, links[1].1.len());

    // A recall ends the link; an erasure removes the bytes.
    ann.delete(&format!("messages/{}", messages[0])).await.is(200);
    world.server.http().get(&urls[0]).await.fails(404, "not_found");
    world.server.http().get(&urls[1]).await.is(200);
    world.server.admin().delete("admin/users/ann/data").await.is(202);
    eventually("the bytes' end", async || world.names("uploads/").await.is_empty().then_some(())).await;
    world.server.http().get(&urls[1]).await.fails(404, "not_found");

    // Without the store nothing is acknowledged, and comments do not notice.
    world.between.set(Mode::IsAway);
    let upload = announce(&bob, "image", "image/png", PNG.len()).await;
    bring(&world.server, &upload, "image/png", PNG).await.fails(503, "unavailable");
    bob.say("hall", "still here").await;
    world.between.set(Mode::Answers);
    bring(&world.server, &upload, "image/png", PNG).await.is(201);
    assert_eq!(world.names("uploads/").await.len(), 1);
}
