//! The moderation desk: what a room's owner switches on, the hook, reviews, roles, the audit trail, webhooks.

mod classifier;
mod clock;
mod desk;
mod dialects;
mod hook;
mod hook_http2;
mod interactions;
mod notes;
mod nuke;
mod raids;
mod reasons;
mod receivers;
mod refused;
mod rules;
mod samples;
mod shadows;
mod webhooks;

use serde_json::{Value, json};
use testkit::{Server, now_s, token};

/// Switches rules of a room on; the room's settings.
async fn rules(server: &Server, room: &str, moderation: Value) -> Value {
    server.admin().put(&format!("admin/rooms/{room}"), json!({ "moderation": moderation })).await.expect(200)
}

/// A token with these claims besides those that every token has.
fn bearer(user: &str, claims: Value) -> String {
    let mut all = json!({ "sub": user, "exp": now_s() + 600 });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    token(&all)
}
