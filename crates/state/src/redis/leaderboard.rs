//! [`Leaderboards`] on Redis: sorted sets, changed by one script per batch.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use model::{Comment, RankingEntry, RoomId, Score, UserId};
use redis::{Pipeline, Script, ScriptInvocation};
use redis_client::Redis;

use crate::leaderboard::{
    ApplyOutcome, ChangeBatch, DELETED_MAX, HOT_MAX, HOT_STORED, LeaderboardChange, LeaderboardContents,
    LeaderboardEvent, LeaderboardUpdate, LeaderboardView, Leaderboards, LikeChange, RANKS_MAX, RefillClaim, SCORE_MAX,
    USERS_MAX,
};
use crate::{Result, StateError};

static APPLY: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("leaderboard.lua"), include_str!("leaderboard_apply.lua"))));
static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("leaderboard.lua"), include_str!("leaderboard_read.lua"))));
static NEWS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(include_str!("leaderboard.lua"), include_str!("leaderboard_take_update.lua")))
});
static FILL: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("leaderboard.lua"), include_str!("leaderboard_refill.lua"))));

/// The keys of a leaderboard, in the order of the scripts.
const KEYS: [&str; 7] = ["board", "ranking", "users", "given", "hot", "comments", "gone"];
/// The first of these, which a refill replaces.
const FILLED: usize = 6;
/// How long a leaderboard stays after its last change; it can be refilled.
const BOARD_MS: u64 = 6 * 3_600_000;
/// How long a claim holds, with what was gathered under it. Each step of gathering prolongs both.
const CLAIM_MS: u64 = 15_000;
/// Users and comments written by one call of a refill, so that no call blocks Redis for long.
const FILL_CHUNK: usize = 500;

/// The leaderboards of a deployment. All keys of a room's leaderboard have the room as their hash tag; `leaderboard.lua` lists
/// them.
pub struct RedisLeaderboards {
    redis: Redis,
    users_max: usize,
}

impl RedisLeaderboards {
    /// Leaderboards in this Redis.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self::with_users_max(redis, USERS_MAX)
    }

    /// As [`RedisLeaderboards::new`], with fewer users in each.
    #[must_use]
    pub fn with_users_max(redis: Redis, users_max: usize) -> Self {
        Self { redis, users_max }
    }

    fn key(&self, name: &str, room: &RoomId) -> String {
        self.redis.key(&format!("{name}:{{{room}}}"))
    }

    fn script<'a>(&self, script: &'a Script, room: &RoomId) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for name in KEYS {
            invocation.key(self.key(name, room));
        }
        invocation
    }

    /// The keys under which a refill gathers.
    fn gathered(&self, room: &RoomId, claim: &RefillClaim) -> [String; FILLED] {
        std::array::from_fn(|n| format!("{}:{}", self.key(KEYS[n], room), claim.0))
    }

    async fn gather(&self, room: &RoomId, claim: &RefillClaim, contents: &LeaderboardContents) -> Result<()> {
        let keys = self.gathered(room, claim);
        let mut pipe = Pipeline::new();
        pipe.hset(&keys[0], "session", digits(contents.session.0)).ignore();
        for (key, position) in &contents.seen {
            pipe.hset(&keys[0], format!("seen:{}", key.0), digits(*position)).ignore();
        }
        self.send(&keys, room, pipe).await?;
        for chunk in contents.scores.chunks(FILL_CHUNK) {
            self.send(&keys, room, scores(&keys, chunk)).await?;
        }
        for chunk in contents.liked.chunks(FILL_CHUNK) {
            self.send(&keys, room, liked(&keys, chunk)?).await?;
        }
        Ok(())
    }

    async fn send(&self, keys: &[String; FILLED], room: &RoomId, mut pipe: Pipeline) -> Result<()> {
        for key in keys.iter().chain([&self.key("board-claim", room)]) {
            pipe.pexpire(key, CLAIM_MS.cast_signed()).ignore();
        }
        Ok(self.redis.pipeline("fill", &pipe).await?)
    }
}

/// A number as the scripts compare it: Lua's numbers do not hold it.
fn digits(number: u64) -> String {
    format!("{number:020}")
}

fn member(reached: u64, user: &UserId, username: &str) -> String {
    format!("{reached:020} {user} {username}")
}

fn scores(keys: &[String; FILLED], users: &[Score]) -> Pipeline {
    let mut pipe = Pipeline::new();
    for Score { user_id, username, score, given, reached } in users {
        let score = (*score).min(SCORE_MAX).cast_signed();
        pipe.zadd(&keys[1], member(*reached, user_id, username), -score).ignore();
        pipe.hset(&keys[2], user_id.as_str(), format!("{reached:020} {username}")).ignore();
        if *given > 0 {
            pipe.hset(&keys[3], user_id.as_str(), (*given).min(SCORE_MAX)).ignore();
        }
    }
    pipe
}

fn liked(keys: &[String; FILLED], comments: &[Arc<Comment>]) -> Result<Pipeline> {
    let mut pipe = Pipeline::new();
    for comment in comments {
        let id = digits(comment.id.0);
        pipe.zadd(&keys[4], &id, -comment.like_count.cast_signed()).ignore();
        pipe.hset(&keys[5], &id, json(comment)?).ignore();
    }
    Ok(pipe)
}

fn from<T: redis::FromRedisValue>(value: redis::Value) -> Result<T> {
    T::from_redis_value(value).map_err(|error| StateError(error.to_string()))
}

fn json(comment: &Comment) -> Result<String> {
    serde_json::to_string(comment).map_err(|error| StateError(error.to_string()))
}

fn push_arguments(script: &mut ScriptInvocation<'_>, change: &LeaderboardChange) -> Result<()> {
    match &change.event {
        LeaderboardEvent::Commented(comment) => {
            let (user, name) = (comment.user_id.as_str(), &*comment.username);
            script.arg("s").arg(change.key.0).arg(digits(change.position)).arg(user).arg(name);
        }
        LeaderboardEvent::Gifted { user_id, username, given } => {
            let given = (*given).min(SCORE_MAX);
            script.arg("g").arg(digits(change.position)).arg(user_id.as_str()).arg(&**username).arg(given);
        }
        LeaderboardEvent::Liked(comment, likes) => {
            let how = match likes {
                LikeChange::Added => "more",
                LikeChange::Removed => "fewer",
                LikeChange::Reread => "read",
            };
            script.arg("l").arg(how).arg(digits(comment.id.0)).arg(comment.like_count).arg(json(comment)?);
        }
        LeaderboardEvent::Deleted(id) => {
            script.arg("d").arg(digits(id.0));
        }
    }
    Ok(())
}

/// A ranking as the scripts return it: members with minus their scores.
type Members = Vec<(String, f64)>;

fn read_ranking(members: &Members) -> Arc<[RankingEntry]> {
    (1..).zip(members).filter_map(|(rank, (member, score))| entry(rank, member, *score)).collect()
}

fn read_comments(texts: &[Option<String>]) -> Arc<[Arc<Comment>]> {
    texts.iter().flatten().filter_map(|text| serde_json::from_str(text).ok()).map(Arc::new).collect()
}

/// A ranking entry from a member and its score.
fn entry(rank: u32, member: &str, score: f64) -> Option<RankingEntry> {
    let mut parts = member.splitn(3, ' ').skip(1);
    let (user_id, username) = (parts.next()?.parse().ok()?, parts.next()?.into());
    // Whole, not negative and below 2^53: nothing is lost.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let score = (-score).max(0.0) as u64;
    Some(RankingEntry { rank, user_id, username, score })
}

#[async_trait]
impl Leaderboards for RedisLeaderboards {
    async fn apply(&self, room: &RoomId, batch: ChangeBatch<'_>) -> Result<ApplyOutcome> {
        let mut script = self.script(&APPLY, room);
        script
            .arg(digits(batch.session.map_or(0, |session| session.0)))
            .arg(u8::from(batch.from_start))
            .arg(batch.now_ms);
        script.arg(BOARD_MS).arg(self.users_max).arg(HOT_STORED).arg(DELETED_MAX).arg(batch.checks.len());
        for check in batch.checks {
            script.arg(check.key.0).arg(digits(check.forgotten)).arg(digits(check.applied));
        }
        for change in batch.changes {
            push_arguments(&mut script, change)?;
        }
        match self.redis.script::<u8>("apply", &script).await? {
            0 => Ok(ApplyOutcome::Applied),
            1 => Ok(ApplyOutcome::Superseded),
            2 => Ok(ApplyOutcome::Missing),
            3 => Ok(ApplyOutcome::Behind),
            4 => Ok(ApplyOutcome::Lost),
            other => Err(StateError(format!("an answer of no meaning: {other}"))),
        }
    }

    async fn read(&self, room: &RoomId, ranks: usize, comments: usize) -> Result<Option<LeaderboardView>> {
        let mut script = self.script(&READ, room);
        script.arg(ranks.min(RANKS_MAX)).arg(comments.min(HOT_MAX));
        let there: Option<(Members, Vec<Option<String>>)> = self.redis.script("read", &script).await?;
        Ok(there
            .map(|(members, texts)| LeaderboardView { ranking: read_ranking(&members), hot: read_comments(&texts) }))
    }

    async fn take_update(&self, room: &RoomId, first: usize, pause_ms: i64, now_ms: i64) -> Result<LeaderboardUpdate> {
        let mut script = self.script(&NEWS, room);
        script.arg(first.min(HOT_MAX)).arg(pause_ms).arg(self.redis.at_ms(now_ms));
        let answer: Vec<redis::Value> = self.redis.script("news", &script).await?;
        match <[_; 5]>::try_from(answer) {
            Ok([_, ranking_new, members, hot_new, texts]) => Ok(LeaderboardUpdate::Changed {
                ranking: from::<bool>(ranking_new)?.then_some(read_ranking(&from(members)?)),
                hot: from::<bool>(hot_new)?.then_some(read_comments(&from::<Vec<_>>(texts)?)),
            }),
            Err(short) if short == [redis::Value::Int(1)] => Ok(LeaderboardUpdate::TooSoon),
            Err(_) => Ok(LeaderboardUpdate::Unchanged),
        }
    }

    async fn claim(&self, room: &RoomId) -> Result<Option<RefillClaim>> {
        let claim = RefillClaim(format!("{:016x}", rand::random::<u64>()));
        let mut command = redis::cmd("SET");
        command.arg(self.key("board-claim", room)).arg(&claim.0).arg("NX").arg("PX").arg(CLAIM_MS);
        let taken: Option<String> = self.redis.command("claim", &command).await?;
        Ok(taken.map(|_| claim))
    }

    async fn fill(&self, room: &RoomId, claim: RefillClaim, contents: LeaderboardContents) -> Result<bool> {
        self.gather(room, &claim, &contents).await?;
        let mut script = self.script(&FILL, room);
        script.key(self.key("board-claim", room));
        for key in self.gathered(room, &claim) {
            script.key(key);
        }
        script.arg(&claim.0).arg(digits(contents.session.0)).arg(BOARD_MS);
        Ok(self.redis.script("fill", &script).await?)
    }
}
