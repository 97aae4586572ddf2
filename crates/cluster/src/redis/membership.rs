//! [`NodeRegistry`] on Redis: leases by Redis's clock in one sorted set, their holders in a hash beside it.

use std::sync::LazyLock;

use async_trait::async_trait;
use model::snowflake::NODE_MAX;
use redis::{Script, ScriptInvocation};
use redis_client::{CallError, Redis};

use crate::membership::{LeaseHandle, LeaseTtl, Node, NodeRegistry, RegistryUnavailable};

static ACQUIRE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take_number.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("keep_number.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("give_number.lua")));
static LIST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("list_nodes.lua")));

/// A number leased on Redis.
struct RedisLease {
    redis: Redis,
    number: u16,
    holder: String,
    ttl: LeaseTtl,
}

#[async_trait]
impl NodeRegistry for Redis {
    async fn acquire(
        &self,
        holder: &str,
        ttl: LeaseTtl,
        start: u16,
    ) -> Result<Option<Box<dyn LeaseHandle>>, RegistryUnavailable> {
        let mut script = on_nodes(&ACQUIRE, self);
        script.key(self.key("nodes:{all}:last")).arg(holder).arg(millis(ttl)).arg(NODE_MAX).arg(start);
        script.arg(ttl.spare.as_millis() as u64);
        let number: Option<u16> = self.script("take_number", &script).await?;
        Ok(number.map(|number| {
            let lease = RedisLease { redis: self.clone(), number, holder: holder.to_owned(), ttl };
            Box::new(lease) as Box<dyn LeaseHandle>
        }))
    }

    async fn nodes(&self) -> Result<Vec<Node>, RegistryUnavailable> {
        let holders: Vec<(u16, String)> = self.script("list_nodes", &on_nodes(&LIST, self)).await?;
        Ok(holders.iter().map(|(number, holder)| Node::parse(*number, holder)).collect())
    }

    fn life(&self) -> Option<u64> {
        self.connection_number()
    }
}

#[async_trait]
impl LeaseHandle for RedisLease {
    fn number(&self) -> u16 {
        self.number
    }

    async fn renew(&self) -> Result<bool, RegistryUnavailable> {
        let mut script = on_nodes(&RENEW, &self.redis);
        script.arg(&self.holder).arg(millis(self.ttl)).arg(self.number);
        Ok(self.redis.script("keep_number", &script).await?)
    }

    async fn release(&self) -> Result<(), RegistryUnavailable> {
        let mut script = on_nodes(&RELEASE, &self.redis);
        script.arg(&self.holder).arg(self.number);
        Ok(self.redis.script("give_number", &script).await?)
    }
}

impl From<CallError> for RegistryUnavailable {
    fn from(failure: CallError) -> Self {
        Self(failure.to_string())
    }
}

fn millis(ttl: LeaseTtl) -> u64 {
    ttl.length.as_millis() as u64
}

/// All keys lie in one slot.
fn on_nodes<'a>(script: &'a Script, redis: &Redis) -> ScriptInvocation<'a> {
    let mut call = script.key(redis.key("nodes:{all}:leases"));
    call.key(redis.key("nodes:{all}:holders"));
    call
}
