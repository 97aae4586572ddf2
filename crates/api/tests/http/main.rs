//! The API as its callers meet it: conversations with a whole server over loopback.

mod edges;
mod live;
mod moderation;
mod reads;
mod recordings;
mod world;
