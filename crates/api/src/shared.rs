//! Answers that several resources give.

use serde::Serialize;
use utoipa::ToSchema;

/// It is done, and there is nothing to say about it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {}
