//! Reads a room as live segments: pieces of time that any HTTP cache may keep, so that a million viewers cost the server what
//! one does. Asks for each by its number once its time is over, at a moment of this viewer's own.
//!
//! The HTTP transport starts it for each room and hands on what it reads. It knows nothing of connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;
use url::Url;

use super::SEGMENTS;
use crate::Error;
use crate::clock::ServerClock;
use crate::http::Api;

/// The longest a viewer waits after a segment's end, and never longer than a segment.
const JITTER_MS: i64 = 300;
/// Segments read when somebody comes whom the server gives no history, and at most when somebody comes back.
const HISTORY_SEGMENTS: i64 = 5;
const RESUME_SEGMENTS: i64 = 30;
/// Comments of history when nobody says how many, and of a page.
const HISTORY: u64 = 50;
const PAGE: usize = 100;
/// The first pause after a failure, which doubles with each.
const RETRY: Duration = Duration::from_millis(500);
/// Failures in a row after which the connection counts as lost.
const FAILURES_MAX: u32 = 5;
/// A request that is held has this much longer than its segment takes.
const ANSWER: Duration = Duration::from_secs(15);
/// The longest segment that is believed, in milliseconds.
const SEGMENT_MS_MAX: i64 = 60_000;

/// What was read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Read {
    pub comments: Vec<Value>,
    pub events: Vec<Value>,
    pub omitted: u64,
    /// What the newest segment says of the server's wish.
    pub prefers_segments: Option<bool>,
}

/// Where a room's segments stand.
#[derive(Deserialize)]
struct Live {
    segment_ms: i64,
    seq: i64,
    server_time_ms: i64,
    url_template: String,
}

#[derive(Deserialize)]
struct Segment {
    #[serde(default)]
    comments: Vec<Value>,
    #[serde(default)]
    events: Vec<Value>,
    #[serde(default)]
    omitted: u64,
    #[serde(default)]
    prefer: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    comments: Vec<Value>,
    latest_id: String,
}

/// What this viewer asked for of what everybody is given.
struct Wanted {
    history: usize,
    max_per_s: Option<u64>,
    only_user_ids: Vec<String>,
}

/// The reader of one room.
pub(super) struct SegmentReader {
    api: Api,
    room_id: String,
    cache: Option<Url>,
    clock: Arc<Mutex<ServerClock>>,
    wanted: Wanted,
    live: Live,
    next: i64,
    /// The newest comment that was read, also one that this viewer did not want.
    last_id: Option<String>,
    /// This viewer's moment after a segment's end: a part of the longest wait.
    jitter: f64,
    failures: u32,
}

impl SegmentReader {
    pub fn new(api: Api, room_id: &str, request: &Value, cache: Option<Url>, clock: Arc<Mutex<ServerClock>>) -> Self {
        let only = request["only_user_ids"].as_array().into_iter().flatten();
        let wanted = Wanted {
            history: request["history"].as_u64().unwrap_or(HISTORY).min(PAGE as u64) as usize,
            max_per_s: request["max_per_s"].as_u64(),
            only_user_ids: only.filter_map(|user| user.as_str().map(str::to_owned)).collect(),
        };
        let live = Live { segment_ms: 1, seq: 0, server_time_ms: 0, url_template: String::new() };
        let (room_id, jitter) = (room_id.to_owned(), rand::random());
        Self { api, room_id, cache, clock, wanted, live, next: 0, last_id: None, jitter, failures: 0 }
    }

    /// What was missed since a comment, or the history asked for. What comes then is read with [`SegmentReader::next`].
    pub async fn open(&mut self, since_id: Option<&str>) -> Result<Read, Error> {
        self.locate().await?;
        self.next = self.live.seq;
        let keep = self.wanted.history;
        let missed = match since_id {
            Some(since) => self.missed(since).await,
            None => self.history(keep).await?,
        };
        self.last_id = since_id.map(str::to_owned);
        self.note_last(&missed.comments);
        let mut read = self.wanted.select(missed, None);
        let cut = read.comments.len().saturating_sub(keep);
        read.comments.drain(..cut);
        read.omitted = if since_id.is_some() { read.omitted + cut as u64 } else { 0 };
        Ok(read)
    }

    /// The next segment, or what was missed when its place is lost. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Read, Error> {
        loop {
            let segment_ms = self.live.segment_ms;
            let jitter_ms = (self.jitter * JITTER_MS.min(segment_ms) as f64) as i64;
            self.sleep_until((self.next + 1).saturating_mul(segment_ms).saturating_add(jitter_ms)).await;
            match self.segment(self.next).await {
                Ok(segment) => {
                    self.failures = 0;
                    self.next += 1;
                    self.note_last(&segment.comments);
                    let prefers_segments = Some(segment.prefer.as_deref() == Some(SEGMENTS));
                    let read = self.wanted.select(read_of(segment), Some(segment_ms.unsigned_abs()));
                    return Ok(Read { prefers_segments, ..read });
                }
                Err(error) => {
                    if let Some(read) = self.recover(error).await? {
                        return Ok(self.wanted.select(read, None));
                    }
                }
            }
        }
    }

    /// After a failure: waits and tries again, or finds its place anew, and returns what was missed meanwhile.
    async fn recover(&mut self, error: Error) -> Result<Option<Read>, Error> {
        self.failures += 1;
        if self.failures > FAILURES_MAX {
            return Err(error);
        }
        let pause = error.retry_after.unwrap_or(RETRY * 2_u32.pow(self.failures - 1));
        sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        // The prefix has ended, the node is another one, or this program was asleep: where do the segments stand?
        if !matches!(error.status, Some(401 | 403 | 404)) {
            return Ok(None);
        }
        self.locate().await?;
        if self.next >= self.live.seq {
            self.next = self.next.min(self.live.seq + 1);
            return Ok(None);
        }
        self.next = self.live.seq;
        let Some(since) = self.last_id.clone() else { return Ok(None) };
        let read = self.page(&since).await?;
        self.note_last(&read.comments);
        Ok(Some(read))
    }

    async fn locate(&mut self) -> Result<(), Error> {
        let sent = Instant::now();
        let live: Live = self.api.call(Method::GET, &["rooms", &self.room_id, "live"], &(), None::<&()>).await?;
        if !(1..=SEGMENT_MS_MAX).contains(&live.segment_ms) || !live.url_template.contains("{seq}") {
            return Err(Error::new("invalid", "the room's live segments are not to be understood"));
        }
        self.clock.lock().observe(sent, Instant::now(), live.server_time_ms);
        self.live = live;
        Ok(())
    }

    async fn segment(&self, seq: i64) -> Result<Segment, Error> {
        let path = self.live.url_template.replace("{seq}", &seq.to_string());
        let within = ANSWER + Duration::from_millis(self.live.segment_ms.unsigned_abs() * 2);
        crate::client::read(self.api.shared(&path, self.cache.as_ref(), within).await?)
    }

    /// Everything since a comment: from segments, which caches have; from the server if they do not reach back so far.
    async fn missed(&self, since: &str) -> Read {
        let mut found = Vec::new();
        for back in 1..=RESUME_SEGMENTS {
            let Ok(mut segment) = self.segment(self.live.seq - back).await else { break };
            if let Some(at) = segment.comments.iter().position(|comment| comment["id"] == since) {
                segment.comments.drain(..=at);
                segment.omitted = 0;
                found.push(segment);
                return merged(found);
            }
            found.push(segment);
        }
        match self.page(since).await {
            Ok(page) => page,
            Err(_) => merged(found),
        }
    }

    async fn history(&self, keep: usize) -> Result<Read, Error> {
        if keep == 0 {
            return Ok(Read::default());
        }
        match self.comments(None, keep).await {
            Ok((comments, _)) => Ok(Read { comments, ..Read::default() }),
            Err(error) if matches!(error.status, Some(401 | 403)) => Err(error),
            // A server with too much to do still has what caches keep.
            Err(_) => {
                let mut found = Vec::new();
                for back in 1..=HISTORY_SEGMENTS {
                    let Ok(segment) = self.segment(self.live.seq - back).await else { break };
                    found.push(segment);
                }
                Ok(merged(found))
            }
        }
    }

    /// What was published since a comment, as polling gives it.
    async fn page(&self, since: &str) -> Result<Read, Error> {
        let (mut comments, mut since) = (Vec::new(), since.to_owned());
        for _ in 0..RESUME_SEGMENTS {
            let (page, latest) = self.comments(Some(&since), PAGE).await?;
            let is_last = page.len() < PAGE;
            comments.extend(page);
            since = latest;
            if is_last {
                break;
            }
        }
        Ok(Read { comments, ..Read::default() })
    }

    /// A page after a comment, or the newest; and where the next page begins.
    async fn comments(&self, since_id: Option<&str>, limit: usize) -> Result<(Vec<Value>, String), Error> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(since_id.map(|since_id| ("since_id", since_id.to_owned())));
        let page: Page = self.api.call(Method::GET, &["rooms", &self.room_id, "comments"], &query, None::<&()>).await?;
        Ok((page.comments, page.latest_id))
    }

    fn note_last(&mut self, comments: &[Value]) {
        if let Some(id) = comments.last().and_then(|comment| comment["id"].as_str()) {
            self.last_id = Some(id.to_owned());
        }
    }

    async fn sleep_until(&self, server_ms: i64) {
        let wait_ms = server_ms.saturating_sub(self.clock.lock().now_ms());
        if let Ok(wait_ms @ 1..) = u64::try_from(wait_ms) {
            sleep(Duration::from_millis(wait_ms)).await;
        }
    }
}

fn read_of(segment: Segment) -> Read {
    let Segment { comments, events, omitted, prefer: _ } = segment;
    Read { comments, events, omitted, prefers_segments: None }
}

/// Segments from the newest to the oldest as one.
fn merged(segments: Vec<Segment>) -> Read {
    segments.into_iter().rev().map(read_of).fold(Read::default(), |mut all, one| {
        all.comments.extend(one.comments);
        all.events.extend(one.events);
        all.omitted += one.omitted;
        all
    })
}

impl Wanted {
    /// What this viewer wants of what came in so many milliseconds; of any time without them.
    fn select(&self, mut read: Read, ms: Option<u64>) -> Read {
        if self.max_per_s == Some(0) {
            (read.comments, read.omitted) = (Vec::new(), 0);
            return read;
        }
        if !self.only_user_ids.is_empty() {
            let is_wanted = |comment: &Value| self.only_user_ids.iter().any(|user| comment["user_id"] == user.as_str());
            read.comments.retain(is_wanted);
            read.omitted = 0;
            return read;
        }
        let (Some(max_per_s), Some(ms)) = (self.max_per_s, ms) else { return read };
        let count = read.comments.len() as u64;
        let most = (max_per_s.saturating_mul(ms).saturating_add(500) / 1_000).max(1);
        if count > most {
            // Evenly: the n-th stays where the share of the whole steps up.
            let mut n = 0;
            read.comments.retain(|_| {
                n += 1;
                n * most / count > (n - 1) * most / count
            });
            read.omitted += count - most;
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(count: u64) -> Read {
        let comments = (0..count).map(|n| json!({ "id": n.to_string(), "user_id": format!("u{}", n % 2) }));
        Read { comments: comments.collect(), omitted: 3, ..Read::default() }
    }

    fn ids(read: &Read) -> Vec<&str> {
        read.comments.iter().filter_map(|comment| comment["id"].as_str()).collect()
    }

    #[test]
    fn a_viewer_is_given_what_it_asked_for_evenly() {
        let wanted = |max_per_s, only: &[&str]| {
            let only_user_ids = only.iter().map(|user| (*user).to_owned()).collect();
            Wanted { history: 0, max_per_s, only_user_ids }
        };
        let all = wanted(None, &[]).select(read(9), Some(1_000));
        assert_eq!((all.comments.len(), all.omitted), (9, 3));
        let few = wanted(Some(3), &[]).select(read(9), Some(1_000));
        assert_eq!((ids(&few), few.omitted), (vec!["2", "5", "8"], 9));
        let half = wanted(Some(3), &[]).select(read(9), Some(500));
        assert_eq!((half.comments.len(), half.omitted), (2, 10));
        let none = wanted(Some(0), &[]).select(read(9), Some(1_000));
        assert_eq!((none.comments.len(), none.omitted), (0, 0));
        let one = wanted(Some(1), &["u1"]).select(read(5), Some(1_000));
        assert_eq!((ids(&one), one.omitted), (vec!["1", "3"], 0));
        assert_eq!(wanted(Some(1), &[]).select(read(9), None).comments.len(), 9, "what was missed is not thinned out");
    }
}
