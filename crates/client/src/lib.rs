//! A client for Barrage servers: rooms, comments, likes, events with acknowledgement, replay, private and group chat.
//!
//! [`Client`] is a connection that keeps itself: it connects again with jittered delays, joins its rooms again after the last
//! comment seen, and sends again what was not answered. It speaks JSON or Protobuf over WebSocket, or plain HTTP, and reads live
//! segments when the server has too much to do. [`Room`] is a room of it, [`Chat`] the messages of its user, [`Api`]
//! the HTTP endpoints. Programs and the tests of the server use it. It knows the public protocol and nothing behind it.
//!
//! ```no_run
//! # async fn example() -> Result<(), barrage_client::Error> {
//! use barrage_client::{Client, ClientOptions, JoinOptions, RoomItem};
//!
//! let client = Client::new(ClientOptions::new("https://live.example").token("a token"))?;
//! let room = client.room("concert");
//! let mut items = room.subscribe();
//! client.connect();
//! room.join(JoinOptions { history: Some(20), ..JoinOptions::default() }).await?;
//! room.comment("hello").await?;
//! while let Some(item) = items.next().await {
//!     match item {
//!         RoomItem::Comments(batch) => println!("{} comments, {} left out", batch.comments.len(), batch.omitted),
//!         RoomItem::Gap(gap) => println!("{} comments were missed", gap.omitted),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # States
//!
//! ```text
//! closed ──connect()──▶ connecting ──▶ connected
//!                          ▲   │           │ lost
//!                          │   └──failed───┤
//!                          └── waiting ◀───┘       fatal code or close() ──▶ closed
//! ```

#![forbid(unsafe_code)]

mod chat;
mod client;
mod clock;
mod driver;
mod error;
mod feed;
mod http;
mod ladder;
mod pending;
mod retry;
mod room;
mod seen;
pub mod sse;
mod tls;
pub mod transport;
mod types;

pub use chat::{Chat, ChatCursor, ChatItem, ChatItems, MessageDraft, Recipient};
pub use client::{Client, ClientItem, ClientItems, ClientOptions, DevIdentity, State, Token};
pub use clock::ServerClock;
pub use error::{Error, is_fatal_close};
pub use http::Api;
pub use reqwest::Method;
pub use retry::{RetryPolicy, full_jitter, ordered_delay};
pub use room::{Batch, Gap, Room, RoomItem, RoomItems, Source};
pub use types::*;
