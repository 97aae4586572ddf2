//! Rankings as they are sent: written as JSON and compressed once, and shared by their readers while unchanged.
//!
//! Called by [`crate::rooms`]. A ranking of 10,000 places takes milliseconds to write and compress, which a crowd of readers
//! would pay for one by one. Bounded by [`BYTES_MAX`].

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use model::{RankingEntry, RoomId, WireError};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::cacheable::{self, Caching, Coding, JSON, Representation};

/// Bodies kept together; beyond it all are forgotten.
const BYTES_MAX: usize = 32 << 20;
/// Rankings of fewer places are written as fast as they are looked up.
const PLACES_MIN: usize = 200;

/// The bodies of rankings that were read lately.
#[derive(Default)]
pub(crate) struct RankingBodies(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    bodies: HashMap<(RoomId, usize), RankingBody>,
    bytes: usize,
}

#[derive(Clone)]
struct RankingBody {
    of: Arc<[RankingEntry]>,
    plain: Bytes,
    digest: String,
    /// By coding, made when somebody asks for it.
    coded: [Option<Bytes>; Coding::COUNT],
}

#[derive(Serialize)]
struct Ranking<'a> {
    entries: &'a [RankingEntry],
}

impl RankingBodies {
    /// The first `limit` places as an answer to a request with these headers.
    pub async fn answer(&self, room: RoomId, of: Arc<[RankingEntry]>, limit: usize, headers: &HeaderMap) -> Response {
        if limit.min(of.len()) < PLACES_MIN {
            return axum::Json(Ranking { entries: of.get(..limit).unwrap_or(&of) }).into_response();
        }
        let (body, coding) = match self.coded(room, of, limit, headers).await {
            Ok(found) => found,
            Err(error) => return crate::error::ApiError::from(error).into_response(),
        };
        let mut response = representation(&body, coding).answer(&HeaderMap::new(), NOT_KEPT);
        response.headers_mut().remove(axum::http::header::ETAG);
        response.headers_mut().remove(axum::http::header::CACHE_CONTROL);
        response
    }

    /// The same as an answer that caches keep.
    ///
    /// # Errors
    /// `unavailable` when it cannot be written.
    pub async fn cacheable(
        &self,
        room: RoomId,
        of: Arc<[RankingEntry]>,
        limit: usize,
        (headers, caching): (&HeaderMap, Caching),
    ) -> Result<Response, WireError> {
        let (body, coding) = self.coded(room, of, limit, headers).await?;
        Ok(representation(&body, coding).answer(headers, caching))
    }

    /// The body in the coding that these headers ask for.
    async fn coded(
        &self,
        room: RoomId,
        of: Arc<[RankingEntry]>,
        limit: usize,
        headers: &HeaderMap,
    ) -> Result<(RankingBody, Coding), WireError> {
        let coding = Coding::chosen(headers, &Coding::ALL);
        let mut kept = self.0.lock().await;
        let key = (room, limit);
        let known = kept.bodies.get(&key).filter(|body| Arc::ptr_eq(&body.of, &of) || body.of == of).cloned();
        if let Some(body) = known.as_ref().filter(|body| body.coded[coding as usize].is_some()) {
            return Ok((body.clone(), coding));
        }
        // Under the lock, so that a crowd waits for one of it.
        let made = tokio::task::spawn_blocking(move || {
            let mut body = known.map_or_else(|| RankingBody::of(of, limit), Some)?;
            body.coded[coding as usize] = Some(coding.encode(&body.plain).ok()?.into());
            Some(body)
        });
        let body = made.await.ok().flatten().ok_or_else(WireError::unavailable)?;
        Ok((kept.put(key, body), coding))
    }
}

/// No cache keeps it: it is said by the headers that every answer gets.
const NOT_KEPT: Caching = Caching { is_public: false, max_age_s: 0, is_immutable: false };

fn representation(body: &RankingBody, coding: Coding) -> Representation {
    let coded = body.coded[coding as usize].clone().unwrap_or_default();
    let tag = format!("{}-{}", body.digest, coding.name());
    Representation { body: coded, media_type: JSON, coding, tag }
}

impl Kept {
    fn put(&mut self, key: (RoomId, usize), body: RankingBody) -> RankingBody {
        self.bytes -= self.bodies.remove(&key).map_or(0, |body| body.bytes());
        if self.bytes + body.bytes() > BYTES_MAX {
            (self.bodies, self.bytes) = (HashMap::new(), 0);
        }
        self.bytes += body.bytes();
        self.bodies.insert(key, body.clone());
        body
    }
}

impl RankingBody {
    fn of(of: Arc<[RankingEntry]>, limit: usize) -> Option<Self> {
        let plain = serde_json::to_vec(&Ranking { entries: of.get(..limit).unwrap_or(&of) }).ok()?;
        let digest = cacheable::digest(&plain);
        Some(Self { of, plain: plain.into(), digest, coded: [const { None }; Coding::COUNT] })
    }

    fn bytes(&self) -> usize {
        let coded: usize = self.coded.iter().flatten().map(Bytes::len).sum();
        self.plain.len() + coded + self.of.len() * size_of::<RankingEntry>()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    fn ranking(places: u32) -> Arc<[RankingEntry]> {
        let user = |n: u32| model::UserId::new(&format!("user-{n}")).expect("an id");
        let entry = |rank| RankingEntry { rank, user_id: user(rank), username: "Name".into(), score: 1 };
        (1..=places).map(entry).collect()
    }

    #[tokio::test]
    async fn an_unchanged_ranking_is_compressed_once() {
        let bodies = RankingBodies::default();
        let room = RoomId::new("hall").expect("an id");
        let gzip = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("br;q=0.1, gzip;q=0.5"))]);
        let given = async |of: Arc<[RankingEntry]>, headers: &HeaderMap| {
            let answer = bodies.answer(room.clone(), of, 1_000, headers).await;
            let encoding = answer.headers().get(header::CONTENT_ENCODING).cloned();
            (encoding, axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a body"))
        };
        let kept = async || {
            let kept = bodies.0.lock().await;
            let body = kept.bodies.values().next().expect("one");
            body.coded[Coding::Gzip as usize].as_ref().map(|bytes| bytes.as_ptr())
        };
        let first = ranking(1_000);
        let (encoding, compressed) = given(first.clone(), &gzip).await;
        assert_eq!(encoding, Some(HeaderValue::from_static("gzip")));
        let once = kept().await;
        assert_eq!(given(first.clone(), &gzip).await.1, compressed);
        given(ranking(1_000), &gzip).await;
        assert_eq!(kept().await, once, "an equal one is the same");
        let (encoding, plain) = given(first, &HeaderMap::new()).await;
        assert_eq!(encoding, None);
        assert!(plain.starts_with(b"{\"entries\":[") && plain.len() > 3 * compressed.len());
        given(ranking(1_001), &gzip).await;
        assert_ne!(kept().await, once, "a changed one is another");
    }
}
