//! What a room gives its viewers.

mod coming_and_going;
mod in_flight;
mod live;
mod nodes;
mod redis;
