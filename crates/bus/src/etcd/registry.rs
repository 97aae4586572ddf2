//! [`crate::registry::Registry`] on etcd: two keys for each node, one that says that its number is held and one that
//! says that it lives, each on a lease of its own; and one key that says which number was given last.

use std::sync::atomic::{AtomicI64, Ordering};

use model::snowflake::NODE_MAX;

use super::{Etcd, Failure};
use crate::proto::etcd::compare::{CompareTarget, TargetUnion};
use crate::proto::etcd::request_op::Request;
use crate::proto::etcd::response_op::Response;
use crate::proto::etcd::{Compare, KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse};
use crate::registry::{Claim, Node, Term};

const NUMBERS: u16 = NODE_MAX + 1;

/// The two leases of a node; 0 is none yet.
#[derive(Default)]
pub(crate) struct Leases {
    /// That its number is nobody else's hangs on this one.
    number: AtomicI64,
    /// That it lives hangs on this one, which is shorter.
    alive: AtomicI64,
}

impl Leases {
    async fn grant(etcd: &Etcd, term: Term) -> Result<Self, Failure> {
        let number = etcd.grant(term.length + term.spare).await?;
        Ok(Self { number: number.into(), alive: etcd.grant(term.length).await?.into() })
    }

    /// Whether both were there to be prolonged.
    async fn prolong(&self, etcd: &Etcd) -> Result<bool, Failure> {
        let [number, alive] = [&self.number, &self.alive].map(|lease| lease.load(Ordering::Relaxed));
        let (number, alive) = tokio::try_join!(etcd.keep_alive(number), etcd.keep_alive(alive))?;
        Ok(number && alive)
    }

    /// Ends both, and what hangs on them.
    async fn revoke(&self, etcd: &Etcd) -> Result<(), Failure> {
        let [number, alive] = [&self.number, &self.alive].map(|lease| lease.load(Ordering::Relaxed));
        tokio::try_join!(etcd.revoke(number), etcd.revoke(alive)).map(drop)
    }

    /// What a node that has the number writes.
    fn puts(&self, etcd: &Etcd, number: u16, holder: &str) -> [RequestOp; 2] {
        [("numbers", &self.number), ("nodes", &self.alive)]
            .map(|(folder, lease)| put(path(etcd, folder, number), holder, lease.load(Ordering::Relaxed)))
    }
}

/// A number that nobody holds, after the one given last or, where none was given yet, after `start`.
pub(crate) async fn take(etcd: &Etcd, holder: &str, term: Term, start: u16) -> Result<Option<(u16, Leases)>, Failure> {
    let leases = Leases::grant(etcd, term).await?;
    // Each try that fails is another node that got a number.
    for _ in 0..NUMBERS {
        let seen = look(etcd).await?;
        // An earlier try had worked, and its answer was lost.
        if let Some((number, _)) = seen.held.iter().find(|(_, by)| by == holder) {
            return Ok(Some((*number, leases)));
        }
        let after = seen.last.unwrap_or(start % NUMBERS);
        let round = (1..=NUMBERS).map(|step| (after + step) % NUMBERS);
        let Some(number) = round.into_iter().find(|number| seen.held.iter().all(|(held, _)| held != number)) else {
            break;
        };
        let last = etcd.key("last-number");
        let free = is(path(etcd, "numbers", number), CompareTarget::Create, TargetUnion::CreateRevision(0));
        let unchanged = is(last.clone(), CompareTarget::Mod, TargetUnion::ModRevision(seen.last_revision));
        let mut success = leases.puts(etcd, number, holder).to_vec();
        success.push(put(last, &number.to_string(), 0));
        let request = TxnRequest { compare: vec![free, unchanged], success, failure: Vec::new() };
        if etcd.txn("take_number", request).await?.succeeded {
            return Ok(Some((number, leases)));
        }
    }
    leases.revoke(etcd).await?;
    Ok(None)
}

/// What is given.
struct Seen {
    held: Vec<(u16, String)>,
    last: Option<u16>,
    last_revision: i64,
}

/// Both at one moment.
async fn look(etcd: &Etcd) -> Result<Seen, Failure> {
    let last = RangeRequest { key: etcd.key("last-number"), range_end: Vec::new() };
    let success = [all(etcd, "numbers"), last].map(|range| RequestOp { request: Some(Request::RequestRange(range)) });
    let answer = etcd.txn("look_at_numbers", TxnRequest { success: success.to_vec(), ..TxnRequest::default() }).await?;
    let mut found = ranges(answer);
    let (last, held) = (found.pop().unwrap_or_default().pop(), found.pop().unwrap_or_default());
    Ok(Seen {
        held: held.iter().filter_map(|kept| Some((number(kept)?, text(&kept.value)))).collect(),
        last_revision: last.as_ref().map_or(0, |kept| kept.mod_revision),
        last: last.and_then(|kept| text(&kept.value).parse().ok()),
    })
}

/// Prolongs the leases, unless somebody else has the number.
///
/// That they were prolonged is not enough: the key is also read, through etcd's quorum, because a leader that has
/// lost its followers still prolongs leases for a moment.
pub(crate) async fn keep(etcd: &Etcd, claim: &Claim) -> Result<bool, Failure> {
    let prolonged = claim.leases.prolong(etcd).await?;
    let one = RangeRequest { key: path(etcd, "numbers", claim.number), range_end: Vec::new() };
    let holder = etcd.range("keep_number", one).await?.kvs.first().map(|kept| text(&kept.value));
    match holder {
        Some(by) if by != claim.holder => Ok(false),
        Some(_) if prolonged => Ok(true),
        // A lease ran out while etcd was away.
        before => claim_again(etcd, claim, before.is_some()).await,
    }
}

/// Takes the number under new leases, if it is still as it was found: nobody's, or ours.
async fn claim_again(etcd: &Etcd, claim: &Claim, ours: bool) -> Result<bool, Failure> {
    let (leases, key) = (Leases::grant(etcd, claim.term).await?, path(etcd, "numbers", claim.number));
    let unchanged = match ours {
        true => is(key, CompareTarget::Value, TargetUnion::Value(claim.holder.clone().into_bytes())),
        false => is(key, CompareTarget::Create, TargetUnion::CreateRevision(0)),
    };
    let success = leases.puts(etcd, claim.number, &claim.holder).to_vec();
    let request = TxnRequest { compare: vec![unchanged], success, failure: Vec::new() };
    if !etcd.txn("keep_number", request).await?.succeeded {
        leases.revoke(etcd).await?;
        // By whom, the next beat will see.
        return Err(Failure::Refused(format!("the number {} changed meanwhile", claim.number)));
    }
    // What is left of the old ones has nothing hanging on it, and runs out.
    claim.leases.number.store(leases.number.into_inner(), Ordering::Relaxed);
    claim.leases.alive.store(leases.alive.into_inner(), Ordering::Relaxed);
    Ok(true)
}

/// Ends the leases, and the keys with them.
pub(crate) async fn give(etcd: &Etcd, claim: &Claim) -> Result<(), Failure> {
    claim.leases.revoke(etcd).await
}

/// The nodes that live.
pub(crate) async fn nodes(etcd: &Etcd) -> Result<Vec<Node>, Failure> {
    let kept = etcd.range("list_nodes", all(etcd, "nodes")).await?.kvs;
    Ok(kept.iter().filter_map(|kept| Some(Node::read(number(kept)?, &text(&kept.value)))).collect())
}

/// All numbers in a folder.
fn all(etcd: &Etcd, folder: &str) -> RangeRequest {
    // The byte after the slash ends the range.
    RangeRequest { key: etcd.key(&format!("{folder}/")), range_end: etcd.key(&format!("{folder}0")) }
}

fn path(etcd: &Etcd, folder: &str, number: u16) -> Vec<u8> {
    etcd.key(&format!("{folder}/{number:04}"))
}

fn number(kept: &KeyValue) -> Option<u16> {
    let key = std::str::from_utf8(&kept.key).ok()?;
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
