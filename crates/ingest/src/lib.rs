//! The rules of live rooms: who may read and write, which comments enter, and what moderators may do.
//!
//! [`Ingest`] holds the rules' state. The gateway (sockets) and the API (HTTP) share it, and hand comments to an
//! [`Admission`]: this process, or another node.
//!
//! - `access` decides who may read and write; [`admit`] checks one comment, in order.
//! - [`rooms`] knows settings and sessions, [`bans`] who is banned or muted, [`filter`] the word lists, [`tokens`] and
//!   `names` who somebody is, and `rights` who may moderate what.
//! - [`moderation`] and [`likes`] change what is there; [`events`] tells rooms and users about it.
//! - [`replica`] applies what other nodes changed; [`hot_rooms`] counts comments.
//!
//! It knows no socket, no HTTP, no SQL and no broker: it calls the ports of `state`, `store`, `log` and `fanout`.

mod access;
pub mod admission;
pub mod admit;
mod await_persisted;
pub mod bans;
mod context;
mod delays;
pub mod events;
pub mod filter;
pub mod hot_rooms;
mod interactions;
mod known_moderators;
pub mod likes;
mod message_filter;
pub mod moderation;
mod moments;
mod names;
mod people;
pub mod poll_inline;
mod raids;
pub mod refusal;
pub mod replica;
mod rights;
pub mod rooms;
mod samples;
mod screen;
pub mod tokens;
pub mod webhooks;

use std::sync::Arc;

pub use log::Submission;
pub use model::Admitted;

use log::Log;
use model::{Clock, Comment, Metrics, SnowflakeGenerator};
use state::{RateLimiter, Reservations};
use store::{ReviewStatus, Store};

pub use self::moderation::{ModerationError, Moderator};
pub use access::{AccessChanges, Reader};
pub use admission::Admission;
pub use bans::Bans;
pub use delays::Delays;
pub use events::PendingEventUsers;
pub use filter::WordFilter;
pub use hot_rooms::CountingLog;
pub use interactions::{Interactions, NewPoll, VoteError};
pub use people::People;
pub use raids::{Raid, Raids};
pub use refusal::Refusal;
pub use replica::ReplicaRefresher;
pub use rooms::Rooms;
pub use samples::SampleLog;
pub use screen::Screening;
pub use tokens::{KeyFiles, TokenError, Tokens};
pub use webhooks::{WebhookLog, Webhooks};

/// Called for comments that are held for review, and for the decisions about them. Must not block.
pub type ReviewListener = Arc<dyn Fn(&Comment, ReviewStatus) + Send + Sync>;

/// The rules with their state.
pub struct Ingest {
    /// The rooms' settings and sessions.
    pub rooms: Rooms,
    /// Says when a reader may have to be asked about again.
    pub access_changes: AccessChanges,
    /// Verifies tokens, and knows which were revoked.
    pub tokens: Arc<Tokens>,
    /// Bans and mutes in force.
    pub bans: Bans,
    /// Users for whom the store may keep events.
    pub pending_event_users: PendingEventUsers,
    /// The word lists.
    pub filter: WordFilter,
    /// Limits of the deployment; a room may have its own.
    pub limits: settings::Limits,
    /// Whether rooms that are not private may be read without an identity.
    pub anonymous_read: bool,
    /// Rates, and texts that are repeated.
    pub rate_limiter: Arc<dyn RateLimiter>,
    /// First answers to `client_msg_id`s.
    pub reservations: Arc<dyn Reservations>,
    /// Everything that is kept.
    pub store: Arc<dyn Store>,
    /// Takes accepted comments and everything else that happens in rooms.
    pub log: Arc<dyn Log>,
    /// Learns of reviews.
    pub review_listener: ReviewListener,
    /// Comments that are published later.
    pub delays: Delays,
    /// Who was here before.
    pub people: People,
    /// The hook, and what holds without its answer.
    pub screening: Screening,
    /// Watches for raids.
    pub raids: Raids,
    /// Polls and combos that rooms are told of.
    pub interactions: Interactions,
    /// Services that are told what happens.
    pub webhooks: Arc<Webhooks>,
    /// Whether those may be in a private network.
    pub webhooks_allow_private: bool,
    /// Rings when an erasure was asked for here.
    pub erasure_requested: Arc<tokio::sync::Notify>,
    /// Makes ids.
    pub ids: Arc<SnowflakeGenerator>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}
