//! The logs, against a real disk and real brokers.

mod kafka;
mod spool;
