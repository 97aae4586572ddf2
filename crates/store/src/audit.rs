//! The chain of the audit trail: each line's hash covers the line and the hash before it.
//!
//! The backends call [`AuditLine::after`] inside the transaction that stores the line, and `barrage audit verify` calls
//! [`Chain::check`]. A changed, inserted or removed line is found at its place; lines removed from the end are found by the
//! head, which is stored apart.
//!
//! A line's hash covers its names and texts only through [`Seals`]: a digest of each with a salt of its own. So the erasure of
//! a person takes out a name with its salt and leaves the digest, which tells nobody anything, and the chain stays as it was.
//! Each erasure adds a line that says how many lines it changed ([`ERASURE`]): a name that is missing without such a line is
//! found, too.

use sha2::{Digest, Sha256};

use crate::AuditEntry;

/// The action of the line that says how many lines an erasure changed; its detail is that number.
pub const ERASURE: &str = "audit.erase";
/// The actor of that line: no user's id, for it has a space.
pub const ERASER: &str = "person erasure";

/// A line of the audit trail with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Its number; rises.
    pub line: i64,
    /// What happened. What was erased is empty.
    pub entry: AuditEntry,
    /// The hash of the line before; empty at the beginning.
    pub previous: String,
    /// This line's hash, in hexadecimal. Empty in lines of versions that kept no chain.
    pub hash: String,
    /// How the hash covers the names and texts. `None` in lines of versions whose hash covers them as they are.
    pub seals: Option<Seals>,
}

impl AuditLine {
    /// The line that follows a hash.
    #[must_use]
    pub fn after(previous: &str, line: i64, entry: AuditEntry) -> Self {
        let seals = Seals::new();
        let hash = sealed_hash(previous, line, &entry, &seals);
        Self { line, entry, previous: previous.to_owned(), hash, seals: Some(seals) }
    }

    /// Takes a person's name out, and the detail where the person is the target or the detail names the person. False when
    /// nothing was to be taken out.
    pub(crate) fn erase(&mut self, user: &str) -> bool {
        let Self { entry, seals, .. } = self;
        let is_actor = entry.actor == user;
        let is_target = entry.target == user;
        let is_named = entry.detail.as_deref().is_some_and(|detail| detail.contains(&named_in_detail(user)));
        if !(is_actor || is_target || is_named) {
            return false;
        }
        let seals = seals.get_or_insert_with(Seals::unverifiable);
        if is_actor {
            seals.erase(ACTOR, Some(&entry.actor));
            entry.actor.clear();
        }
        if is_target {
            seals.erase(TARGET, Some(&entry.target));
            entry.target.clear();
        }
        if (is_target || is_named) && entry.detail.is_some() {
            seals.erase(DETAIL, entry.detail.as_deref());
            entry.detail = None;
        }
        true
    }
}

/// How a detail in JSON names a user.
pub(crate) fn named_in_detail(user: &str) -> String {
    format!("\"user_id\":\"{user}\"")
}

const ACTOR: usize = 0;
const TARGET: usize = 1;
const DETAIL: usize = 2;

/// What a line's hash covers in place of its actor, its target and its detail: for each a salt, or the digest alone once it
/// was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seals([Seal; 3]);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seal {
    Salt(String),
    Erased(String),
}

/// What stands before the digest of an erased field.
const ERASED: &str = "erased:";
/// The digest of a line whose hash covers its fields as they were: only its place can be checked.
const UNVERIFIABLE: &str = "";

impl Seals {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Seal::Salt(hex(&rand::random::<[u8; 16]>()))))
    }

    fn unverifiable() -> Self {
        Self(std::array::from_fn(|_| Seal::Erased(UNVERIFIABLE.into())))
    }

    fn is_unverifiable(&self) -> bool {
        self.0.iter().all(|seal| *seal == Seal::Erased(UNVERIFIABLE.into()))
    }

    fn is_erased(&self) -> bool {
        self.0.iter().any(|seal| matches!(seal, Seal::Erased(_)))
    }

    fn digest(&self, field: usize, value: Option<&str>) -> String {
        match &self.0[field] {
            Seal::Salt(salt) => {
                let value = serde_json::json!([salt, value]).to_string();
                hex(&Sha256::digest(value))
            }
            Seal::Erased(digest) => digest.clone(),
        }
    }

    fn erase(&mut self, field: usize, value: Option<&str>) {
        self.0[field] = Seal::Erased(self.digest(field, value));
    }

    /// As the backends store it.
    pub(crate) fn to_column(&self) -> String {
        let parts = self.0.iter().map(|seal| match seal {
            Seal::Salt(salt) => salt.clone(),
            Seal::Erased(digest) => format!("{ERASED}{digest}"),
        });
        parts.collect::<Vec<_>>().join(" ")
    }

    /// Back from [`Seals::to_column`]; `None` for what it never wrote.
    pub(crate) fn from_column(column: &str) -> Option<Self> {
        let mut parts = column.split(' ').map(|part| match part.strip_prefix(ERASED) {
            Some(digest) => Seal::Erased(digest.to_owned()),
            None => Seal::Salt(part.to_owned()),
        });
        let seals = [parts.next()?, parts.next()?, parts.next()?];
        parts.next().is_none().then_some(Self(seals))
    }
}

fn sealed_hash(previous: &str, line: i64, entry: &AuditEntry, seals: &Seals) -> String {
    let AuditEntry { at_ms, actor, action, room_id, target, detail } = entry;
    let actor = seals.digest(ACTOR, Some(actor));
    let target = seals.digest(TARGET, Some(target));
    let detail = seals.digest(DETAIL, detail.as_deref());
    chained(previous, &serde_json::json!(["sealed", line, at_ms, actor, action, room_id, target, detail]))
}

/// The hash of a line of a version without seals.
fn plain_hash(previous: &str, line: i64, entry: &AuditEntry) -> String {
    let AuditEntry { at_ms, actor, action, room_id, target, detail } = entry;
    chained(previous, &serde_json::json!([line, at_ms, actor, action, room_id, target, detail]))
}

fn chained(previous: &str, fields: &serde_json::Value) -> String {
    hex(&Sha256::new().chain_update(previous).chain_update(fields.to_string()).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks lines in their order.
#[derive(Debug, Default)]
pub struct Chain {
    last: Option<(i64, String)>,
    summary: Verified,
    /// Lines that erasures say they changed.
    declared: u64,
    first_erased: Option<i64>,
    any_sealed: bool,
}

/// What a whole chain holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Lines.
    pub lines: u64,
    /// Of these, lines out of which an erasure took a name.
    pub erased: u64,
}

/// The first line that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {line} {why}")]
pub struct Broken {
    /// Its number.
    pub line: i64,
    /// What is wrong.
    pub why: &'static str,
}

impl Chain {
    /// Checks the next line. The first one may follow lines that are no longer kept.
    ///
    /// # Errors
    /// When it was changed, or does not follow the line before.
    pub fn check(&mut self, line: &AuditLine) -> Result<(), Broken> {
        let broken = |why| Err(Broken { line: line.line, why });
        if line.hash.is_empty() {
            // Lines from before the chain stand before all others.
            return if self.last.is_none() { Ok(()) } else { broken("has no hash") };
        }
        let is_whole = match &line.seals {
            None => plain_hash(&line.previous, line.line, &line.entry) == line.hash,
            // Lines of an older version stand before all sealed ones.
            Some(seals) if seals.is_unverifiable() => !self.any_sealed,
            Some(seals) => sealed_hash(&line.previous, line.line, &line.entry, seals) == line.hash,
        };
        if !is_whole {
            return broken("was changed");
        }
        if self.last.as_ref().is_some_and(|(_, last)| *last != line.previous) {
            return broken("does not follow the entry before it");
        }
        self.last = Some((line.line, line.hash.clone()));
        self.summary.lines += 1;
        self.any_sealed |= line.seals.as_ref().is_some_and(|seals| !seals.is_unverifiable());
        if line.seals.as_ref().is_some_and(Seals::is_erased) {
            self.summary.erased += 1;
            self.first_erased.get_or_insert(line.line);
        }
        if line.entry.action == ERASURE && line.entry.actor == ERASER {
            let lines = line.entry.detail.as_deref().and_then(|detail| detail.parse().ok());
            self.declared += lines.unwrap_or(0_u64);
        }
        Ok(())
    }

    /// Checks that the last line is the one that the head names, and that erasures account for what is erased. Returns how
    /// many lines the chain has.
    ///
    /// # Errors
    /// When lines are missing at the end, or names without an erasure.
    pub fn finish(self, head: Option<&(i64, String)>) -> Result<Verified, Broken> {
        match (head, &self.last) {
            (Some(head), Some(last)) if head.0 > last.0 => {
                return Err(Broken { line: head.0, why: "is missing at the end" });
            }
            (Some(head), None) => return Err(Broken { line: head.0, why: "is missing at the end" }),
            _ => {}
        }
        match self.first_erased {
            Some(line) if self.summary.erased > self.declared => {
                Err(Broken { line, why: "or a later one lacks a name that no erasure took out" })
            }
            _ => Ok(self.summary),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(n: i64) -> Vec<AuditLine> {
        let (mut lines, mut previous) = (Vec::new(), String::new());
        for line in 1..=n {
            let entry = AuditEntry {
                at_ms: line * 10,
                actor: "mo".into(),
                action: "ban".into(),
                room_id: None,
                target: format!("user {line}"),
                detail: None,
            };
            let line = AuditLine::after(&previous, line, entry);
            previous = line.hash.clone();
            lines.push(line);
        }
        lines
    }

    fn verified(lines: &[AuditLine], head: Option<&(i64, String)>) -> Result<u64, i64> {
        summary(lines, head).map(|whole| whole.lines)
    }

    fn summary(lines: &[AuditLine], head: Option<&(i64, String)>) -> Result<Verified, i64> {
        let mut chain = Chain::default();
        let checked = lines.iter().try_for_each(|line| chain.check(line));
        checked.and_then(|()| chain.finish(head)).map_err(|broken| broken.line)
    }

    fn erasure_of(count: usize, after: &AuditLine) -> AuditLine {
        let entry = AuditEntry {
            at_ms: 99,
            actor: ERASER.into(),
            action: ERASURE.into(),
            room_id: None,
            target: "7".into(),
            detail: Some(count.to_string()),
        };
        AuditLine::after(&after.hash, after.line + 1, entry)
    }

    #[test]
    fn an_erased_name_leaves_the_chain_whole() {
        let mut lines = lines(4);
        lines[1].entry.detail = Some("rude".into());
        // Made anew, with the detail.
        lines[1] = AuditLine::after(&lines[0].hash.clone(), 2, lines[1].entry.clone());
        lines[2] = AuditLine::after(&lines[1].hash.clone(), 3, lines[2].entry.clone());
        lines[3] = AuditLine::after(&lines[2].hash.clone(), 4, lines[3].entry.clone());
        assert!(lines[1].erase("user 2") && !lines[2].erase("user 2"));
        assert_eq!((lines[1].entry.target.as_str(), &lines[1].entry.detail), ("", &None));
        assert_eq!(lines[1].entry.actor, "mo", "another's name stays");
        assert_eq!(summary(&lines, None), Err(2), "no erasure says so");
        lines.push(erasure_of(1, &lines[3]));
        assert_eq!(summary(&lines, None), Ok(Verified { lines: 5, erased: 1 }));
        let column = lines[1].seals.as_ref().expect("sealed").to_column();
        assert_eq!(Seals::from_column(&column), lines[1].seals);
        assert!(!column.contains("user") && !column.contains("rude"));
        lines[1].entry.actor = "another".into();
        assert_eq!(summary(&lines, None), Err(2), "what was not erased is covered still");
        lines[1].entry.actor = "mo".into();
        let sealed = lines[2].seals.replace(Seals::unverifiable());
        assert_eq!(summary(&lines, None), Err(3), "no sealed line becomes one that cannot be checked");
        lines[2].seals = sealed;
        assert!(lines[3].erase("mo"));
        assert_eq!(summary(&lines, None), Err(2), "one more than the erasure says");
    }

    #[test]
    fn a_line_of_an_older_version_loses_its_name_and_keeps_its_place() {
        let mut lines = lines(3);
        for n in 0..3_usize {
            let previous = n.checked_sub(1).map_or(String::new(), |before: usize| lines[before].hash.clone());
            let hash = plain_hash(&previous, lines[n].line, &lines[n].entry);
            lines[n] = AuditLine { previous, hash, seals: None, ..lines[n].clone() };
        }
        assert_eq!(summary(&lines, None), Ok(Verified { lines: 3, erased: 0 }));
        assert!(lines[1].erase("user 2"));
        lines.push(erasure_of(1, &lines[2]));
        assert_eq!(summary(&lines, None), Ok(Verified { lines: 4, erased: 1 }));
        lines.remove(1);
        assert_eq!(summary(&lines, None), Err(3), "its place is checked");
    }

    #[test]
    fn a_change_anywhere_is_found_at_its_line() {
        let whole = lines(5);
        let head = whole.last().map(|last| (last.line, last.hash.clone()));
        assert_eq!(verified(&whole, head.as_ref()), Ok(5));
        for changed in 0..whole.len() {
            let mut lines = whole.clone();
            lines[changed].entry.target.push('!');
            assert_eq!(verified(&lines, head.as_ref()), Err(changed as i64 + 1));
        }
        let mut removed = whole.clone();
        removed.remove(2);
        assert_eq!(verified(&removed, head.as_ref()), Err(4));
        assert_eq!(verified(&whole[..4], head.as_ref()), Err(5));
        assert_eq!(verified(&whole[2..], head.as_ref()), Ok(3), "what is no longer kept is no fault");
    }

    /// The bytes of a line's fields, each changed at one place in another way; unchanged where a field is empty.
    fn changed(line: &AuditLine, field: usize, at: usize, by: u8) -> AuditLine {
        let flip = |text: &str| {
            let mut chars: Vec<char> = text.chars().collect();
            let place = at % chars.len().max(1);
            if let Some(c) = chars.get_mut(place) {
                *c = char::from_u32(u32::from(*c) ^ u32::from(by)).unwrap_or('?');
            }
            chars.into_iter().collect::<String>()
        };
        let mut changed = line.clone();
        let AuditLine { entry, previous, hash, .. } = &mut changed;
        match field {
            0 => entry.actor = flip(&entry.actor),
            1 => entry.action = flip(&entry.action),
            2 => entry.target = flip(&entry.target),
            3 => entry.detail = Some(flip(entry.detail.as_deref().unwrap_or("x"))),
            4 => entry.at_ms ^= i64::from(by),
            5 => entry.room_id = model::RoomId::new("another").ok(),
            6 => *previous = flip(previous),
            _ => *hash = flip(hash),
        }
        changed
    }

    proptest::proptest! {
        /// A chain verifies, also after erasures that say so; whatever byte of whatever field is changed, it does not.
        #[test]
        fn a_chain_verifies_and_any_changed_byte_is_found(
            entries in proptest::collection::vec((0i64..1 << 40, "[a-z]{1,9}", "[a-z.]{1,9}", ".{0,20}", proptest::option::of(".{1,30}")), 1..20),
            (at_line, field, at, by) in (proptest::prelude::any::<usize>(), 0usize..8, proptest::prelude::any::<usize>(), 1u8..32),
        ) {
            let (mut lines, mut previous) = (Vec::new(), String::new());
            for (n, (at_ms, actor, action, target, detail)) in (1..).zip(entries) {
                let room_id = model::RoomId::new("lobby").ok();
                let line = AuditLine::after(&previous, n, AuditEntry { at_ms, actor, action, room_id, target, detail });
                previous = line.hash.clone();
                lines.push(line);
            }
            let erased = lines[0].entry.actor.clone();
            let count = lines.iter_mut().filter_map(|line| line.erase(&erased).then_some(())).count();
            let declared = erasure_of(count, lines.last().expect("one"));
            lines.push(declared);
            let head = lines.last().map(|last| (last.line, last.hash.clone()));
            proptest::prop_assert_eq!(verified(&lines, head.as_ref()), Ok(lines.len() as u64));
            let place = at_line % lines.len();
            let tampered = changed(&lines[place], field, at, by);
            if tampered != lines[place] {
                lines[place] = tampered;
                proptest::prop_assert!(verified(&lines, head.as_ref()).is_err(), "field {} of line {}", field, place);
            }
        }
    }
}
