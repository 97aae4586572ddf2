//! The stores, against their conformance suites.

mod mysql;
mod sqlite;
