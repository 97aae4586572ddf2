//! How requests are read: path, query and body, each refused in the contract's own shape.
//!
//! Bodies are JSON whatever their `Content-Type` says; unknown fields and query names are ignored.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use model::WireError;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// A body that has not come in whole after this is given up.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// A message never quotes more of a request than this many characters.
const QUOTED_CHARS_MAX: usize = 200;

/// What the path names.
pub(crate) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(named)) => Ok(Self(named)),
            Err(rejection) => Err(invalid(rejection.body_text().trim_start_matches("Invalid URL: ")).into()),
        }
    }
}

/// What the query asks for. Names without a value count as absent.
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let said: Vec<&str> = query.split('&').filter(|pair| has_value(pair)).collect();
        let uri: Uri = format!("/?{}", said.join("&")).parse().map_err(|_| invalid("the query cannot be read"))?;
        match axum::extract::Query::try_from_uri(&uri) {
            Ok(axum::extract::Query(asked)) => Ok(Self(asked)),
            Err(rejection) => {
                let text = rejection.body_text();
                Err(invalid(text.trim_start_matches("Failed to deserialize query string: ")).into())
            }
        }
    }
}

fn has_value(pair: &str) -> bool {
    pair.split_once('=').is_some_and(|(_, value)| !value.is_empty())
}

/// The body.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let read = tokio::time::timeout(BODY_TIME_MAX, Bytes::from_request(request, state)).await;
        let read = read.map_err(|_| {
            ApiError::from(invalid("the body came too slowly")).with_status(StatusCode::REQUEST_TIMEOUT)
        })?;
        let bytes = read.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(),
            _ => invalid("the body could not be read").into(),
        })?;
        parse(&bytes).map(Self).map_err(ApiError::from)
    }
}

/// Reads JSON; an error names the field.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.is_empty() {
        return Err(invalid("a JSON body is needed"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value =
        serde_path_to_error::deserialize(&mut json).map_err(|error| match error.path().to_string().as_str() {
            "." => invalid(&error.inner().to_string()),
            field => invalid(&format!("{field}: {}", error.inner())),
        })?;
    json.end().map_err(|error| invalid(&error.to_string()))?;
    Ok(value)
}

fn invalid(message: &str) -> WireError {
    WireError::invalid(message.chars().take(QUOTED_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::message::CommentDraft;

    #[test]
    fn what_is_wrong_is_named() {
        for (body, named) in [
            (r#"{"content":5}"#, "content"),
            (r#"{"content":"a","style":{"color":"red"}}"#, "style.color"),
            (r#"{"content":"a","mentions":["b","c d"]}"#, "mentions[1]"),
            (r#"{}"#, "content"),
            ("", "JSON"),
            (r#"{"content":"a"} x"#, "trailing"),
        ] {
            let error = parse::<CommentDraft>(body.as_bytes()).expect_err(body);
            assert!(error.message.contains(named), "{body}: {error}");
        }
    }
}
