//! [`NodeRegistry`] on etcd: two keys for each node, one that holds its number and one that says it lives, each on a lease
//! of its own; and one key with the number that was leased last.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use model::snowflake::NODE_MAX;

use super::{Etcd, EtcdError};
use crate::membership::{LeaseHandle, LeaseTtl, Node, NodeRegistry, RegistryUnavailable};
use crate::proto::etcd::compare::{CompareTarget, TargetUnion};
use crate::proto::etcd::request_op::Request;
use crate::proto::etcd::response_op::Response;
use crate::proto::etcd::{Compare, KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse};

const NUMBERS: u16 = NODE_MAX + 1;

/// A number leased on etcd.
struct EtcdLease {
    etcd: Etcd,
    number: u16,
    holder: String,
    ttl: LeaseTtl,
    grants: Grants,
}

/// The two leases of a node, as etcd calls them.
struct Grants {
    /// Keeps the number from everybody else.
    number: AtomicI64,
    /// Says that the node lives; it is the shorter one.
    alive: AtomicI64,
}

impl Grants {
    async fn new(etcd: &Etcd, ttl: LeaseTtl) -> Result<Self, EtcdError> {
        let number = etcd.grant(ttl.length + ttl.spare).await?;
        Ok(Self { number: number.into(), alive: etcd.grant(ttl.length).await?.into() })
    }

    fn ids(&self) -> [i64; 2] {
        [&self.number, &self.alive].map(|lease| lease.load(Ordering::Relaxed))
    }

    /// Renews both; `false` when one of them had expired.
    async fn renew(&self, etcd: &Etcd) -> Result<bool, EtcdError> {
        let [number, alive] = self.ids();
        let (number, alive) = tokio::try_join!(etcd.keep_alive(number), etcd.keep_alive(alive))?;
        Ok(number && alive)
    }

    /// Ends both, and the keys on them.
    async fn revoke(&self, etcd: &Etcd) -> Result<(), EtcdError> {
        let [number, alive] = self.ids();
        tokio::try_join!(etcd.revoke(number), etcd.revoke(alive)).map(drop)
    }

    /// Puts the holder's keys on these leases.
    fn puts(&self, etcd: &Etcd, number: u16, holder: &str) -> [RequestOp; 2] {
        let [of_number, of_life] = self.ids();
        [("numbers", of_number), ("nodes", of_life)]
            .map(|(folder, lease)| put(path(etcd, folder, number), holder, lease))
    }
}

#[async_trait]
impl NodeRegistry for Etcd {
    async fn acquire(
        &self,
        holder: &str,
        ttl: LeaseTtl,
        start: u16,
    ) -> Result<Option<Box<dyn LeaseHandle>>, RegistryUnavailable> {
        let grants = Grants::new(self, ttl).await?;
        let Some(number) = acquire_number(self, &grants, holder, start).await? else {
            grants.revoke(self).await?;
            return Ok(None);
        };
        Ok(Some(Box::new(EtcdLease { etcd: self.clone(), number, holder: holder.to_owned(), ttl, grants })))
    }

    async fn nodes(&self) -> Result<Vec<Node>, RegistryUnavailable> {
        let entries = self.range("list_nodes", all(self, "nodes")).await?.kvs;
        Ok(entries.iter().filter_map(|entry| Some(Node::parse(number(entry)?, &text(&entry.value)))).collect())
    }
}

async fn acquire_number(etcd: &Etcd, grants: &Grants, holder: &str, start: u16) -> Result<Option<u16>, EtcdError> {
    // Each attempt that fails is another node that acquired a number.
    for _ in 0..NUMBERS {
        let numbers = read_numbers(etcd).await?;
        // An earlier attempt had worked, and its answer was lost.
        if let Some((number, _)) = numbers.held.iter().find(|(_, by)| by == holder) {
            return Ok(Some(*number));
        }
        let after = numbers.last.unwrap_or(start % NUMBERS);
        let mut round = (1..=NUMBERS).map(|step| (after + step) % NUMBERS);
        let Some(number) = round.find(|number| numbers.held.iter().all(|(held, _)| held != number)) else {
            return Ok(None);
        };
        let last = etcd.key("last-number");
        let free = is(path(etcd, "numbers", number), CompareTarget::Create, TargetUnion::CreateRevision(0));
        let unchanged = is(last.clone(), CompareTarget::Mod, TargetUnion::ModRevision(numbers.last_revision));
        let mut success = grants.puts(etcd, number, holder).to_vec();
        success.push(put(last, &number.to_string(), 0));
        let request = TxnRequest { compare: vec![free, unchanged], success, failure: Vec::new() };
        if etcd.txn("take_number", request).await?.succeeded {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// The numbers as etcd has them.
struct Numbers {
    held: Vec<(u16, String)>,
    last: Option<u16>,
    last_revision: i64,
}

/// Reads everything at one revision.
async fn read_numbers(etcd: &Etcd) -> Result<Numbers, EtcdError> {
    let last = RangeRequest { key: etcd.key("last-number"), range_end: Vec::new() };
    let success = [all(etcd, "numbers"), last].map(|range| RequestOp { request: Some(Request::RequestRange(range)) });
    let answer = etcd.txn("look_at_numbers", TxnRequest { success: success.to_vec(), ..TxnRequest::default() }).await?;
    let mut found = ranges(answer);
    let (last, held) = (found.pop().unwrap_or_default().pop(), found.pop().unwrap_or_default());
    Ok(Numbers {
        held: held.iter().filter_map(|entry| Some((number(entry)?, text(&entry.value)))).collect(),
        last_revision: last.as_ref().map_or(0, |entry| entry.mod_revision),
        last: last.and_then(|entry| text(&entry.value).parse().ok()),
    })
}

#[async_trait]
impl LeaseHandle for EtcdLease {
    fn number(&self) -> u16 {
        self.number
    }

    /// A renewed lease is not enough: the key is also read, through etcd's quorum, because a leader that has lost its
    /// followers still renews leases for a moment.
    async fn renew(&self) -> Result<bool, RegistryUnavailable> {
        let renewed = self.grants.renew(&self.etcd).await?;
        let one = RangeRequest { key: path(&self.etcd, "numbers", self.number), range_end: Vec::new() };
        let holder = self.etcd.range("keep_number", one).await?.kvs.first().map(|entry| text(&entry.value));
        match holder {
            Some(by) if by != self.holder => Ok(false),
            Some(_) if renewed => Ok(true),
            // A lease expired during an outage of etcd.
            before => Ok(self.claim_again(before.is_some()).await?),
        }
    }

    async fn release(&self) -> Result<(), RegistryUnavailable> {
        Ok(self.grants.revoke(&self.etcd).await?)
    }
}

impl EtcdLease {
    /// Puts the number on new leases, if it is still as it was found: nobody's, or ours.
    async fn claim_again(&self, ours: bool) -> Result<bool, EtcdError> {
        let Self { etcd, number, holder, ttl, grants } = self;
        let (new, key) = (Grants::new(etcd, *ttl).await?, path(etcd, "numbers", *number));
        let unchanged = match ours {
            true => is(key, CompareTarget::Value, TargetUnion::Value(holder.clone().into_bytes())),
            false => is(key, CompareTarget::Create, TargetUnion::CreateRevision(0)),
        };
        let success = new.puts(etcd, *number, holder).to_vec();
        let request = TxnRequest { compare: vec![unchanged], success, failure: Vec::new() };
        if !etcd.txn("keep_number", request).await?.succeeded {
            new.revoke(etcd).await?;
            // The next renewal sees who changed it.
            return Err(EtcdError::Refused(format!("the number {number} changed meanwhile")));
        }
        // The old leases have no keys left on them, and expire.
        grants.number.store(new.number.into_inner(), Ordering::Relaxed);
        grants.alive.store(new.alive.into_inner(), Ordering::Relaxed);
        Ok(true)
    }
}

impl From<EtcdError> for RegistryUnavailable {
    fn from(failure: EtcdError) -> Self {
        Self(failure.to_string())
    }
}

/// The range of all numbers in a folder.
fn all(etcd: &Etcd, folder: &str) -> RangeRequest {
    // The byte after the slash ends the range.
    RangeRequest { key: etcd.key(&format!("{folder}/")), range_end: etcd.key(&format!("{folder}0")) }
}

fn path(etcd: &Etcd, folder: &str, number: u16) -> Vec<u8> {
    etcd.key(&format!("{folder}/{number:04}"))
}

fn number(entry: &KeyValue) -> Option<u16> {
    let key = std::str::from_utf8(&entry.key).ok()?;
    key.rsplit_once('/')?.1.parse().ok().filter(|number| *number <= NODE_MAX)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is(key: Vec<u8>, target: CompareTarget, value: TargetUnion) -> Compare {
    // The result is EQUAL by default.
    Compare { key, target: target.into(), target_union: Some(value), ..Compare::default() }
}

fn put(key: Vec<u8>, value: &str, lease: i64) -> RequestOp {
    let put = PutRequest { key, value: value.as_bytes().to_vec(), lease };
    RequestOp { request: Some(Request::RequestPut(put)) }
}

fn ranges(answer: TxnResponse) -> Vec<Vec<KeyValue>> {
    let range = |response| match response {
        Some(Response::ResponseRange(range)) => range.kvs,
        _ => Vec::new(),
    };
    answer.responses.into_iter().map(|op| range(op.response)).collect()
}
