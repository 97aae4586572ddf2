//! What has to be there before the first socket: rooms that keep nothing, groups to write to. Asks for it by
//! Barrage's HTTP API.

use anyhow::ensure;
use barrage_client::{Api, Method};
use serde_json::{Value, json};

use crate::conn::Role;
use crate::scenario::{Plan, room_id};
use crate::specs::member;
use crate::target::Address;

/// Makes the plan's rooms keep nothing.
///
/// # Errors
/// When the server refuses.
pub fn store_nothing(address: &Address, plan: &Plan) -> anyhow::Result<()> {
    let api = api(address, &address.token_of("barrage-bench", "admin")?)?;
    wait(async {
        for room in 0..plan.rooms.count {
            let body = Some(&json!({ "store": false }));
            api.call::<Value>(Method::PUT, &["admin", "rooms", &room_id(room)], &(), body).await?;
        }
        Ok(())
    })
}

/// Founds the plan's groups, each with its members; returns their ids.
///
/// # Errors
/// When the server refuses.
pub fn found_groups(address: &Address, plan: &Plan) -> anyhow::Result<Vec<String>> {
    wait(async {
        let mut ids = Vec::new();
        for group in 0..plan.groups() {
            let members: Vec<String> = (group * plan.party..(group + 1) * plan.party).map(member).collect();
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            let api = api(address, &address.token(&member(group * plan.party))?)?;
            ids.push(api.create_group(&format!("bench {group}"), &members).await?);
        }
        Ok(ids)
    })
}

fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn api(address: &Address, token: &str) -> anyhow::Result<Api> {
    let server = address.server(Role::Viewer, 0)?;
    ensure!(!server.tls, "rooms that store nothing, and groups, need a server without TLS");
    let url = format!("http://{}", server.host);
    Ok(Api::new(&url, Some(token))?)
}
