//! Identical and near-identical comments of one batch become one with a count.
//!
//! The room calls it for each batch. Never compares texts: each comment comes with a key that is equal for comments that
//! read nearly the same (`words::fold_key`), made once for all streams.

use std::sync::Arc;

use ahash::AHashMap;
use model::{Comment, Level, Mode, Snowflake};

use model::recent::Recent;

/// How long a merged comment's id is remembered.
pub const MERGED_MS: i64 = 600_000;
/// Merged ids remembered at once; beyond it the oldest is forgotten.
const MERGED_MAX: usize = 65_536;

/// A comment on its way into the streams.
#[derive(Debug, Clone)]
pub struct MergeInput {
    /// The comment.
    pub comment: Arc<Comment>,
    /// Equal for comments that read nearly the same; `None` for one that is like no other.
    pub key: Option<u64>,
    /// Its number of arrival: see [`BatchItem::arrival`](crate::batch::BatchItem::arrival).
    pub arrival: u64,
}

/// A comment that stays after merging.
#[derive(Debug, Clone)]
pub struct MergedComment {
    /// The comment.
    pub comment: Arc<Comment>,
    /// For how many comments it stands, itself included.
    pub count: u32,
}

/// A batch after merging.
#[derive(Debug, Default)]
pub struct Merged {
    /// The comments that stay, in the batch's order.
    pub kept: Vec<MergedComment>,
    /// The ids merged away, each with its representative, in the batch's order.
    pub away: Vec<(Snowflake, Snowflake)>,
}

/// Merges each comment into the first of the batch with the same key and mode.
///
/// Comments of owners, moderators and admins are never merged. A VIP's is never merged into a normal viewer's; where it
/// follows one, it stays and represents those after it.
#[must_use]
pub fn merge(batch: &[MergeInput]) -> Merged {
    let mut merged = Merged { kept: Vec::with_capacity(batch.len()), away: Vec::new() };
    let mut first: AHashMap<(u64, Mode), usize> = AHashMap::with_capacity(batch.len());
    for MergeInput { comment, key, .. } in batch {
        let group = key.filter(|_| may_merge(comment.level)).map(|key| (key, comment.style.mode));
        let standing = group.and_then(|group| first.get(&group)).and_then(|at| merged.kept.get_mut(*at));
        match standing {
            Some(kept) if comment.level <= kept.comment.level => {
                kept.count += 1;
                merged.away.push((comment.id, kept.comment.id));
            }
            _ => {
                first.extend(group.map(|group| (group, merged.kept.len())));
                merged.kept.push(MergedComment { comment: comment.clone(), count: 1 });
            }
        }
    }
    merged
}

fn may_merge(level: Level) -> bool {
    match level {
        Level::Normal | Level::Vip => true,
        Level::Owner | Level::Moderator | Level::Admin => false,
    }
}

/// The representative of each merged comment, for ten minutes, so that a deletion by the merged id still works.
#[derive(Debug)]
pub struct MergedIds(Recent<Snowflake>);

impl Default for MergedIds {
    fn default() -> Self {
        Self(Recent::new(MERGED_MAX))
    }
}

impl MergedIds {
    /// Remembers [`Merged::away`].
    pub fn remember(&mut self, away: &[(Snowflake, Snowflake)], now_ms: i64) {
        self.0.forget_before(now_ms.saturating_sub(MERGED_MS));
        for &(id, representative) in away {
            self.0.insert(id, representative, now_ms);
        }
    }

    /// The comment that stands for `id`, if it was merged away lately.
    #[must_use]
    pub fn representative(&self, id: Snowflake) -> Option<Snowflake> {
        self.0.get(id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use testkit::comments::comment_by;

    fn item(id: u64, key: u64, level: Level, mode: Mode) -> MergeInput {
        MergeInput { comment: comment_by(id, level, mode), key: (key > 0).then_some(key), arrival: id }
    }

    fn kept(merged: &Merged) -> Vec<(u64, u32)> {
        merged.kept.iter().map(|kept| (kept.comment.id.0, kept.count)).collect()
    }

    /// A batch whose ids are its indices.
    fn batches() -> impl Strategy<Value = Vec<MergeInput>> {
        let level = prop_oneof![
            6 => Just(Level::Normal),
            2 => Just(Level::Vip),
            1 => Just(Level::Owner),
            1 => Just(Level::Moderator),
            1 => Just(Level::Admin),
        ];
        let mode = prop_oneof![4 => Just(Mode::Scroll), 1 => Just(Mode::Top), 1 => Just(Mode::Bottom)];
        prop::collection::vec((0..5u64, level, mode), 0..120).prop_map(|said| {
            let said = said.into_iter().zip(0..);
            said.map(|((key, level, mode), id)| item(id, key, level, mode)).collect()
        })
    }

    proptest! {
        #[test]
        fn every_comment_is_counted_once_and_the_order_stays(batch in batches()) {
            let merged = merge(&batch);
            prop_assert_eq!(merged.kept.iter().map(|kept| kept.count as usize).sum::<usize>(), batch.len());
            prop_assert_eq!(merged.kept.len() + merged.away.len(), batch.len());
            prop_assert!(kept(&merged).is_sorted_by(|a, b| a.0 < b.0));
            prop_assert!(merged.away.is_sorted_by(|a, b| a.0 < b.0));
        }

        #[test]
        fn a_comment_goes_away_only_into_one_that_may_stand_for_it(batch in batches()) {
            let merged = merge(&batch);
            let at = |id: Snowflake| &batch[id.0 as usize];
            for &(id, representative) in &merged.away {
                let (gone, stands) = (at(id), at(representative));
                prop_assert!(representative < id && gone.key.is_some() && gone.key == stands.key);
                let (gone, stands) = (&gone.comment, &stands.comment);
                prop_assert!(gone.style.mode == stands.style.mode && gone.level <= stands.level);
                prop_assert!(may_merge(gone.level) && may_merge(stands.level));
                prop_assert!(merged.kept.iter().any(|kept| kept.comment.id == representative && kept.count > 1));
            }
        }

        #[test]
        fn what_could_merge_did(batch in batches()) {
            let mut standing = std::collections::HashSet::new();
            for MergedComment { comment, .. } in merge(&batch).kept {
                if let Some(key) = batch[comment.id.0 as usize].key.filter(|_| may_merge(comment.level)) {
                    prop_assert!(standing.insert((key, comment.style.mode, comment.level)));
                }
            }
        }
    }

    #[test]
    fn levels_and_modes_keep_apart() {
        use Level::{Moderator, Normal, Owner, Vip};
        let levels = [Normal, Normal, Owner, Vip, Normal, Vip, Moderator, Owner];
        let said = |(level, id)| item(id, 7, level, Mode::Scroll);
        let mut batch: Vec<_> = levels.into_iter().zip(0..).map(said).collect();
        batch.push(item(8, 7, Normal, Mode::Top));
        batch.extend([9, 10].map(|id| item(id, 0, Normal, Mode::Scroll)));
        let merged = merge(&batch);
        assert_eq!(kept(&merged), [(0, 2), (2, 1), (3, 3), (6, 1), (7, 1), (8, 1), (9, 1), (10, 1)]);
        assert_eq!(merged.away.iter().map(|(id, by)| (id.0, by.0)).collect::<Vec<_>>(), [(1, 0), (4, 3), (5, 3)]);
    }

    #[test]
    fn merged_ids_are_remembered_for_ten_minutes() {
        let mut merged = MergedIds::default();
        merged.remember(&[(Snowflake(2), Snowflake(1))], 0);
        merged.remember(&[(Snowflake(4), Snowflake(3))], MERGED_MS);
        assert_eq!(merged.representative(Snowflake(2)), Some(Snowflake(1)));
        merged.remember(&[], MERGED_MS + 1);
        assert_eq!(merged.representative(Snowflake(2)), None);
        assert_eq!(merged.representative(Snowflake(4)), Some(Snowflake(3)));
    }
}
