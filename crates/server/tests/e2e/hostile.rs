//! Clients that are broken, careless or worse. Each gets a clear error or a counted close, and somebody in the
//! same room never notices.

mod crowds;
mod http;
mod messages;
mod raw;
mod slow;
mod strangers;

use std::time::{Duration, Instant};

use testkit::{Http, Options, Server, Viewer, eventually};

use crate::{BIN, NO_LIMITS};

/// The longest that a comment may take to reach somebody while others misbehave.
const UNNOTICED: Duration = Duration::from_secs(1);

/// A server on which a bystander may speak as often as the test asks; `toml` holds sections but `[limits]`.
async fn server_with(toml: &str) -> Server {
    Options::new(BIN).config(&format!("{NO_LIMITS}{toml}")).start().await
}

/// Somebody who reads the room `r` while others misbehave, and somebody who speaks in it.
struct Bystander {
    viewer: Viewer,
    speaker: Http,
    said: usize,
}

impl Bystander {
    async fn of(server: &Server) -> Self {
        Self { viewer: server.viewer("bystander", "r").await, speaker: server.user("speaker"), said: 0 }
    }

    /// A comment said now is read a moment later; one of three, because a machine may have other things to do for once.
    async fn notices_nothing(&mut self) {
        let mut took = Vec::new();
        while took.last().is_none_or(|took| *took >= UNNOTICED) {
            assert!(took.len() < 3, "comments took {took:?}");
            self.said += 1;
            let text = format!("said in peace {}", self.said);
            let begun = Instant::now();
            self.speaker.say("r", &text).await;
            self.viewer.sees(&text).await;
            took.push(begun.elapsed());
        }
    }
}

/// The sum of the metrics whose line starts so, such as `closes_total{code="4010"`.
async fn counted(server: &Server, start: &str) -> i64 {
    let text = server.http().get("/metrics").await.text;
    let lines = text.lines().filter(|line| line.strip_prefix("barrage_").is_some_and(|line| line.starts_with(start)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).sum()
}

/// Waits until the sum is this one: what is counted may be heard of first.
async fn counts(server: &Server, start: &str, expected: i64) {
    eventually(&format!("{start} to be {expected}"), async || (counted(server, start).await == expected).then_some(()))
        .await;
}
