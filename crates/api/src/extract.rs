//! Extractors of path, query and body, which refuse in the one shape of an error.
//!
//! Bodies are JSON whatever their `Content-Type` says; unknown fields and query names are ignored.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use model::WireError;
use serde::de::DeserializeOwned;

use crate::caller::token_needed;
use crate::error::ApiError;

/// How long a body may take to come in whole.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Most characters of a request that a message quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// The parameters in the path.
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

/// The parameters in the query. A name without a value counts as absent.
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let given: Vec<&str> = query.split('&').filter(|pair| has_value(pair)).collect();
        let uri: Uri = format!("/?{}", given.join("&")).parse().map_err(|_| invalid("the query cannot be read"))?;
        match axum::extract::Query::try_from_uri(&uri) {
            Ok(axum::extract::Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => {
                let text = rejection.body_text();
                let text = text.trim_start_matches("Failed to deserialize query string: ");
                Err(invalid(&match text.split_once(": ") {
                    Some((field, message)) => named(field, message),
                    None => text.to_owned(),
                })
                .into())
            }
        }
    }
}

fn has_value(pair: &str) -> bool {
    pair.split_once('=').is_some_and(|(_, value)| !value.is_empty())
}

/// Noted by [`crate::caller`] where nobody calls: such a request's body is refused unread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoIdentity;

/// The body as JSON. It is read only for somebody: without a token nothing can be written.
pub(crate) struct JsonBody<T>(pub T);

/// The body's bytes, in time and within the route's limit.
pub(crate) async fn body_bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    if request.extensions().get::<NoIdentity>().is_some() {
        return Err(token_needed().into());
    }
    let read = tokio::time::timeout(BODY_TIME_MAX, Bytes::from_request(request, state)).await;
    let read =
        read.map_err(|_| ApiError::from(invalid("the body came too slowly")).with_status(StatusCode::REQUEST_TIMEOUT))?;
    read.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(),
        _ => invalid("the body could not be read").into(),
    })
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = body_bytes(request, state).await?;
        parse(&bytes).map(Self).map_err(ApiError::from)
    }
}

/// As [`JsonBody`], where a request without a body says nothing special.
pub(crate) struct OptionalJsonBody<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = body_bytes(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&bytes).map(Self).map_err(ApiError::from)
    }
}

/// Reads JSON; an error names the field.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.is_empty() {
        return Err(invalid("a JSON body is needed"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value =
        serde_path_to_error::deserialize(&mut json).map_err(|error| match error.path().to_string().as_str() {
            "." => invalid(&error.inner().to_string()),
            field => invalid(&named(field, &error.inner().to_string())),
        })?;
    json.end().map_err(|error| invalid(&error.to_string()))?;
    Ok(value)
}

/// What is wrong with a field, which the message may name itself.
fn named(field: &str, message: &str) -> String {
    if message.starts_with(field) { message.to_owned() } else { format!("{field}: {message}") }
}

fn invalid(message: &str) -> WireError {
    WireError::invalid(message.chars().take(QUOTED_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::message::CommentDraft;

    #[test]
    fn a_field_is_named_once() {
        type Page = crate::params::Limit<10, 100>;
        #[derive(Debug, serde::Deserialize)]
        struct Asked {
            #[serde(rename = "limit")]
            _limit: Page,
        }
        let uri = Uri::from_static("/?limit=0");
        let (mut parts, ()) = axum::http::Request::builder().uri(uri).body(()).expect("a request").into_parts();
        let refused = futures::executor::block_on(Query::<Asked>::from_request_parts(&mut parts, &()));
        let refused = refused.err().map(|error| format!("{error:?}")).unwrap_or_default();
        assert_eq!(refused.matches("limit").count(), 1, "{refused}");
    }

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
