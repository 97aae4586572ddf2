//! The suite of [`Leaderboards`].

use std::sync::Arc;

use model::{Comment, Kind, Level, OrderingKey, RoomId, Score, Snowflake, Style, UserId};

use super::AWAY;
use crate::leaderboard::{
    ApplyOutcome, ChangeBatch, HOT_MAX, HOT_STORED, LeaderboardChange, LeaderboardContents, LeaderboardEvent,
    LeaderboardUpdate, LeaderboardView, Leaderboards, LikeChange, RefillClaim, SCORE_MAX, SeenCheck,
};

const FIRST: Snowflake = Snowflake(100);
const LATER: Snowflake = Snowflake(200);

/// Runs every case.
///
/// # Panics
/// When the backend breaks the port's promise.
pub async fn suite(leaderboards: Arc<dyn Leaderboards>, tag: &str, now_ms: i64) {
    let case = |name: &str| Case {
        leaderboards: leaderboards.clone(),
        room: format!("{tag}:{name}").parse().expect("a short tag"),
        now_ms,
    };
    a_leaderboard_begins_empty_or_filled(case("begins")).await;
    scores_rise_and_ties_keep_their_order(case("scores")).await;
    a_comment_counts_once(case("once")).await;
    a_gift_is_reported_as_a_sum(case("gifts")).await;
    scores_stop_where_they_are_exact(case("ends")).await;
    likes_may_arrive_out_of_order(case("likes")).await;
    the_deleted_stay_away(case("deleted")).await;
    the_number_of_comments_is_bounded(case("many")).await;
    a_later_session_replaces_it(case("later")).await;
    what_was_lost_is_noticed(case("lost")).await;
    each_update_is_claimed_once(case("news")).await;
    one_refills_at_a_time(case("claims")).await;
    a_fill_counts_what_it_has_not_seen(case("fill")).await;
    a_fill_loses_to_a_later_session(case("late")).await;
    nodes_that_apply_at_once_lose_nothing(case("crowd")).await;
}

#[derive(Clone)]
struct Case {
    leaderboards: Arc<dyn Leaderboards>,
    room: RoomId,
    now_ms: i64,
}

impl Case {
    async fn apply(&self, batch: ChangeBatch<'_>) -> ApplyOutcome {
        self.leaderboards.apply(&self.room, ChangeBatch { now_ms: self.now_ms, ..batch }).await.expect(AWAY)
    }

    /// Applies changes of a session whose leaderboard may begin with them.
    async fn apply_from_start(&self, session: Snowflake, changes: &[LeaderboardChange]) -> ApplyOutcome {
        self.apply(ChangeBatch { from_start: true, ..batch(Some(session), changes) }).await
    }

    async fn done(&self, changes: &[LeaderboardChange]) {
        assert_eq!(self.apply_from_start(FIRST, changes).await, ApplyOutcome::Applied);
    }

    async fn checked(&self, check: SeenCheck, changes: &[LeaderboardChange]) -> ApplyOutcome {
        self.apply(ChangeBatch { checks: &[check], ..batch(Some(FIRST), changes) }).await
    }

    async fn read(&self) -> Option<LeaderboardView> {
        self.leaderboards.read(&self.room, 10_000, HOT_MAX).await.expect(AWAY)
    }

    async fn ranking(&self) -> Vec<(String, String, u64)> {
        let view = self.read().await.expect("a board");
        assert!((1..).zip(&*view.ranking).all(|(rank, entry)| entry.rank == rank), "ranks count from 1");
        let entries = view.ranking.iter();
        entries.map(|entry| (entry.user_id.to_string(), entry.username.to_string(), entry.score)).collect()
    }

    async fn scores(&self) -> Vec<(String, u64)> {
        self.ranking().await.into_iter().map(|(user, _, score)| (user, score)).collect()
    }

    async fn hot(&self) -> Vec<(u64, u64)> {
        let view = self.read().await.expect("a board");
        view.hot.iter().map(|comment| (comment.id.0, comment.like_count)).collect()
    }

    async fn claim(&self) -> Option<RefillClaim> {
        self.leaderboards.claim(&self.room).await.expect(AWAY)
    }

    async fn fill(&self, contents: LeaderboardContents) -> bool {
        let claim = self.claim().await.expect("nobody fills it");
        self.leaderboards.fill(&self.room, claim, contents).await.expect(AWAY)
    }
}

fn batch(session: Option<Snowflake>, changes: &[LeaderboardChange]) -> ChangeBatch<'_> {
    ChangeBatch { session, from_start: false, checks: &[], changes, now_ms: 0 }
}

fn user(name: &str) -> UserId {
    name.parse().expect("an id")
}

fn comment(id: u64, by: &str, username: &str, like_count: u64) -> Arc<Comment> {
    Arc::new(Comment {
        id: Snowflake(id),
        room_id: "hall".parse().expect("an id"),
        session_id: Some(FIRST),
        user_id: user(by),
        username: username.into(),
        level: Level::Vip,
        content: "\"你好\" \n \\".into(),
        style: Style::default(),
        kind: Kind::Comment,
        mentions: Box::new([user("you")]),
        created_at_ms: 1_700_000_000_000,
        offset_ms: 7,
        like_count,
        shadow: false,
    })
}

fn said_as(position: u64, by: &str, username: &str) -> LeaderboardChange {
    LeaderboardChange {
        key: OrderingKey(5),
        position,
        event: LeaderboardEvent::Commented(comment(position, by, username, 0)),
    }
}

fn said(position: u64, by: &str) -> LeaderboardChange {
    said_as(position, by, by)
}

fn gave(position: u64, by: &str, given: u64) -> LeaderboardChange {
    LeaderboardChange {
        key: OrderingKey(5),
        position,
        event: LeaderboardEvent::Gifted { user_id: user(by), username: by.into(), given },
    }
}

fn liked(id: u64, likes: u64, how: LikeChange) -> LeaderboardChange {
    LeaderboardChange {
        key: OrderingKey(5),
        position: 0,
        event: LeaderboardEvent::Liked(comment(id, "ann", "Ann", likes), how),
    }
}

fn deleted(id: u64) -> LeaderboardChange {
    LeaderboardChange { key: OrderingKey(5), position: 0, event: LeaderboardEvent::Deleted(Snowflake(id)) }
}

fn pairs<const N: usize>(pairs: [(&str, u64); N]) -> Vec<(String, u64)> {
    pairs.map(|(user, score)| (user.to_owned(), score)).to_vec()
}

fn contents(scores: &[(&str, u64, u64, u64)], seen: &[(u16, u64)]) -> LeaderboardContents {
    let score = |&(who, score, given, reached): &(&str, u64, u64, u64)| Score {
        user_id: user(who),
        username: who.into(),
        score,
        given,
        reached,
    };
    LeaderboardContents {
        session: FIRST,
        scores: scores.iter().map(score).collect(),
        seen: seen.iter().map(|&(key, position)| (OrderingKey(key), position)).collect(),
        liked: Vec::new(),
    }
}

async fn a_leaderboard_begins_empty_or_filled(case: Case) {
    assert_eq!(case.read().await, None, "nobody made one");
    assert_eq!(case.apply(batch(Some(FIRST), &[said(1, "ann")])).await, ApplyOutcome::Missing);
    assert_eq!(case.read().await, None, "nothing was changed");
    assert_eq!(case.apply(batch(None, &[deleted(1)])).await, ApplyOutcome::Superseded, "it concerns no board");
    assert_eq!(case.apply_from_start(FIRST, &[]).await, ApplyOutcome::Applied);
    assert_eq!(case.read().await, Some(LeaderboardView::default()), "an empty one");
    assert_eq!(case.apply(batch(Some(FIRST), &[said(1, "ann")])).await, ApplyOutcome::Applied);
    assert_eq!(case.scores().await, pairs([("ann", 1)]));
}

async fn scores_rise_and_ties_keep_their_order(case: Case) {
    let names = [(1, "bo", "Bo"), (2, "ann", "安 娜"), (3, "cy", ""), (4, "bo", "B. O.")];
    case.done(&names.map(|(position, by, name)| said_as(position, by, name))).await;
    let expected = [("bo", "B. O.", 2), ("ann", "安 娜", 1), ("cy", "", 1)];
    assert_eq!(case.ranking().await, expected.map(|(id, name, score)| (id.to_owned(), name.to_owned(), score)));
    case.done(&[said(5, "cy"), said(6, "ann")]).await;
    assert_eq!(case.scores().await, pairs([("bo", 2), ("cy", 2), ("ann", 2)]), "who was there first");
    let head = case.leaderboards.read(&case.room, 2, 0).await.expect(AWAY).expect("a board");
    assert_eq!(head.ranking.len(), 2, "as many as were asked for");
}

async fn a_comment_counts_once(case: Case) {
    let all = [said(1, "ann"), said(2, "bo"), said(3, "ann")];
    case.done(&all[..2]).await;
    case.done(&all[..2]).await;
    assert_eq!(case.scores().await, pairs([("ann", 1), ("bo", 1)]), "repeated");
    case.done(&all).await;
    case.done(&all[1..]).await;
    assert_eq!(case.scores().await, pairs([("ann", 2), ("bo", 1)]), "in part");
    let elsewhere = LeaderboardChange { key: OrderingKey(6), ..said(1, "cy") };
    case.done(&[elsewhere]).await;
    assert_eq!(case.scores().await, pairs([("ann", 2), ("cy", 1), ("bo", 1)]), "another key has its own positions");
}

async fn a_gift_is_reported_as_a_sum(case: Case) {
    case.done(&[said(1, "ann"), gave(2, "ann", 10), gave(3, "bo", 5)]).await;
    case.done(&[gave(2, "ann", 10), gave(4, "bo", 25), gave(3, "bo", 5)]).await;
    assert_eq!(case.scores().await, pairs([("bo", 25), ("ann", 11)]));
    case.done(&[said(5, "cy"), gave(6, "cy", 0)]).await;
    assert_eq!(case.scores().await, pairs([("bo", 25), ("ann", 11), ("cy", 1)]));
}

async fn scores_stop_where_they_are_exact(case: Case) {
    case.done(&[gave(1, "ann", SCORE_MAX - 1), said(2, "ann")]).await;
    assert_eq!(case.scores().await, pairs([("ann", SCORE_MAX)]), "exact up to there");
    case.done(&[said(3, "ann"), gave(4, "bo", u64::MAX)]).await;
    assert_eq!(case.scores().await, pairs([("ann", SCORE_MAX), ("bo", SCORE_MAX)]), "and never beyond");
}

async fn likes_may_arrive_out_of_order(case: Case) {
    use LikeChange::{Added, Removed, Reread};
    case.done(&[liked(1, 2, Added), liked(2, 3, Added), liked(3, 3, Added), liked(1, 1, Added)]).await;
    assert_eq!(case.hot().await, [(2, 3), (3, 3), (1, 2)], "a like is never undone by an older one; ties by the older");
    case.done(&[liked(2, 2, Removed), liked(2, 3, Removed)]).await;
    assert_eq!(case.hot().await, [(3, 3), (1, 2), (2, 2)], "nor is taking one back");
    case.done(&[liked(2, 9, Reread), liked(3, 0, Removed)]).await;
    assert_eq!(case.hot().await, [(2, 9), (1, 2)], "the store knows; without likes it leaves");
    case.done(&[liked(2, 4, Reread)]).await;
    let view = case.read().await.expect("a board");
    assert_eq!(view.hot[0], comment(2, "ann", "Ann", 4), "every field came back");
}

async fn the_deleted_stay_away(case: Case) {
    case.done(&[liked(1, 2, LikeChange::Added), liked(2, 1, LikeChange::Added), deleted(1), deleted(3)]).await;
    case.done(&[liked(1, 3, LikeChange::Added), liked(3, 5, LikeChange::Reread)]).await;
    assert_eq!(case.hot().await, [(2, 1)]);
    assert_eq!(case.apply(batch(None, &[deleted(2)])).await, ApplyOutcome::Applied, "in whichever session");
    assert_eq!(case.hot().await, []);
    let stale = LeaderboardContents { liked: vec![comment(1, "ann", "Ann", 3)], ..contents(&[], &[]) };
    assert!(case.fill(stale).await);
    assert_eq!(case.hot().await, [], "whatever was read before it was deleted");
}

async fn the_number_of_comments_is_bounded(case: Case) {
    let count = HOT_STORED as u64 + 20;
    let all: Vec<_> = (1..=count).map(|id| liked(id, id, LikeChange::Added)).collect();
    case.done(&all).await;
    let expected: Vec<_> = (1..=count).rev().take(HOT_MAX).map(|id| (id, id)).collect();
    assert_eq!(case.hot().await, expected);
    let gone: Vec<_> = (1..=count).filter(|id| *id != 10 && *id != 30).map(deleted).collect();
    case.done(&gone).await;
    assert_eq!(case.hot().await, [(30, 30)], "the least liked made way");
}

async fn a_later_session_replaces_it(case: Case) {
    case.done(&[said(1, "ann"), gave(2, "ann", 5), liked(1, 1, LikeChange::Added)]).await;
    assert_eq!(case.apply(batch(Some(LATER), &[])).await, ApplyOutcome::Missing);
    assert_eq!(case.scores().await, pairs([("ann", 6)]), "readable until it has begun");
    assert_eq!(case.apply_from_start(LATER, &[said(3, "bo"), gave(4, "ann", 2)]).await, ApplyOutcome::Applied);
    assert_eq!(case.scores().await, pairs([("ann", 2), ("bo", 1)]));
    assert_eq!(case.hot().await, []);
    assert_eq!(case.apply_from_start(FIRST, &[said(9, "cy")]).await, ApplyOutcome::Superseded);
    assert_eq!(case.scores().await, pairs([("ann", 2), ("bo", 1)]));
}

async fn what_was_lost_is_noticed(case: Case) {
    let check = |forgotten, applied| SeenCheck { key: OrderingKey(5), forgotten, applied };
    case.done(&[said(1, "ann"), said(4, "ann")]).await;
    assert_eq!(case.checked(check(1, 4), &[said(5, "bo")]).await, ApplyOutcome::Applied);
    assert_eq!(case.checked(check(0, 6), &[said(7, "cy")]).await, ApplyOutcome::Behind, "it lacks 6");
    assert_eq!(case.checked(check(6, 6), &[said(7, "cy")]).await, ApplyOutcome::Lost, "which nobody can repeat");
    assert_eq!(case.checked(check(6, 9), &[]).await, ApplyOutcome::Lost);
    assert_eq!(case.scores().await, pairs([("ann", 2), ("bo", 1)]), "nothing was changed");
    let unknown = SeenCheck { key: OrderingKey(6), forgotten: 0, applied: 1 };
    assert_eq!(case.checked(unknown, &[]).await, ApplyOutcome::Behind);
    let batch = ChangeBatch { from_start: true, checks: &[unknown], ..batch(Some(LATER), &[]) };
    assert_eq!(case.apply(batch).await, ApplyOutcome::Behind, "a board that begins anew has seen nothing");
    assert_eq!(case.scores().await, pairs([("ann", 2), ("bo", 1)]));
}

async fn each_update_is_claimed_once(case: Case) {
    let news = async |ms| case.leaderboards.take_update(&case.room, 2, 500, case.now_ms + ms).await.expect(AWAY);
    let users = |news: LeaderboardUpdate| match news {
        LeaderboardUpdate::Changed { ranking: Some(ranking), .. } => {
            ranking.iter().map(|entry| entry.user_id.to_string()).collect()
        }
        _ => Vec::new(),
    };
    assert_eq!(news(0).await, LeaderboardUpdate::Unchanged, "no board");
    case.done(&[]).await;
    assert_eq!(news(0).await, LeaderboardUpdate::Unchanged, "an empty one");
    case.done(&[said(1, "ann")]).await;
    assert_eq!(users(news(0).await), ["ann"]);
    assert_eq!(news(0).await, LeaderboardUpdate::Unchanged, "taken");
    case.done(&[said(2, "bo")]).await;
    assert_eq!(news(499).await, LeaderboardUpdate::TooSoon);
    assert_eq!(users(news(500).await), ["ann", "bo"]);
    case.done(&[said(3, "cy")]).await;
    assert_eq!(news(5_000).await, LeaderboardUpdate::Unchanged, "beyond event is shown");
    case.done(&[liked(8, 3, LikeChange::Added)]).await;
    let hot: Arc<[_]> = Arc::new([comment(8, "ann", "Ann", 3)]);
    assert_eq!(news(5_000).await, LeaderboardUpdate::Changed { ranking: None, hot: Some(hot) }, "only event changed");
    case.done(&[deleted(8)]).await;
    assert_eq!(news(6_000).await, LeaderboardUpdate::Changed { ranking: None, hot: Some(Arc::new([])) });
    case.done(&[said(4, "cy")]).await;
    assert_eq!(users(news(-60_000).await), ["cy", "ann"], "a clock that stepped back makes nobody wait");
}

async fn one_refills_at_a_time(case: Case) {
    let claim = case.claim().await.expect("nobody fills it");
    assert_eq!(case.claim().await, None);
    assert!(case.leaderboards.fill(&case.room, claim.clone(), contents(&[("ann", 3, 1, 2)], &[])).await.expect(AWAY));
    assert!(!case.leaderboards.fill(&case.room, claim, contents(&[], &[])).await.expect(AWAY), "it was used");
    assert_eq!(case.scores().await, pairs([("ann", 3)]));
    assert!(case.claim().await.is_some(), "and given back");
}

async fn a_fill_counts_what_it_has_not_seen(case: Case) {
    case.done(&[said(1, "gone"), gave(2, "gone", 7)]).await;
    let stored = [("cy", 1, 0, 3), ("bo", 5, 4, 3), ("ann", 5, 5, 0), ("al", 5, 5, 0)];
    let liked_one =
        LeaderboardContents { liked: vec![comment(8, "ann", "Ann", 2)], ..contents(&stored, &[(5, 3), (6, 9)]) };
    assert!(case.fill(liked_one).await);
    assert_eq!(case.scores().await, pairs([("al", 5), ("ann", 5), ("bo", 5), ("cy", 1)]));
    assert_eq!(case.hot().await, [(8, 2)]);
    let meanwhile = [said(2, "cy"), said(3, "bo"), said(4, "cy"), gave(3, "bo", 4), gave(5, "bo", 6)];
    assert_eq!(case.apply(batch(Some(FIRST), &meanwhile)).await, ApplyOutcome::Applied);
    assert_eq!(case.scores().await, pairs([("bo", 7), ("al", 5), ("ann", 5), ("cy", 2)]));
    let many: Vec<_> = (0..1_500).map(|n| format!("user-{n:04}")).collect();
    let many: Vec<_> = many.iter().zip(1..).map(|(who, n)| (who.as_str(), n, 0, n)).collect();
    assert!(case.fill(contents(&many, &[])).await);
    let scores = case.scores().await;
    assert_eq!((scores.len(), scores[0].clone()), (1_500, ("user-1499".to_owned(), 1_500)));
}

async fn a_fill_loses_to_a_later_session(case: Case) {
    let claim = case.claim().await.expect("nobody fills it");
    assert_eq!(case.apply_from_start(LATER, &[said(1, "ann")]).await, ApplyOutcome::Applied);
    assert!(case.leaderboards.fill(&case.room, claim, contents(&[("bo", 9, 0, 9)], &[])).await.expect(AWAY));
    assert_eq!(case.scores().await, pairs([("ann", 1)]));
}

async fn nodes_that_apply_at_once_lose_nothing(case: Case) {
    case.done(&[]).await;
    let nodes = (0..8).map(|node| {
        let case = case.clone();
        tokio::spawn(async move {
            for position in 1..=50 {
                let change = LeaderboardChange { key: OrderingKey(node), ..said(position, "ann") };
                case.done(&[
                    change.clone(),
                    LeaderboardChange { key: OrderingKey(node), ..gave(position, &format!("u{node}"), position) },
                ])
                .await;
                case.done(&[change]).await;
            }
        })
    });
    for node in nodes.collect::<Vec<_>>() {
        node.await.expect("no panic");
    }
    let scores = case.scores().await;
    assert_eq!(scores[0], ("ann".to_owned(), 400));
    assert!(scores[1..].iter().all(|(_, score)| *score == 50) && scores.len() == 9, "{scores:?}");
}
