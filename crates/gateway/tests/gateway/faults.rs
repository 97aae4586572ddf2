//! Faults of the server itself: what is lost with them, and what goes on.
#![allow(clippy::unwrap_used)]

use crate::common;
use crate::common::{Server, dev};
use gateway::GatewaySettings;
use serde_json::json;

#[test]
fn a_panic_ends_the_socket_it_was_for_and_no_other() {
    let mut server = Server::start(GatewaySettings { shards: 1, ..dev() });
    let mut bystander = server.connect("room_id=r&user_id=bystander");
    let mut unlucky = server.connect("room_id=r&user_id=unlucky");
    bystander.hear_a("room_joined");
    unlucky.hear_a("room_joined");

    // In a handshake.
    assert_eq!(server.refused("/ws", "Origin: https://broken.example\r\n"), "");
    // In a command.
    server.clock.trip();
    unlucky.say(&json!({ "type": "heartbeat" }));
    assert_eq!(unlucky.hear_close().0, 1011);
    server.wait_for_connections(1);
    // After a delivery.
    server.clock.trip();
    let (first, second) = (server.comment("r", "x", "first"), server.comment("r", "x", "second"));
    server.publish("r", [first]);
    assert_eq!(bystander.hear_a("comments")["comments"][0]["content"], "first");
    let clock = server.clock.clone();
    common::wait_until(|| !clock.is_tripped());

    server.publish("r", [second]);
    assert_eq!(bystander.hear_a("comments")["comments"][0]["content"], "second");
    bystander.say(&json!({ "type": "heartbeat" }));
    bystander.hear_a("heartbeat_ack");
    let mut newcomer = server.connect("room_id=r&user_id=unlucky");
    newcomer.hear_a("room_joined");
    drop((unlucky, newcomer));
    server.wait_for_connections(1);
}
