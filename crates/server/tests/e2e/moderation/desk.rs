//! Held comments are claimed, decided once, appealed; roles say who may; the audit trail is a chain.

use serde_json::{Value, json};
use testkit::{Http, Server};

use super::bearer;
use crate::{configured, contents};

const NO_LIMITS: &str = crate::NO_LIMITS;

async fn holding(config: &str) -> Server {
    let server = configured(&format!("{NO_LIMITS}{config}")).await;
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    server
}

async fn held(server: &Server, user: &str, content: &str) -> String {
    let answer = server.user(user).comment("lobby", content).await.expect(201);
    assert_eq!(answer["status"], "pending_review", "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

fn moderator(server: &Server, name: &str) -> Http {
    server.bearing(&bearer(name, json!({ "level": "moderator", "rooms": ["lobby"] })))
}

#[tokio::test]
async fn a_claim_keeps_other_moderators_out_until_it_ends() {
    let server = holding("[moderation]\nclaim_s = 1\n").await;
    let id = held(&server, "alice", "hold this").await;
    let (ann, ben) = (moderator(&server, "ann"), moderator(&server, "ben"));
    let claim = format!("admin/reviews/{id}/claim");
    assert_eq!(ann.post(&claim, Value::Null).await.expect(200)["claimed_by"], "ann");
    ben.post(&claim, Value::Null).await.fails(409, "claimed");
    ben.post(&format!("admin/reviews/{id}/approve"), Value::Null).await.fails(409, "claimed");
    assert_eq!(ben.get("admin/reviews").await.expect(200)["reviews"][0]["claimed_by"], "ann");
    testkit::eventually("the claim ends", async || (ben.post(&claim, Value::Null).await.status == 200).then_some(()))
        .await;
    ann.post(&format!("admin/reviews/{id}/reject"), Value::Null).await.fails(409, "claimed");
    ben.post(&format!("admin/reviews/{id}/approve"), Value::Null).await.is(200);
    for decision in ["approve", "reject", "claim"] {
        let reply = ann.post(&format!("admin/reviews/{id}/{decision}"), Value::Null).await;
        assert_eq!(reply.status, 409, "{decision}: {}", reply.text);
    }
    server.user("alice").post(&claim, Value::Null).await.fails(403, "forbidden");
    server.admin().post("admin/reviews/12345/claim", Value::Null).await.fails(404, "not_found");
}

#[tokio::test]
async fn of_fifty_moderators_one_gets_each_comment() {
    let server = holding("").await;
    for n in 0..5 {
        held(&server, "alice", &format!("hold {n}")).await;
    }
    let reviews = server.admin().get("admin/reviews").await.expect(200);
    let ids: Vec<String> =
        reviews["reviews"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    let claims = (0..50).map(|n| (moderator(&server, &format!("m{n}")), ids.clone()));
    let won = futures::future::join_all(claims.map(async |(who, ids)| {
        let mut won = 0;
        for id in ids {
            let status = who.post(&format!("admin/reviews/{id}/claim"), Value::Null).await.status;
            assert!(status == 200 || status == 409, "{status}");
            won += usize::from(status == 200);
        }
        won
    }))
    .await;
    assert_eq!(won.iter().sum::<usize>(), 5, "{won:?}");
}

#[tokio::test]
async fn an_author_appeals_once_and_hears_the_decision() {
    let server = holding("").await;
    let id = held(&server, "alice", "hold me").await;
    server.admin().post(&format!("admin/reviews/{id}/reject"), Value::Null).await.is(200);
    let appeal = json!({ "comment_id": id, "text": "it was a joke" });
    server.user("bob").post("appeals", appeal.clone()).await.fails(404, "not_found");
    server.user("alice").post("appeals", appeal.clone()).await.is(201);
    assert_eq!(server.user("alice").post("appeals", appeal).await.status, 409);
    let said = server.user("alice").say("lobby", "fine").await;
    server
        .user("alice")
        .post("appeals", json!({ "comment_id": said, "text": "?" }))
        .await
        .fails(400, "invalid_request");

    let listed = server.admin().get("admin/appeals").await.expect(200);
    let first = &listed["appeals"][0];
    assert_eq!(
        (&first["comment_id"], &first["user_id"], &first["text"]),
        (&json!(id), &json!("alice"), &json!("it was a joke"))
    );
    let mut alice = server.viewer("alice", "lobby").await;
    let approve = format!("admin/appeals/{}/approve", first["id"].as_str().unwrap());
    server.user("alice").post(&approve, Value::Null).await.fails(403, "forbidden");
    server.admin().post(&approve, Value::Null).await.is(200);
    let told = alice.expect("the decision", |event| event["kind"] == "notice").await;
    assert_eq!((&told["comment_id"], &told["code"]), (&json!(id), &json!("appeal_approved")));
    alice.sees("hold me").await;
    assert_eq!(server.admin().post(&approve, Value::Null).await.status, 409);
    assert_eq!(server.admin().get("admin/appeals").await.expect(200)["appeals"], json!([]));

    server.admin().delete(&format!("admin/comments/{said}")).await.is(204);
    server.user("alice").post("appeals", json!({ "comment_id": said, "text": "why?" })).await.is(201);
}

/// Somebody with a role that was given, or that the token names.
async fn with_role(server: &Server, role: &str, by_token: bool) -> Http {
    let name = format!("{role}-{by_token}");
    if by_token {
        return server.bearing(&bearer(&name, json!({ "roles": { "lobby": role } })));
    }
    let given = json!({ "user_id": name, "room_id": "lobby", "role": role });
    server.admin().put("admin/roles", given.clone()).await.is(200);
    let listed = server.admin().get("admin/roles?room_id=lobby").await.expect(200);
    assert!(listed["roles"].as_array().unwrap().contains(&given), "{listed}");
    server.bearing(&bearer(&name, json!({})))
}

#[tokio::test]
async fn roles_have_the_rights_of_the_table_and_no_others() {
    let server = holding("").await;
    server.admin().put("admin/rooms/lobby", json!({ "owner_id": "olga" })).await.is(200);
    let mute = |s: u64| json!({ "user_id": "troll", "room_id": "lobby", "kind": "mute", "duration_s": s });
    let ban = json!({ "user_id": "troll", "room_id": "lobby", "kind": "ban", "duration_s": 60 });
    let nuke = json!({ "match": { "text": "zzz" }, "minutes": 1, "preview": true });
    let give = json!({ "user_id": "x", "room_id": "lobby", "role": "helper" });
    // delete, mute 600, mute 601, ban, decide, nuke, read reviews, read audit, settings, roles, words
    let table = [("moderator", "yyyyyyyynnn"), ("helper", "yynnnnnnnnn"), ("auditor", "nnnnnnyynnn")];
    let mut people = Vec::new();
    for by_token in [false, true] {
        for (role, rights) in table {
            people.push((role.to_owned(), with_role(&server, role, by_token).await, rights));
        }
    }
    people.push(("owner".into(), server.bearing(&bearer("olga", json!({}))), "yyyyyyyyyyn"));
    people.push(("admin".into(), server.bearing(&bearer("root", json!({ "level": "admin" }))), "yyyyyyyyyyy"));
    people.push(("nobody".into(), server.user("ned"), "nnnnnnnnnnn"));
    for (name, who, rights) in people {
        let said = server.user("alice").say("lobby", &format!("said for {name} {rights}")).await;
        let review = held(&server, "alice", &format!("hold for {name}")).await;
        let outcomes = [
            who.delete(&format!("admin/comments/{said}")).await,
            who.post("admin/bans", mute(600)).await,
            who.post("admin/bans", mute(601)).await,
            who.post("admin/bans", ban.clone()).await,
            who.post(&format!("admin/reviews/{review}/reject"), Value::Null).await,
            who.post("admin/rooms/lobby/nuke", nuke.clone()).await,
            who.get("admin/reviews?room_id=lobby").await,
            who.get("admin/audit?room_id=lobby").await,
            who.put("admin/rooms/lobby", json!({ "slow_mode_s": 0 })).await,
            who.put("admin/roles", give.clone()).await,
            who.put("admin/words", json!({ "review": ["hold"] })).await,
        ];
        for (n, (reply, right)) in outcomes.iter().zip(rights.chars()).enumerate() {
            let may = right == 'y';
            assert_eq!(reply.status < 300, may, "{name} {n}: {}", reply.text);
            assert!(may || reply.status == 403, "{name} {n}: {}", reply.text);
        }
    }
    server
        .admin()
        .put("admin/roles", json!({ "user_id": "helper-false", "room_id": "lobby", "role": null }))
        .await
        .is(200);
    let was = server.bearing(&bearer("helper-false", json!({})));
    let said = server.user("alice").say("lobby", "still here").await;
    was.delete(&format!("admin/comments/{said}")).await.fails(403, "forbidden");
}

#[tokio::test]
async fn a_role_shows_the_holder_the_own_rooms_alone() {
    let server = holding("").await;
    held(&server, "alice", "hold me").await;
    server.user("alice").comment("attic", "hold me too").await.is(201);
    let aud = with_role(&server, "auditor", false).await;
    let listed = aud.get("admin/reviews").await.expect(200);
    let texts = listed["reviews"].as_array().unwrap().iter().map(|review| review["room_id"].clone());
    assert_eq!(texts.collect::<Vec<_>>(), ["lobby"]);
    let trail = aud.get("admin/audit").await.expect(200);
    assert!(trail["entries"].as_array().unwrap().iter().all(|entry| entry["room_id"] == "lobby"), "{trail}");
    assert_eq!(
        contents(&server.user("bob").get("rooms/lobby/replay").await.expect(200)["comments"]),
        Vec::<&str>::new()
    );
}

#[tokio::test]
async fn the_audit_trail_is_verified_beside_the_server_and_a_changed_byte_is_found() {
    let mut server = holding("").await;
    for n in 0..5 {
        server.user("alice").post("rooms/lobby/comments", json!({ "content": format!("n{n}") })).await.is(201);
        server.admin().post("admin/rooms/lobby/announcements", json!({ "content": format!("a{n}") })).await.is(201);
    }
    let barrage = |arguments: &[&str]| {
        let output = std::process::Command::new(crate::BIN).args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let directory = server.dir().join("data");
    let data = directory.display().to_string();
    let (code, said) = barrage(&["audit", "verify", "--data", &data]);
    assert_eq!(code, Some(0), "{said}");
    let (code, lines) = barrage(&["audit", "export", "--data", &data]);
    assert_eq!(code, Some(0), "{lines}");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 6 && lines.iter().any(|line| line["action"] == "announce"), "{lines:?}");

    server.terminate().await;
    let file = directory.join("barrage.sqlite");
    let db = rusqlite::Connection::open(file).unwrap();
    let changed: i64 = db.query_row("SELECT min(line) + 1 FROM audit_trail", [], |row| row.get(0)).unwrap();
    db.execute("UPDATE audit_trail SET target = target || '!' WHERE line = ?", [changed]).unwrap();
    drop(db);
    let (code, said) = barrage(&["audit", "verify", "--data", &data]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("entry {changed}")), "{said}");
}
