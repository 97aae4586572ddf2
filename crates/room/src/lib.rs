//! Live rooms: what a room's worker and its streams decide.

pub mod batch;
mod board;
pub mod boards;
pub mod budget;
mod elsewhere;
mod held;
pub mod hot;
pub mod hub;
pub mod merge;
pub mod order;
pub mod ranking;
mod reading;
mod recent;
pub mod ring;
pub mod select;
mod shared;
mod side;
pub mod stream;
pub mod window;
pub mod worker;

pub use hub::{Hub, HubRoom, HubSettings, JoinRequest};

#[cfg(test)]
mod fixture;
