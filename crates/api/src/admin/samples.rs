//! The sample of passed comments that is kept for quality control.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use model::{RoomId, Snowflake, UserId, rfc3339_ms};
use serde::{Deserialize, Serialize};
use store::samples::{Sample, SampleQuery};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AsModerator, ListLimit};
use crate::App;
use crate::error::{Answer, Refused};
use crate::extract::Query;
use crate::params::TimeParam;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Sample)]
struct SampleView {
    /// The comment's.
    id: Snowflake,
    room_id: RoomId,
    user_id: UserId,
    username: String,
    content: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<Sample> for SampleView {
    fn from(sample: Sample) -> Self {
        let Sample { id, room_id, user_id, username, content, created_at_ms } = sample;
        Self { id, room_id, user_id, username, content, created_at: rfc3339_ms(created_at_ms) }
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SampleFormat)]
enum Format {
    #[default]
    Json,
    /// A sample a line, without more.
    Jsonl,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SamplesQuery {
    /// Of one room.
    #[param(nullable = false)]
    room_id: Option<RoomId>,
    /// From this moment on.
    #[param(nullable = false, value_type = Option<String>)]
    since: Option<TimeParam>,
    /// Before this moment.
    #[param(nullable = false, value_type = Option<String>)]
    until: Option<TimeParam>,
    /// The `next_cursor` of the page before, or the last id of one as JSON Lines.
    #[param(nullable = false)]
    cursor: Option<Snowflake>,
    #[serde(default)]
    #[param(inline)]
    limit: ListLimit,
    /// `jsonl` answers JSON Lines.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

#[derive(Serialize, ToSchema)]
struct SampleList {
    samples: Vec<SampleView>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<Snowflake>,
}

/// Lists passed comments that were kept for quality control
///
/// Of the rooms whose audit trail the caller may read. `moderation.sample_one_in` switches the sample on.
#[utoipa::path(
    get, path = "/admin/samples", tag = "moderation", operation_id = "list_samples", security(("bearer" = [])),
    params(SamplesQuery),
    responses(
        (status = 200, description = "Oldest first.", content(
            (SampleList = "application/json"),
            (String = "application/x-ndjson"),
        )),
        Refused,
    ),
)]
async fn list(State(app): State<App>, AsModerator(who): AsModerator, Query(query): Query<SamplesQuery>) -> Answer {
    let SamplesQuery { room_id, since, until, cursor, limit, format } = query;
    let (since_ms, until_ms) = (since.map(|TimeParam(ms)| ms), until.map(|TimeParam(ms)| ms));
    let limit = limit.get();
    let query = SampleQuery { since_ms, until_ms, after: cursor, limit: limit + 1, ..SampleQuery::default() };
    let mut samples = app.ingest.samples(&who, room_id.as_ref(), query).await?;
    let more = samples.len() > limit;
    samples.truncate(limit);
    let next_cursor = samples.last().filter(|_| more).map(|sample| sample.id);
    let samples: Vec<SampleView> = samples.into_iter().map(SampleView::from).collect();
    match format {
        Format::Json => Ok(Json(SampleList { samples, next_cursor }).into_response()),
        Format::Jsonl => {
            let lines = samples.iter().filter_map(|sample| serde_json::to_string(sample).ok());
            let body: String = lines.flat_map(|line| [line, "\n".to_owned()]).collect();
            Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
        }
    }
}
