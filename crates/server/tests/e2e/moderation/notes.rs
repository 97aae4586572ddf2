//! Moderators write notes about people for each other; the people never see them.

use serde_json::{Value, json};
use testkit::{Http, Server};

use super::bearer;
use crate::fast_server;

const ALICE: &str = "admin/users/alice/notes";

async fn note(who: &Http, text: &str, room: Option<&str>) -> String {
    let note = who.post(ALICE, json!({ "text": text, "room_id": room })).await.expect(201);
    note["id"].as_str().unwrap().to_owned()
}

fn texts(list: &Value) -> Vec<&str> {
    list["notes"].as_array().unwrap().iter().map(|note| note["text"].as_str().unwrap()).collect()
}

/// A server with a room in which everybody has some right.
async fn hall() -> Server {
    let server = fast_server().await;
    server.admin().put("admin/rooms/hall", json!({ "owner_id": "olga" })).await.is(200);
    for (user, role) in [("rosa", "moderator"), ("hal", "helper"), ("audrey", "auditor")] {
        server.admin().put("admin/roles", json!({ "user_id": user, "room_id": "hall", "role": role })).await.is(200);
    }
    server
}

#[tokio::test]
async fn roles_have_the_rights_of_the_table_and_nobody_knows_notes_about_oneself() {
    let server = hall().await;
    let of = |user: &str, claims: Value| server.bearing(&bearer(user, claims));
    let moderates = json!({ "level": "moderator", "rooms": ["hall"] });
    let rosa = of("rosa", json!({}));
    // Reads, writes in the room, writes for the deployment, removes rosa's, removes the owner's.
    for (name, who, rights) in [
        ("the key", server.admin(), "yyyyy"),
        ("root", of("root", json!({ "level": "admin" })), "yyyyy"),
        ("olga", of("olga", json!({})), "yynyy"),
        ("mo", of("mo", moderates.clone()), "yynyn"),
        ("rosa", of("rosa", json!({})), "yynyn"),
        ("audrey", of("audrey", json!({})), "ynnnn"),
        ("hal", of("hal", json!({})), "nnnnn"),
        ("ned", server.user("ned"), "nnnnn"),
        ("alice, who moderates too", of("alice", moderates), "nnnnn"),
        ("alice, an admin", of("alice", json!({ "level": "admin" })), "nnnnn"),
    ] {
        let rosas = note(&rosa, "by rosa", Some("hall")).await;
        let olgas = note(&of("olga", json!({})), "by olga", Some("hall")).await;
        let outcomes = [
            who.get(&format!("{ALICE}?room_id=hall")).await,
            who.post(ALICE, json!({ "text": "seen here", "room_id": "hall" })).await,
            who.post(ALICE, json!({ "text": "seen everywhere" })).await,
            who.delete(&format!("{ALICE}/{rosas}")).await,
            who.delete(&format!("{ALICE}/{olgas}")).await,
        ];
        for (n, (reply, right)) in outcomes.iter().zip(rights.chars()).enumerate() {
            let may = right == 'y';
            assert_eq!(reply.status < 300, may, "{name} {n}: {}", reply.text);
            assert!(may || reply.status == 403, "{name} {n}: {}", reply.text);
        }
    }
    // Nobody stands above those whose role is gone.
    let left = note(&rosa, "of a moderator who left", Some("hall")).await;
    server.admin().put("admin/roles", json!({ "user_id": "rosa", "room_id": "hall", "role": null })).await.is(200);
    of("mo", json!({ "level": "moderator", "rooms": ["hall"] })).delete(&format!("{ALICE}/{left}")).await.is(204);
    rosa.get(ALICE).await.fails(403, "forbidden");
}

#[tokio::test]
async fn each_moderator_reads_those_of_the_own_rooms_page_by_page() {
    let mut server = hall().await;
    let rosa = server.bearing(&bearer("rosa", json!({})));
    note(&rosa, "one", Some("hall")).await;
    note(&server.admin(), "elsewhere", Some("attic")).await;
    note(&server.admin(), "everywhere", None).await;
    let last = note(&rosa, "two\nlines", Some("hall")).await;
    server.restart().await;
    let rosa = server.bearing(&bearer("rosa", json!({})));
    let listed = server.admin().get(ALICE).await.expect(200);
    assert_eq!(texts(&listed), ["two\nlines", "everywhere", "elsewhere", "one"]);
    let newest = &listed["notes"][0];
    assert_eq!(
        (&newest["id"], &newest["created_by"], &newest["room_id"], &newest["user_id"]),
        (&json!(last), &json!("rosa"), &json!("hall"), &json!("alice"))
    );
    assert!(newest["created_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{newest}");
    assert_eq!(listed["notes"][1].get("room_id"), None);
    assert_eq!(texts(&rosa.get(ALICE).await.expect(200)), ["two\nlines", "one"]);
    rosa.get(&format!("{ALICE}?room_id=attic")).await.fails(403, "forbidden");
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.admin().get(&format!("{ALICE}?limit=3&cursor={cursor}")).await.expect(200);
        pages.extend(texts(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next_cursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    assert_eq!(pages, ["two\nlines", "everywhere", "elsewhere", "one"]);
    assert_eq!(texts(&server.admin().get("admin/users/bob/notes").await.expect(200)), Vec::<&str>::new());
    server.admin().delete(&format!("admin/users/bob/notes/{last}")).await.fails(404, "not_found");
    server.admin().delete(&format!("{ALICE}/{last}")).await.is(204);
    server.admin().delete(&format!("{ALICE}/{last}")).await.fails(404, "not_found");
}

#[tokio::test]
async fn notes_are_short_and_few_and_the_trail_says_who_wrote_about_whom_but_not_what() {
    let server = hall().await;
    let rosa = server.bearing(&bearer("rosa", json!({})));
    for wrong in [json!(""), json!(" \n "), json!("长".repeat(501)), json!(5)] {
        rosa.post(ALICE, json!({ "text": wrong, "room_id": "hall" })).await.fails(400, "invalid_request");
    }
    let first = note(&rosa, &"长".repeat(500), Some("hall")).await;
    for n in 1..50 {
        note(&rosa, &format!("note {n}"), Some("hall")).await;
    }
    let full = rosa.post(ALICE, json!({ "text": "one too many", "room_id": "hall" })).await;
    full.fails(400, "invalid_request");
    note(&server.admin(), "another room has its own", Some("attic")).await;
    rosa.delete(&format!("{ALICE}/{first}")).await.is(204);
    note(&rosa, "there is room again", Some("hall")).await;

    let trail = server.admin().get("admin/audit?target=alice&limit=1000").await;
    let entries = trail.expect(200)["entries"].as_array().unwrap().clone();
    assert_eq!(entries.len(), 53, "51 and one in another room were written, and one was removed");
    assert!(entries.iter().all(|entry| entry["target"] == "alice"), "{entries:?}");
    let removed = entries.iter().find(|entry| entry["action"] == "note.remove").expect("the removal");
    assert_eq!((&removed["actor"], &removed["room_id"]), (&json!("rosa"), &json!("hall")));
    assert_eq!(removed["detail"], json!({ "note_id": first }).to_string());
    assert!(!entries.iter().any(|entry| entry["detail"].to_string().contains("note 7")), "never what it says");
}
