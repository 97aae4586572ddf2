//! Reasons of decisions, and how a decision names one.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AsModerator;
use crate::App;
use crate::error::{Answer, Refused};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list))
}

#[derive(Serialize, ToSchema)]
struct ReasonList<'a> {
    /// In the order in which they are to be offered.
    reasons: &'a [String],
}

/// Lists the reasons that a decision may have
///
/// `moderation.reasons` in the configuration names them.
#[utoipa::path(
    get, path = "/admin/reasons", tag = "moderation", operation_id = "list_reasons", security(("bearer" = [])),
    responses((status = 200, description = "The list.", body = ReasonList), Refused),
)]
async fn list(State(app): State<App>, AsModerator(who): AsModerator) -> Answer {
    let reasons = app.ingest.reasons(&who).await?;
    Ok(Json(ReasonList { reasons }).into_response())
}

/// The body of a decision; none is a decision without a reason.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct Decision {
    /// One of `GET /admin/reasons`.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The query of a request that has no body.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReasonQuery {
    /// One of `GET /admin/reasons`.
    #[param(nullable = false)]
    pub reason: Option<String>,
}
