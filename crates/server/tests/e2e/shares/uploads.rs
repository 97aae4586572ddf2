//! Uploads: places, bytes a day, links that end, and what pictures tell.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Method, header};
use serde_json::{Value, json};
use testkit::{Http, Reply, Server, eventually};
use tokio::io::AsyncWriteExt as _;

use crate::{configured, server};

async fn announce(http: &Http, content_type: &str, size: usize) -> Reply {
    let msg_type = if content_type.starts_with("image/") { "image" } else { "file" };
    http.post("uploads", json!({ "msg_type": msg_type, "content_type": content_type, "size_bytes": size })).await
}

async fn bring(server: &Server, upload: &Value, content_type: &str, bytes: &[u8]) -> Reply {
    let request = server.http().request(Method::PUT, upload["put_url"].as_str().unwrap());
    Reply::of(request.header(header::CONTENT_TYPE, content_type).body(bytes.to_vec())).await
}

/// Begins to bring an upload's bytes and stops after the first.
async fn begin(server: &Server, upload: &Value, size: usize) -> tokio::net::TcpStream {
    let mut stream = server.raw().await;
    let (url, host) = (upload["put_url"].as_str().unwrap(), server.address());
    let head =
        format!("PUT {url} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\nx");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn one_user_never_has_all_places() {
    let server = configured("[uploads]\nat_once_per_user = 2\n").await;
    let alice = server.user("alice");
    let mut held = Vec::new();
    for _ in 0..2 {
        let upload = announce(&alice, "text/plain", 9).await.expect(201);
        held.push(begin(&server, &upload, 9).await);
    }
    let third = announce(&alice, "text/plain", 9).await.expect(201);
    let refused = eventually("a refusal", async || {
        Some(bring(&server, &third, "text/plain", b"nine byte").await).filter(|reply| reply.status != 201)
    });
    let error = refused.await.fails(429, "rate_limited");
    assert_eq!(error["retry_after_ms"], 2_000);
    let bobs = announce(&server.user("bob"), "text/plain", 9).await.expect(201);
    bring(&server, &bobs, "text/plain", b"nine byte").await.is(201);
    drop(held);
    let fourth = announce(&alice, "text/plain", 9).await.expect(201);
    eventually("a free place", async || {
        (bring(&server, &fourth, "text/plain", b"nine byte").await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_user_announces_so_many_bytes_a_day() {
    let server = configured("[uploads]\nbytes_per_user_per_day = 100\n").await;
    let alice = server.user("alice");
    announce(&alice, "text/plain", 60).await.is(201);
    let error = announce(&alice, "text/plain", 60).await.fails(429, "rate_limited");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| ms <= 86_400_000), "{error}");
    announce(&alice, "text/plain", 40).await.is(201);
    announce(&server.user("bob"), "text/plain", 60).await.is(201);
}

async fn send(http: &Http, id: &str, to: Value, upload: &Value) -> String {
    let mut message = json!({ "client_msg_id": id, "msg_type": "file", "content": upload["upload_id"] });
    message.as_object_mut().unwrap().extend(to.as_object().unwrap().clone());
    http.post("messages", message).await.expect(201)["server_msg_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_recall_or_a_removal_ends_the_links() {
    let server = server().await;
    let (alice, bob) = (server.user("alice"), server.user("bob"));
    let group = alice.post("groups", json!({ "name": "team", "members": ["bob", "carol"] })).await.expect(201);
    let group = group["group_id"].as_str().unwrap();
    let upload = announce(&alice, "text/plain", 5).await.expect(201);
    bring(&server, &upload, "text/plain", b"hello").await.is(201);
    let message = send(&alice, "m-1", json!({ "group_id": group }), &upload).await;
    let path = format!("uploads/{}", upload["upload_id"].as_str().unwrap());
    let link = async |http: &Http| http.get(&path).await.expect(200)["url"].as_str().unwrap().to_owned();
    let (alices, bobs, carols) = (link(&alice).await, link(&bob).await, link(&server.user("carol")).await);
    for url in [&alices, &bobs, &carols] {
        assert_eq!(server.http().get(url).await.text, "hello");
    }
    let forged = bobs.replace("reader=bob", "reader=carol");
    server.http().get(&forged).await.fails(403, "forbidden");

    alice.delete(&format!("groups/{group}/members/bob")).await.is(200);
    server.http().get(&bobs).await.fails(404, "not_found");
    server.http().get(&carols).await.is(200);

    alice.delete(&format!("messages/{message}")).await.is(200);
    for url in [&alices, &carols] {
        server.http().get(url).await.fails(404, "not_found");
    }
    alice.get(&path).await.fails(404, "not_found");
}

#[tokio::test]
async fn a_range_of_what_the_client_has_is_served_and_of_nothing_else() {
    let server = server().await;
    let alice = server.user("alice");
    let upload = announce(&alice, "text/plain", 10).await.expect(201);
    bring(&server, &upload, "text/plain", b"0123456789").await.is(201);
    let path = format!("uploads/{}", upload["upload_id"].as_str().unwrap());
    let url = alice.get(&path).await.expect(200)["url"].as_str().unwrap().to_owned();
    let whole = server.http().get(&url).await;
    let tag = whole.header("etag").unwrap().to_owned();
    assert_eq!(whole.header("cache-control"), Some("private, no-cache"));
    let part = async |if_range: &str| {
        let request = server.http().request(Method::GET, &url).header(header::RANGE, "bytes=2-4");
        Reply::of(request.header(header::IF_RANGE, if_range)).await
    };
    let same = part(&tag).await;
    assert_eq!((same.status, &*same.text), (206, "234"));
    for other in ["\"another\"", &format!("W/{tag}"), "Tue, 15 Nov 1994 12:45:26 GMT"] {
        let all = part(other).await;
        assert_eq!((all.status, &*all.text), (200, "0123456789"), "{other}");
    }
    let request = server.http().request(Method::GET, &url).header(header::IF_NONE_MATCH, tag);
    assert_eq!(Reply::of(request).await.status, 304);
}

/// A JPEG of one pixel.
const JPEG: &str = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////\
                    ////////////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA=";

/// A photo as a camera writes it: turned by a quarter, with the place where it was taken.
fn photo() -> Vec<u8> {
    let mut jpeg = BASE64.decode(JPEG).unwrap();
    jpeg.extend_from_slice(b"\xFF\xD9");
    let tiff = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0GPS 52.52 N 13.40 E";
    let length = u16::try_from(tiff.len() + 2).unwrap().to_be_bytes();
    jpeg.splice(2..2, [&b"\xFF\xE1"[..], &length, tiff].concat());
    jpeg
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn photos_do_not_tell_where_they_were_taken() {
    let server = server().await;
    let alice = server.user("alice");
    let photo = photo();
    let upload = announce(&alice, "image/jpeg", photo.len()).await.expect(201);
    bring(&server, &upload, "image/jpeg", &photo).await.is(201);
    let shown = alice.get(&format!("uploads/{}", upload["upload_id"].as_str().unwrap())).await.expect(200);
    let answer = server.http().request(Method::GET, shown["url"].as_str().unwrap()).send().await.unwrap();
    let kept = answer.bytes().await.unwrap();
    assert_eq!(shown["size_bytes"], kept.len());
    assert!(contains(&photo, b"GPS") && !contains(&kept, b"GPS"));
    assert!(contains(&kept, b"\x01\x12\0\x03\0\0\0\x01\0\x06"), "it is still to be turned");
    let cut = announce(&alice, "image/jpeg", 40).await.expect(201);
    bring(&server, &cut, "image/jpeg", &photo[..40]).await.fails(400, "invalid_request");

    let server = configured("[uploads]\nstrip_metadata = false\n").await;
    let alice = server.user("alice");
    let upload = announce(&alice, "image/jpeg", photo.len()).await.expect(201);
    bring(&server, &upload, "image/jpeg", &photo).await.is(201);
    let shown = alice.get(&format!("uploads/{}", upload["upload_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(shown["size_bytes"], photo.len());
}

#[tokio::test]
async fn the_data_directory_is_the_server_s_alone() {
    let server = server().await;
    let alice = server.user("alice");
    let upload = announce(&alice, "text/plain", 5).await.expect(201);
    bring(&server, &upload, "text/plain", b"hello").await.is(201);
    let mut directories = vec![server.dir().join("data")];
    let mut files = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let (path, found) = (entry.path(), entry.metadata().unwrap());
            assert_eq!(found.permissions().mode() & 0o077, 0, "{}", path.display());
            if found.is_dir() { directories.push(path) } else { files += 1 }
        }
        assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    }
    assert!(files >= 3, "the database, its lock, the upload");
}
