//! [`crate::registry::Registry`] on etcd: a key for each number that is held, which hangs on its holder's lease, and
//! one key that says which number was given last.

use std::sync::atomic::Ordering;
use std::time::Duration;

use model::snowflake::NODE_MAX;

use super::{Etcd, Failure};
use crate::proto::etcd::compare::{CompareTarget, TargetUnion};
use crate::proto::etcd::request_op::Request;
use crate::proto::etcd::response_op::Response;
use crate::proto::etcd::{Compare, KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse};
use crate::registry::{Claim, Node};

const NUMBERS: u16 = NODE_MAX + 1;

/// A number that nobody holds, after the one given last or, where none was given yet, after `start`; and its lease.
pub(crate) async fn take(
    etcd: &Etcd,
    holder: &str,
    length: Duration,
    start: u16,
) -> Result<Option<(u16, i64)>, Failure> {
    let lease = etcd.grant(length).await?;
    // Each try that fails is another node that got a number.
    for _ in 0..NUMBERS {
        let seen = look(etcd).await?;
        // An earlier try had worked, and its answer was lost.
        if let Some((number, _)) = seen.held.iter().find(|(_, by)| by == holder) {
            return Ok(Some((*number, lease)));
        }
        let after = seen.last.unwrap_or(start % NUMBERS);
        let round = (1..=NUMBERS).map(|step| (after + step) % NUMBERS);
        let Some(number) = round.into_iter().find(|number| seen.held.iter().all(|(held, _)| held != number)) else {
            break;
        };
        let last = etcd.key("nodes-last");
        let request = TxnRequest {
            compare: vec![
                is(etcd.key(&path(number)), CompareTarget::Create, TargetUnion::CreateRevision(0)),
                is(last.clone(), CompareTarget::Mod, TargetUnion::ModRevision(seen.last_revision)),
            ],
            success: vec![put(etcd.key(&path(number)), holder, lease), put(last, &number.to_string(), 0)],
            failure: Vec::new(),
        };
        if etcd.txn("take_number", request).await?.succeeded {
            return Ok(Some((number, lease)));
        }
    }
    etcd.revoke(lease).await?;
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
    let last = RangeRequest { key: etcd.key("nodes-last"), range_end: Vec::new() };
    let success = [all(etcd), last].map(|range| RequestOp { request: Some(Request::RequestRange(range)) });
    let answer = etcd.txn("look_at_numbers", TxnRequest { success: success.to_vec(), ..TxnRequest::default() }).await?;
    let mut found = ranges(answer);
    let (last, held) = (found.pop().unwrap_or_default().pop(), found.pop().unwrap_or_default());
    Ok(Seen {
        held: held.iter().filter_map(|kept| Some((number(kept)?, text(&kept.value)))).collect(),
        last_revision: last.as_ref().map_or(0, |kept| kept.mod_revision),
        last: last.and_then(|kept| text(&kept.value).parse().ok()),
    })
}

/// Prolongs the lease, unless somebody else has the number.
///
/// That the lease was prolonged is not enough: the key is also read, through etcd's quorum, because a leader that has
/// lost its followers still prolongs leases for a moment.
pub(crate) async fn keep(etcd: &Etcd, claim: &Claim) -> Result<bool, Failure> {
    let lease = claim.lease.load(Ordering::Relaxed);
    let prolonged = etcd.keep_alive(lease).await?;
    match holder(etcd, claim.number).await? {
        Some(by) if by != claim.holder => Ok(false),
        Some(_) if prolonged => Ok(true),
        // The lease ran out while etcd was away, or is about to.
        before => claim_again(etcd, claim, before.is_some()).await,
    }
}

async fn holder(etcd: &Etcd, number: u16) -> Result<Option<String>, Failure> {
    let one = RangeRequest { key: etcd.key(&path(number)), range_end: Vec::new() };
    Ok(etcd.range("keep_number", one).await?.kvs.first().map(|kept| text(&kept.value)))
}

/// Takes the number under a new lease, if it is still as it was found: nobody's, or ours.
async fn claim_again(etcd: &Etcd, claim: &Claim, ours: bool) -> Result<bool, Failure> {
    let (lease, key) = (etcd.grant(claim.length).await?, etcd.key(&path(claim.number)));
    let unchanged = match ours {
        true => is(key.clone(), CompareTarget::Value, TargetUnion::Value(claim.holder.clone().into_bytes())),
        false => is(key.clone(), CompareTarget::Create, TargetUnion::CreateRevision(0)),
    };
    let request =
        TxnRequest { compare: vec![unchanged], success: vec![put(key, &claim.holder, lease)], failure: Vec::new() };
    if etcd.txn("keep_number", request).await?.succeeded {
        claim.lease.store(lease, Ordering::Relaxed);
        return Ok(true);
    }
    etcd.revoke(lease).await?;
    // By whom, the next beat will see.
    Err(Failure::Refused(format!("the number {} changed meanwhile", claim.number)))
}

/// Ends the lease, and the key with it.
pub(crate) async fn give(etcd: &Etcd, claim: &Claim) -> Result<(), Failure> {
    etcd.revoke(claim.lease.load(Ordering::Relaxed)).await
}

/// The nodes that live.
pub(crate) async fn nodes(etcd: &Etcd) -> Result<Vec<Node>, Failure> {
    let kept = etcd.range("list_nodes", all(etcd)).await?.kvs;
    Ok(kept.iter().filter_map(|kept| Some(Node::read(number(kept)?, &text(&kept.value)))).collect())
}

/// All numbers that are held.
fn all(etcd: &Etcd) -> RangeRequest {
    // The byte after the slash ends the range.
    RangeRequest { key: etcd.key("nodes/"), range_end: etcd.key("nodes0") }
}

fn path(number: u16) -> String {
    format!("nodes/{number:04}")
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
