//! What has to be there before the first socket: rooms that keep nothing, groups to write to. Asks for it by
//! Barrage's HTTP API.

use anyhow::{Context, ensure};
use reqwest::{Client, Method};
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
    let token = address.token_of("barrage-bench", "admin")?;
    wait(async {
        for room in 0..plan.rooms.count {
            let path = format!("admin/rooms/{}", room_id(room));
            ask(address, Method::PUT, &path, &token, &json!({ "store": false })).await?;
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
            let token = address.token(&member(group * plan.party))?;
            let body = json!({ "name": format!("bench {group}"), "members": members });
            let answer = ask(address, Method::POST, "groups", &token, &body).await?;
            ids.push(answer["group_id"].as_str().context("the server named no group_id")?.to_owned());
        }
        Ok(ids)
    })
}

fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn ask(address: &Address, method: Method, path: &str, token: &str, body: &Value) -> anyhow::Result<Value> {
    let url = format!("http://{}/api/v1/{path}", address.server(Role::Viewer, 0)?.host);
    let answer = Client::new().request(method, url).bearer_auth(token).json(body).send().await?;
    let status = answer.status();
    let answer: Value = answer.json().await.unwrap_or_default();
    ensure!(status.is_success(), "the server answered {status}: {}", answer["error"]["message"]);
    Ok(answer)
}
