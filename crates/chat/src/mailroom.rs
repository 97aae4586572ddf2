//! The one task that stores what is sent and says so, in one order.
pub(crate) struct Mailroom;
