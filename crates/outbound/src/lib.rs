//! Calls of this program to web services that its operators or users name: signed, bounded, and never to where they must not
//! go.
//!
//! [`guard`] decides which addresses may be called, [`sign`] signs, [`hook`] asks a moderation service about comments before
//! they are published, [`otlp`] sends spans to a collector, and [`sentry`] reports faults. Never follows a redirect.

#![forbid(unsafe_code)]

pub mod guard;
pub mod hook;
pub mod otlp;
pub mod sentry;
pub mod sign;
