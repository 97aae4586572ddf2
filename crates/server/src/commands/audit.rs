//! `audit`: reads the audit trail of a deployment, also while its server runs, and checks its chain; and reads the sample of
//! passed comments that is kept beside it.

use std::io::{BufWriter, Write, stdout};

use anyhow::Context;
use model::rfc3339_ms;
use serde_json::json;
use store::audit::{AuditLine, Chain};
use store::samples::Sample;

use crate::backends::AuditTrail;
use crate::cli::{Audit, AuditAction};

/// Checks or prints the trail.
pub fn run(args: &Audit) -> anyhow::Result<()> {
    match &args.action {
        AuditAction::Verify(place) => verify(&AuditTrail::open(&super::configuration(place)?)?),
        AuditAction::Export(place) => export(&AuditTrail::open(&super::configuration(place)?)?),
        AuditAction::Samples(place) => samples(&AuditTrail::open(&super::configuration(place)?)?),
    }
}

fn verify(trail: &AuditTrail) -> anyhow::Result<()> {
    // Read first: what is added meanwhile stands behind it.
    let (head, mut chain) = (trail.head()?, Chain::default());
    trail.each(|line| Ok(chain.check(line)?))?;
    let whole = chain.finish(head.as_ref())?;
    match whole.erased {
        0 => super::say(&format!("{} entries verified", whole.lines)),
        erased => super::say(&format!("{} entries verified; erasures took names out of {erased}", whole.lines)),
    }
}

fn export(trail: &AuditTrail) -> anyhow::Result<()> {
    let mut out = BufWriter::new(stdout().lock());
    trail.each(|AuditLine { line, entry, previous, hash, .. }| {
        let entry = json!({ "line": line, "at": rfc3339_ms(entry.at_ms), "actor": entry.actor, "action": entry.action,
            "room_id": entry.room_id, "target": entry.target, "detail": entry.detail, "previous": previous, "hash": hash });
        writeln!(out, "{entry}").context("cannot write the entries")
    })?;
    out.flush().context("cannot write the entries")
}

fn samples(trail: &AuditTrail) -> anyhow::Result<()> {
    let mut out = BufWriter::new(stdout().lock());
    trail.each_sample(|Sample { id, room_id, user_id, username, content, created_at_ms }| {
        let sample = json!({ "id": id, "room_id": room_id, "user_id": user_id, "username": username, "content": content,
            "created_at": rfc3339_ms(*created_at_ms) });
        writeln!(out, "{sample}").context("cannot write the samples")
    })?;
    out.flush().context("cannot write the samples")
}
