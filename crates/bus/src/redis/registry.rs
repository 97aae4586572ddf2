//! [`crate::registry::Registry`] on Redis: leases by Redis's clock in one sorted set, their holders beside it.

use std::sync::LazyLock;

use model::snowflake::NODE_MAX;
use redis::Script;
use redis_client::{Failure, Redis};

use crate::registry::{Claim, Node, Term};

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take_number.lua")));
static KEEP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("keep_number.lua")));
static GIVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("give_number.lua")));
static LIST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("list_nodes.lua")));

/// A number that nobody holds, after the one given last or, where none was given yet, after `start`.
pub(crate) async fn take(redis: &Redis, holder: &str, term: Term, start: u16) -> Result<Option<u16>, Failure> {
    let mut script = keys(&TAKE, redis);
    script.key(redis.key("nodes:{all}:last")).arg(holder).arg(term.length.as_millis() as u64).arg(NODE_MAX).arg(start);
    script.arg(term.spare.as_millis() as u64);
    redis.script("take_number", &script).await
}

/// Prolongs the lease, unless somebody else has the number.
pub(crate) async fn keep(redis: &Redis, claim: &Claim) -> Result<bool, Failure> {
    let mut script = keys(&KEEP, redis);
    script.arg(&claim.holder).arg(claim.term.length.as_millis() as u64).arg(claim.number);
    redis.script("keep_number", &script).await
}

/// Ends the lease.
pub(crate) async fn give(redis: &Redis, claim: &Claim) -> Result<(), Failure> {
    let mut script = keys(&GIVE, redis);
    script.arg(&claim.holder).arg(claim.number);
    redis.script("give_number", &script).await
}

/// The nodes that live.
pub(crate) async fn nodes(redis: &Redis) -> Result<Vec<Node>, Failure> {
    let answer: Vec<(u16, String)> = redis.script("list_nodes", &keys(&LIST, redis)).await?;
    Ok(answer.iter().map(|(number, holder)| Node::read(*number, holder)).collect())
}

/// All in one slot.
fn keys<'a>(script: &'a Script, redis: &Redis) -> redis::ScriptInvocation<'a> {
    let mut call = script.key(redis.key("nodes:{all}:leases"));
    call.key(redis.key("nodes:{all}:holders"));
    call
}
