//! The schemas of the API's reference for values whose JSON form is written by hand.
//!
//! Called by the `ToSchema` implementations of this crate. Never decides what is valid: the parsers do.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// A text that a parser of ours accepts: the pattern may be narrower than the parser, never wider.
pub(crate) fn text(pattern: &str, description: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).description(Some(description)).into()
}

/// One of these texts.
pub(crate) fn one_of(names: impl IntoIterator<Item = &'static str>, description: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).description(Some(description)).into()
}
