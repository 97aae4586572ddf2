//! The suite of [`Boards`].

use std::sync::Arc;

use model::{Comment, Kind, Lane, Level, RoomId, Score, Snowflake, Style, UserId};

use crate::boards::{
    Applied, Boards, Change, Check, Claim, HOT_KEPT, HOT_MAX, Likes, News, Picture, Run, SCORE_MAX, Snapshot, What,
};

const AWAY: &str = "the backend is there";
const FIRST: Snowflake = Snowflake(100);
const LATER: Snowflake = Snowflake(200);

/// The suite of [`Boards`]. `tag` keeps two runs on one backend apart.
///
/// # Panics
/// When the backend breaks the port's promise.
pub async fn boards(boards: Arc<dyn Boards>, tag: &str, now_ms: i64) {
    let case = |name: &str| Case {
        boards: boards.clone(),
        room: format!("{tag}:{name}").parse().expect("a short tag"),
        now_ms,
    };
    a_board_begins_young_or_filled(case("begins")).await;
    scores_rise_and_ties_stand_as_they_were_reached(case("scores")).await;
    a_comment_counts_once(case("once")).await;
    a_gift_is_told_as_a_sum(case("gifts")).await;
    scores_end_where_they_are_exact(case("ends")).await;
    likes_may_come_in_another_order(case("likes")).await;
    the_deleted_stay_away(case("deleted")).await;
    only_so_many_comments_are_kept(case("many")).await;
    a_later_session_takes_the_place(case("later")).await;
    what_was_lost_is_noticed(case("lost")).await;
    news_are_given_out_once(case("news")).await;
    one_fills_at_a_time(case("claims")).await;
    a_fill_counts_what_it_has_not_seen(case("fill")).await;
    a_fill_loses_to_a_later_session(case("late")).await;
    nodes_that_apply_at_once_lose_nothing(case("crowd")).await;
}

#[derive(Clone)]
struct Case {
    boards: Arc<dyn Boards>,
    room: RoomId,
    now_ms: i64,
}

impl Case {
    async fn apply(&self, run: Run<'_>) -> Applied {
        self.boards.apply(&self.room, Run { now_ms: self.now_ms, ..run }).await.expect(AWAY)
    }

    /// Applies changes of a session whose board may begin with them.
    async fn young(&self, session: Snowflake, changes: &[Change]) -> Applied {
        self.apply(Run { young: true, ..run(Some(session), changes) }).await
    }

    async fn done(&self, changes: &[Change]) {
        assert_eq!(self.young(FIRST, changes).await, Applied::Done);
    }

    async fn checked(&self, check: Check, changes: &[Change]) -> Applied {
        self.apply(Run { checks: &[check], ..run(Some(FIRST), changes) }).await
    }

    async fn read(&self) -> Option<Picture> {
        self.boards.read(&self.room, 10_000, HOT_MAX).await.expect(AWAY)
    }

    async fn ranking(&self) -> Vec<(String, String, u64)> {
        let picture = self.read().await.expect("a board");
        assert!((1..).zip(&*picture.ranking).all(|(rank, entry)| entry.rank == rank), "ranks count from 1");
        let entries = picture.ranking.iter();
        entries.map(|entry| (entry.user_id.to_string(), entry.username.to_string(), entry.score)).collect()
    }

    async fn scores(&self) -> Vec<(String, u64)> {
        self.ranking().await.into_iter().map(|(user, _, score)| (user, score)).collect()
    }

    async fn hot(&self) -> Vec<(u64, u64)> {
        let picture = self.read().await.expect("a board");
        picture.hot.iter().map(|comment| (comment.id.0, comment.like_count)).collect()
    }

    async fn claim(&self) -> Option<Claim> {
        self.boards.claim(&self.room).await.expect(AWAY)
    }

    async fn fill(&self, snapshot: Snapshot) -> bool {
        let claim = self.claim().await.expect("nobody fills it");
        self.boards.fill(&self.room, claim, snapshot).await.expect(AWAY)
    }
}

fn run(session: Option<Snowflake>, changes: &[Change]) -> Run<'_> {
    Run { session, young: false, checks: &[], changes, now_ms: 0 }
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
    })
}

fn said_as(place: u64, by: &str, username: &str) -> Change {
    Change { lane: Lane(5), place, what: What::Said(comment(place, by, username, 0)) }
}

fn said(place: u64, by: &str) -> Change {
    said_as(place, by, by)
}

fn gave(place: u64, by: &str, given: u64) -> Change {
    Change { lane: Lane(5), place, what: What::Gave { user_id: user(by), username: by.into(), given } }
}

fn liked(id: u64, likes: u64, how: Likes) -> Change {
    Change { lane: Lane(5), place: 0, what: What::Liked(comment(id, "ann", "Ann", likes), how) }
}

fn deleted(id: u64) -> Change {
    Change { lane: Lane(5), place: 0, what: What::Deleted(Snowflake(id)) }
}

fn pairs<const N: usize>(pairs: [(&str, u64); N]) -> Vec<(String, u64)> {
    pairs.map(|(user, score)| (user.to_owned(), score)).to_vec()
}

fn snapshot(scores: &[(&str, u64, u64, u64)], seen: &[(u16, u64)]) -> Snapshot {
    let score = |&(who, score, given, reached): &(&str, u64, u64, u64)| Score {
        user_id: user(who),
        username: who.into(),
        score,
        given,
        reached,
    };
    Snapshot {
        session: FIRST,
        scores: scores.iter().map(score).collect(),
        seen: seen.iter().map(|&(lane, place)| (Lane(lane), place)).collect(),
        liked: Vec::new(),
    }
}

async fn a_board_begins_young_or_filled(case: Case) {
    assert_eq!(case.read().await, None, "nobody made one");
    assert_eq!(case.apply(run(Some(FIRST), &[said(1, "ann")])).await, Applied::Missing);
    assert_eq!(case.read().await, None, "nothing was changed");
    assert_eq!(case.apply(run(None, &[deleted(1)])).await, Applied::Past, "it concerns no board");
    assert_eq!(case.young(FIRST, &[]).await, Applied::Done);
    assert_eq!(case.read().await, Some(Picture::default()), "an empty one");
    assert_eq!(case.apply(run(Some(FIRST), &[said(1, "ann")])).await, Applied::Done);
    assert_eq!(case.scores().await, pairs([("ann", 1)]));
}

async fn scores_rise_and_ties_stand_as_they_were_reached(case: Case) {
    let names = [(1, "bo", "Bo"), (2, "ann", "安 娜"), (3, "cy", ""), (4, "bo", "B. O.")];
    case.done(&names.map(|(place, by, name)| said_as(place, by, name))).await;
    let expected = [("bo", "B. O.", 2), ("ann", "安 娜", 1), ("cy", "", 1)];
    assert_eq!(case.ranking().await, expected.map(|(id, name, score)| (id.to_owned(), name.to_owned(), score)));
    case.done(&[said(5, "cy"), said(6, "ann")]).await;
    assert_eq!(case.scores().await, pairs([("bo", 2), ("cy", 2), ("ann", 2)]), "who was there first");
    let head = case.boards.read(&case.room, 2, 0).await.expect(AWAY).expect("a board");
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
    let elsewhere = Change { lane: Lane(6), ..said(1, "cy") };
    case.done(&[elsewhere]).await;
    assert_eq!(case.scores().await, pairs([("ann", 2), ("cy", 1), ("bo", 1)]), "another lane has its own places");
}

async fn a_gift_is_told_as_a_sum(case: Case) {
    case.done(&[said(1, "ann"), gave(2, "ann", 10), gave(3, "bo", 5)]).await;
    case.done(&[gave(2, "ann", 10), gave(4, "bo", 25), gave(3, "bo", 5)]).await;
    assert_eq!(case.scores().await, pairs([("bo", 25), ("ann", 11)]));
    case.done(&[said(5, "cy"), gave(6, "cy", 0)]).await;
    assert_eq!(case.scores().await, pairs([("bo", 25), ("ann", 11), ("cy", 1)]));
}

async fn scores_end_where_they_are_exact(case: Case) {
    case.done(&[gave(1, "ann", SCORE_MAX - 1), said(2, "ann")]).await;
    assert_eq!(case.scores().await, pairs([("ann", SCORE_MAX)]), "exact up to there");
    case.done(&[said(3, "ann"), gave(4, "bo", u64::MAX)]).await;
    assert_eq!(case.scores().await, pairs([("ann", SCORE_MAX), ("bo", SCORE_MAX)]), "and never beyond");
}

async fn likes_may_come_in_another_order(case: Case) {
    use Likes::{Fewer, More, Read};
    case.done(&[liked(1, 2, More), liked(2, 3, More), liked(3, 3, More), liked(1, 1, More)]).await;
    assert_eq!(case.hot().await, [(2, 3), (3, 3), (1, 2)], "a like is never undone by an older one; ties by the older");
    case.done(&[liked(2, 2, Fewer), liked(2, 3, Fewer)]).await;
    assert_eq!(case.hot().await, [(3, 3), (1, 2), (2, 2)], "nor is taking one back");
    case.done(&[liked(2, 9, Read), liked(3, 0, Fewer)]).await;
    assert_eq!(case.hot().await, [(2, 9), (1, 2)], "the store knows; without likes it leaves");
    case.done(&[liked(2, 4, Read)]).await;
    let picture = case.read().await.expect("a board");
    assert_eq!(picture.hot[0], comment(2, "ann", "Ann", 4), "every field came back");
}

async fn the_deleted_stay_away(case: Case) {
    case.done(&[liked(1, 2, Likes::More), liked(2, 1, Likes::More), deleted(1), deleted(3)]).await;
    case.done(&[liked(1, 3, Likes::More), liked(3, 5, Likes::Read)]).await;
    assert_eq!(case.hot().await, [(2, 1)]);
    assert_eq!(case.apply(run(None, &[deleted(2)])).await, Applied::Done, "in whichever session");
    assert_eq!(case.hot().await, []);
    let stale = Snapshot { liked: vec![comment(1, "ann", "Ann", 3)], ..snapshot(&[], &[]) };
    assert!(case.fill(stale).await);
    assert_eq!(case.hot().await, [], "whatever was read before it was deleted");
}

async fn only_so_many_comments_are_kept(case: Case) {
    let count = HOT_KEPT as u64 + 20;
    let all: Vec<_> = (1..=count).map(|id| liked(id, id, Likes::More)).collect();
    case.done(&all).await;
    let expected: Vec<_> = (1..=count).rev().take(HOT_MAX).map(|id| (id, id)).collect();
    assert_eq!(case.hot().await, expected);
    let gone: Vec<_> = (1..=count).filter(|id| *id != 10 && *id != 30).map(deleted).collect();
    case.done(&gone).await;
    assert_eq!(case.hot().await, [(30, 30)], "the least liked made way");
}

async fn a_later_session_takes_the_place(case: Case) {
    case.done(&[said(1, "ann"), gave(2, "ann", 5), liked(1, 1, Likes::More)]).await;
    assert_eq!(case.apply(run(Some(LATER), &[])).await, Applied::Missing);
    assert_eq!(case.scores().await, pairs([("ann", 6)]), "readable until it has begun");
    assert_eq!(case.young(LATER, &[said(3, "bo"), gave(4, "ann", 2)]).await, Applied::Done);
    assert_eq!(case.scores().await, pairs([("ann", 2), ("bo", 1)]));
    assert_eq!(case.hot().await, []);
    assert_eq!(case.young(FIRST, &[said(9, "cy")]).await, Applied::Past);
    assert_eq!(case.scores().await, pairs([("ann", 2), ("bo", 1)]));
}

async fn what_was_lost_is_noticed(case: Case) {
    let check = |forgotten, applied| Check { lane: Lane(5), forgotten, applied };
    case.done(&[said(1, "ann"), said(4, "ann")]).await;
    assert_eq!(case.checked(check(1, 4), &[said(5, "bo")]).await, Applied::Done);
    assert_eq!(case.checked(check(0, 6), &[said(7, "cy")]).await, Applied::Behind, "it lacks 6");
    assert_eq!(case.checked(check(6, 6), &[said(7, "cy")]).await, Applied::Lost, "which nobody can repeat");
    assert_eq!(case.checked(check(6, 9), &[]).await, Applied::Lost);
    assert_eq!(case.scores().await, pairs([("ann", 2), ("bo", 1)]), "nothing was changed");
    let unknown = Check { lane: Lane(6), forgotten: 0, applied: 1 };
    assert_eq!(case.checked(unknown, &[]).await, Applied::Behind);
    let run = Run { young: true, checks: &[unknown], ..run(Some(LATER), &[]) };
    assert_eq!(case.apply(run).await, Applied::Behind, "a board that begins anew has seen nothing");
    assert_eq!(case.scores().await, pairs([("ann", 2), ("bo", 1)]));
}

async fn news_are_given_out_once(case: Case) {
    let news = async |ms| case.boards.news(&case.room, 2, 500, case.now_ms + ms).await.expect(AWAY);
    let users = |news: News| match news {
        News::New { ranking: Some(ranking), .. } => ranking.iter().map(|entry| entry.user_id.to_string()).collect(),
        _ => Vec::new(),
    };
    assert_eq!(news(0).await, News::Same, "no board");
    case.done(&[]).await;
    assert_eq!(news(0).await, News::Same, "an empty one");
    case.done(&[said(1, "ann")]).await;
    assert_eq!(users(news(0).await), ["ann"]);
    assert_eq!(news(0).await, News::Same, "taken");
    case.done(&[said(2, "bo")]).await;
    assert_eq!(news(499).await, News::Soon);
    assert_eq!(users(news(500).await), ["ann", "bo"]);
    case.done(&[said(3, "cy")]).await;
    assert_eq!(news(5_000).await, News::Same, "beyond what is shown");
    case.done(&[liked(8, 3, Likes::More)]).await;
    let hot: Arc<[_]> = Arc::new([comment(8, "ann", "Ann", 3)]);
    assert_eq!(news(5_000).await, News::New { ranking: None, hot: Some(hot) }, "only what changed");
    case.done(&[deleted(8)]).await;
    assert_eq!(news(6_000).await, News::New { ranking: None, hot: Some(Arc::new([])) });
    case.done(&[said(4, "cy")]).await;
    assert_eq!(users(news(-60_000).await), ["cy", "ann"], "a clock that stepped back makes nobody wait");
}

async fn one_fills_at_a_time(case: Case) {
    let claim = case.claim().await.expect("nobody fills it");
    assert_eq!(case.claim().await, None);
    assert!(case.boards.fill(&case.room, claim.clone(), snapshot(&[("ann", 3, 1, 2)], &[])).await.expect(AWAY));
    assert!(!case.boards.fill(&case.room, claim, snapshot(&[], &[])).await.expect(AWAY), "it was used");
    assert_eq!(case.scores().await, pairs([("ann", 3)]));
    assert!(case.claim().await.is_some(), "and given back");
}

async fn a_fill_counts_what_it_has_not_seen(case: Case) {
    case.done(&[said(1, "gone"), gave(2, "gone", 7)]).await;
    let stored = [("cy", 1, 0, 3), ("bo", 5, 4, 3), ("ann", 5, 5, 0), ("al", 5, 5, 0)];
    let liked_one = Snapshot { liked: vec![comment(8, "ann", "Ann", 2)], ..snapshot(&stored, &[(5, 3), (6, 9)]) };
    assert!(case.fill(liked_one).await);
    assert_eq!(case.scores().await, pairs([("al", 5), ("ann", 5), ("bo", 5), ("cy", 1)]));
    assert_eq!(case.hot().await, [(8, 2)]);
    let meanwhile = [said(2, "cy"), said(3, "bo"), said(4, "cy"), gave(3, "bo", 4), gave(5, "bo", 6)];
    assert_eq!(case.apply(run(Some(FIRST), &meanwhile)).await, Applied::Done);
    assert_eq!(case.scores().await, pairs([("bo", 7), ("al", 5), ("ann", 5), ("cy", 2)]));
    let many: Vec<_> = (0..1_500).map(|n| format!("user-{n:04}")).collect();
    let many: Vec<_> = many.iter().zip(1..).map(|(who, n)| (who.as_str(), n, 0, n)).collect();
    assert!(case.fill(snapshot(&many, &[])).await);
    let scores = case.scores().await;
    assert_eq!((scores.len(), scores[0].clone()), (1_500, ("user-1499".to_owned(), 1_500)));
}

async fn a_fill_loses_to_a_later_session(case: Case) {
    let claim = case.claim().await.expect("nobody fills it");
    assert_eq!(case.young(LATER, &[said(1, "ann")]).await, Applied::Done);
    assert!(case.boards.fill(&case.room, claim, snapshot(&[("bo", 9, 0, 9)], &[])).await.expect(AWAY));
    assert_eq!(case.scores().await, pairs([("ann", 1)]));
}

async fn nodes_that_apply_at_once_lose_nothing(case: Case) {
    case.done(&[]).await;
    let nodes = (0..8).map(|node| {
        let case = case.clone();
        tokio::spawn(async move {
            for place in 1..=50 {
                let change = Change { lane: Lane(node), ..said(place, "ann") };
                case.done(&[change.clone(), Change { lane: Lane(node), ..gave(place, &format!("u{node}"), place) }])
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
