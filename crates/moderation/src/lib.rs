//! The rules that a room's owner switches on, as functions of a comment, its sender and the room's recent comments.
//!
//! `ingest` calls [`rules::check`] after limits and words, for rooms that have a rule at all, and keeps a [`Recent`] for
//! each of them. Pure: no I/O, no clock, no logging. Everything is linear in the text.

#![forbid(unsafe_code)]

pub mod classifier;
mod links;
mod raid;
mod recent;
pub mod rules;
mod terms;
mod text;

pub use classifier::Classifier;
pub use raid::{Alarm, RaidKind, RaidWatch};
pub use recent::{Recent, SIMILAR_TO_LAST, Shingles};
pub use rules::{Breach, Sender};
pub use terms::Terms;
