//! Uploads: announced, brought, sent, read by those who may.

use reqwest::{Method, header};
use serde_json::{Value, json};
use testkit::{Http, Reply, Server};

use crate::server;

const PNG: &[u8] = b"\x89PNG not really, but nobody looks";

async fn announce(http: &Http, msg_type: &str, content_type: &str, size: usize) -> Value {
    let draft = json!({ "msg_type": msg_type, "content_type": content_type, "size_bytes": size, "name": "夏.png" });
    http.post("uploads", draft).await.expect(201)
}

async fn bring(server: &Server, upload: &Value, content_type: &str, bytes: &[u8]) -> Reply {
    let request = server.http().request(Method::PUT, upload["put_url"].as_str().unwrap());
    Reply::of(request.header(header::CONTENT_TYPE, content_type).body(bytes.to_vec())).await
}

async fn send(http: &Http, id: &str, to: &str, msg_type: &str, upload: &Value) -> Reply {
    let content = upload["upload_id"].as_str().unwrap();
    http.post("messages", json!({ "client_msg_id": id, "to_user": to, "msg_type": msg_type, "content": content })).await
}

#[tokio::test]
async fn a_picture_reaches_the_other_and_no_one_else() {
    let server = server().await;
    let (alice, bob, eve) = (server.user("alice"), server.user("bob"), server.user("eve"));
    let upload = announce(&alice, "image", "image/png", PNG.len()).await;
    let path = format!("uploads/{}", upload["upload_id"].as_str().unwrap());
    send(&alice, "early", "bob", "image", &upload).await.fails(400, "invalid_request");
    alice.get(&path).await.fails(404, "not_found");
    bring(&server, &upload, "image/png", PNG).await.is(201);
    bring(&server, &upload, "image/png", PNG).await.is(201);
    bob.get(&path).await.fails(404, "not_found");
    send(&bob, "stolen", "eve", "image", &upload).await.fails(400, "invalid_request");
    send(&alice, "other", "bob", "video", &upload).await.fails(400, "invalid_request");
    let sent = send(&alice, "m", "bob", "image", &upload).await.expect(201);

    let shown = bob.get(&path).await.expect(200);
    assert_eq!((&shown["size_bytes"], &shown["name"]), (&json!(PNG.len()), &json!("夏.png")));
    eve.get(&path).await.fails(404, "not_found");
    let url = shown["url"].as_str().unwrap();
    let read = server.http().get(url).await;
    assert_eq!((read.status, read.header("content-type")), (200, Some("image/png")));
    assert_eq!(read.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(read.header("content-disposition"), Some("inline; filename*=UTF-8''%E5%A4%8F.png"));
    assert!(read.header("content-security-policy").unwrap().contains("sandbox"));
    let part = Reply::of(server.http().request(Method::GET, url).header(header::RANGE, "bytes=1-3")).await;
    assert_eq!((part.status, &*part.text, part.header("content-range")), (206, "PNG", Some("bytes 1-3/33")));
    let beyond = Reply::of(server.http().request(Method::GET, url).header(header::RANGE, "bytes=99-")).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */33")));

    let forged = url.replace("expires=", "expires=9");
    server.http().get(&forged).await.fails(403, "forbidden");
    let put =
        Reply::of(server.http().request(Method::PUT, url).header(header::CONTENT_TYPE, "image/png").body("x")).await;
    put.fails(403, "forbidden");

    let message = sent["server_msg_id"].as_str().unwrap();
    alice.delete(&format!("messages/{message}")).await.is(200);
    bob.get(&path).await.fails(404, "not_found");
    alice.get(&path).await.fails(404, "not_found");
}

#[tokio::test]
async fn a_files_name_is_cleaned_as_a_text_is() {
    let server = server().await;
    server.admin().put("admin/words", json!({ "block": ["darn"], "mask": ["heck"] })).await.is(200);
    let alice = server.user("alice");
    for (name, shown, disposition) in [
        // Shown as "bill-exe.pdf" where the override works.
        ("bill-\u{202e}fdp.exe", json!("bill-fdp.exe"), "attachment; filename*=UTF-8''bill-fdp.exe"),
        (
            "a\r\nSet-Cookie: b\0.txt",
            json!("a Set-Cookie: b.txt"),
            "attachment; filename*=UTF-8''a%20Set-Cookie%3A%20b.txt",
        ),
        ("\u{2067}夏\u{2069}\u{200b}\u{7}.png", json!("夏.png"), "attachment; filename*=UTF-8''%E5%A4%8F.png"),
        ("what the heck", json!("what the ****"), "attachment; filename*=UTF-8''what%20the%20%2A%2A%2A%2A"),
        (" \u{202e}\u{200f}\t", Value::Null, "attachment"),
    ] {
        let draft = json!({ "msg_type": "file", "content_type": "text/plain", "size_bytes": 1, "name": name });
        let upload = alice.post("uploads", draft).await.expect(201);
        bring(&server, &upload, "text/plain", b"x").await.is(201);
        let path = format!("uploads/{}", upload["upload_id"].as_str().unwrap());
        let view = alice.get(&path).await.expect(200);
        assert_eq!(view["name"], shown, "{name:?}");
        let read = server.http().get(view["url"].as_str().unwrap()).await;
        assert_eq!(read.header("content-disposition"), Some(disposition), "{name:?}");
    }
    for (name, status, code) in
        [("darn.txt".to_owned(), 422, "content_blocked"), ("x".repeat(129), 400, "invalid_request")]
    {
        let draft = json!({ "msg_type": "file", "content_type": "text/plain", "size_bytes": 1, "name": name });
        alice.post("uploads", draft).await.fails(status, code);
    }
}

#[tokio::test]
async fn what_comes_must_be_what_was_announced() {
    let server = server().await;
    let alice = server.user("alice");
    let upload = announce(&alice, "image", "image/png", PNG.len()).await;
    bring(&server, &upload, "image/jpeg", PNG).await.fails(400, "invalid_request");
    bring(&server, &upload, "image/png", &PNG[1..]).await.fails(400, "invalid_request");
    bring(&server, &upload, "image/png", &PNG.repeat(2)).await.fails(400, "invalid_request");
    send(&alice, "m", "bob", "image", &upload).await.fails(400, "invalid_request");
    bring(&server, &upload, "image/png", PNG).await.is(201);
    send(&alice, "m", "bob", "image", &upload).await.is(201);
    for (msg_type, content_type, size) in [
        ("image", "image/svg+xml", 10),
        ("image", "text/html", 10),
        ("image", "video/mp4", 10),
        ("file", "text/html", 10),
        ("text", "text/plain", 10),
        ("image", "image/png", 0),
        ("image", "image/png", 10_485_761),
    ] {
        let draft = json!({ "msg_type": msg_type, "content_type": content_type, "size_bytes": size });
        alice.post("uploads", draft).await.fails(400, "invalid_request");
    }
    let draft = json!({ "msg_type": "image", "content_type": "image/png", "size_bytes": 1 });
    server.http().post("uploads", draft).await.fails(401, "unauthorized");
}

#[tokio::test]
async fn a_big_file_streams_in_and_out_and_survives_a_restart() {
    let mut server = server().await;
    let alice = server.user("alice");
    let bytes: Vec<u8> = (0..6_000_000u32).map(|n| (n % 251) as u8).collect();
    let upload = announce(&alice, "file", "application/zip", bytes.len()).await;
    bring(&server, &upload, "application/zip", &bytes).await.is(201);
    server.kill9().await;
    server.restart().await;
    let alice = server.user("alice");
    let shown = alice.get(&format!("uploads/{}", upload["upload_id"].as_str().unwrap())).await.expect(200);
    let request = server.http().request(Method::GET, shown["url"].as_str().unwrap());
    let answer = request.send().await.unwrap();
    let disposition = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(disposition.starts_with("attachment;"), "{disposition}");
    assert!(answer.bytes().await.unwrap() == bytes, "the same bytes");
}
