//! An event stream as a browser's `EventSource` reads it.

use barrage_client::sse::{Event, Parser};
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::{HEARD_MAX, PATIENCE};

/// One event.
#[derive(Debug, Clone, Default)]
pub struct StreamEvent {
    /// `comments` or `event`.
    pub name: String,
    /// What `Last-Event-ID` would be after it, when it sets that.
    pub id: Option<String>,
    /// The message.
    pub data: Value,
}

/// An open stream, read in the background.
pub struct Events {
    /// Status code of the answer.
    pub status: u16,
    /// `Content-Type` of the answer.
    pub content_type: String,
    incoming: mpsc::Receiver<StreamEvent>,
    came: Vec<StreamEvent>,
}

impl Events {
    pub(crate) fn of(response: reqwest::Response) -> Self {
        let (sender, incoming) = mpsc::channel(HEARD_MAX);
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        tokio::spawn(read(response, sender));
        Self { status, content_type, incoming, came: Vec::new() }
    }

    /// The next event, or `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<StreamEvent> {
        let next = timeout(PATIENCE, self.incoming.recv()).await;
        let next = next.unwrap_or_else(|_| panic!("no further event; there came {:#?}", self.came))?;
        self.came.push(next.clone());
        Some(next)
    }

    /// The first event from here on that fits.
    pub async fn expect(&mut self, what: &str, fits: impl Fn(&StreamEvent) -> bool) -> StreamEvent {
        loop {
            match self.next().await {
                Some(event) if fits(&event) => return event,
                Some(_) => {}
                None => panic!("the stream ended before {what}; there came {:#?}", self.came),
            }
        }
    }

    /// The first batch from here on with a comment of this content; the comment and the batch's id.
    pub async fn sees(&mut self, content: &str) -> (Value, Option<String>) {
        let with = |event: &StreamEvent| comments(event).find(|comment| comment["content"] == content).cloned();
        let event = self.expect(content, |event| with(event).is_some()).await;
        (with(&event).unwrap(), event.id)
    }
}

fn comments(event: &StreamEvent) -> impl Iterator<Item = &Value> {
    event.data["comments"].as_array().into_iter().flatten()
}

async fn read(response: reqwest::Response, sender: mpsc::Sender<StreamEvent>) {
    let (mut bytes, mut parser) = (response.bytes_stream(), Parser::default());
    while let Some(Ok(chunk)) = bytes.next().await {
        parser.push(&chunk);
        while let Some(Event { name, id, data }) = parser.next_event() {
            if let Ok(data) = serde_json::from_str(&data) {
                let _ = sender.send(StreamEvent { name, id, data }).await; // The test may have seen enough.
            }
        }
    }
}
