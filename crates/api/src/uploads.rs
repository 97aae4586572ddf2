//! Uploads over HTTP: announcing one, bringing its bytes, reading them.
//!
//! Links carry their permission in the query, so that `<img>` and `<video>` can follow them. What comes back
//! is somebody else's file: it is never a page of this site, whatever it says it is.

use std::ops::Range;
use std::time::Duration;

use axum::Json;
use axum::body::Body as Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chat::{Ticket, UploadDraft};
use futures::{StreamExt, stream};
use model::chat::MsgType;
use model::{Snowflake, rfc3339_ms};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::caller::Caller;
use crate::error::{Answer, ApiError};
use crate::extract::{Json as Body, Path, Query};

/// An upload of which nothing comes for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Should a browser open a link by itself: nothing in it runs, loads or is framed.
const SANDBOX: HeaderValue =
    HeaderValue::from_static("default-src 'none'; img-src 'self'; media-src 'self'; sandbox; frame-ancestors 'none'");

#[derive(Deserialize)]
pub(crate) struct Draft {
    msg_type: MsgType,
    content_type: String,
    size_bytes: u64,
    name: Option<String>,
}

/// Takes note of an upload and says where its bytes are to come.
pub(crate) async fn announce(State(app): State<App>, caller: Caller, Body(draft): Body<Draft>) -> Answer {
    #[derive(Serialize)]
    struct Announced {
        upload_id: Snowflake,
        put_url: String,
        expires_at: String,
        bytes_max: u64,
    }
    let Draft { msg_type, content_type, size_bytes, name } = draft;
    let draft = UploadDraft { msg_type, content_type, size_bytes, name };
    let (upload, ticket) = app.uploads.announce(caller.author()?, draft).await?;
    let announced = Announced {
        upload_id: upload.id,
        put_url: link(&ticket),
        expires_at: rfc3339_ms(ticket.expires * 1_000),
        bytes_max: app.uploads.bytes_max(msg_type),
    };
    Ok((StatusCode::CREATED, Json(announced)).into_response())
}

/// What an upload is, and a link to read it by.
pub(crate) async fn show(State(app): State<App>, caller: Caller, Path(id): Path<Snowflake>) -> Answer {
    #[derive(Serialize)]
    struct Shown {
        upload_id: Snowflake,
        url: String,
        expires_at: String,
        content_type: Box<str>,
        size_bytes: u64,
        name: Option<Box<str>>,
    }
    let (upload, ticket) = app.uploads.show(caller.author()?, id).await?;
    let shown = Shown {
        upload_id: id,
        url: link(&ticket),
        expires_at: rfc3339_ms(ticket.expires * 1_000),
        content_type: upload.content_type,
        size_bytes: upload.size_bytes,
        name: upload.name,
    };
    Ok(Json(shown).into_response())
}

/// A link's path and query; its host is whatever the client has reached this server by.
fn link(Ticket { id, expires, signature }: &Ticket) -> String {
    format!("/api/v1/uploads/{id}/content?expires={expires}&signature={signature}")
}

#[derive(Deserialize)]
pub(crate) struct Permission {
    expires: i64,
    signature: String,
}

impl Permission {
    fn ticket(self, id: Snowflake) -> Ticket {
        Ticket { id, expires: self.expires, signature: self.signature }
    }
}

/// Takes an upload's bytes.
pub(crate) async fn take(
    State(app): State<App>,
    Path(id): Path<Snowflake>,
    Query(permission): Query<Permission>,
    request: Request,
) -> Answer {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let bytes = request.into_body().into_data_stream();
    // Silence and a broken connection end the stream early, and too few bytes are refused.
    let bytes = stream::unfold(bytes, async |mut bytes| {
        let next = tokio::time::timeout(SILENCE_MAX, bytes.next()).await.ok().flatten()?;
        Some((next, bytes))
    });
    app.uploads.take(&permission.ticket(id), &content_type, bytes.boxed()).await?;
    Ok((StatusCode::CREATED, Json(serde_json::json!({}))).into_response())
}

/// Serves an upload's bytes, or a range of them (RFC 9110, section 14).
pub(crate) async fn read(
    State(app): State<App>,
    Path(id): Path<Snowflake>,
    Query(permission): Query<Permission>,
    headers: HeaderMap,
) -> Answer {
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range);
    let served = app.uploads.read(&permission.ticket(id), |size| asked.map_or(0..size, |asked| asked.of(size))).await?;
    let size = served.upload.size_bytes;
    if served.range.is_empty() {
        let error = ApiError::from(model::WireError::invalid("the range is beyond the end"));
        let mut response = error.with_status(StatusCode::RANGE_NOT_SATISFIABLE).into_response();
        set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
        return Ok(response);
    }
    let mut response = Bytes::from_stream(served.bytes).into_response();
    if asked.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let (first, last) = (served.range.start, served.range.end - 1);
        set(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
    }
    set(&mut response, header::CONTENT_LENGTH, &(served.range.end - served.range.start).to_string());
    set(&mut response, header::CONTENT_TYPE, &served.upload.content_type);
    set(
        &mut response,
        header::CONTENT_DISPOSITION,
        &disposition(served.upload.msg_type, served.upload.name.as_deref()),
    );
    set(&mut response, header::CACHE_CONTROL, "private, max-age=3600, immutable");
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    // Ranges are of these bytes: nobody on the way is to compress them.
    set(&mut response, header::CONTENT_ENCODING, "identity");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    Ok(response)
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Pictures and videos are shown where they stand, everything else is saved (RFC 6266, names as in RFC 8187).
fn disposition(msg_type: MsgType, name: Option<&str>) -> String {
    let how = if msg_type == MsgType::File { "attachment" } else { "inline" };
    let Some(name) = name else { return how.into() };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escaped: String = name
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("{how}; filename*=UTF-8''{escaped}")
}

/// One range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// From one to another, both included.
    Between(u64, u64),
    /// The last so many.
    Last(u64),
}

impl Asked {
    /// Which bytes of so many; empty when there are none.
    fn of(self, size: u64) -> Range<u64> {
        match self {
            Self::Between(first, last) => first.min(size)..last.saturating_add(1).min(size),
            Self::Last(count) => size.saturating_sub(count)..size,
        }
    }
}

/// `None` for what is not one range of bytes: it is ignored, as it may be.
fn parse_range(text: &str) -> Option<Asked> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    match (first, last) {
        ("", count) => Some(Asked::Last(count.parse().ok()?)),
        (first, "") => Some(Asked::Between(first.parse().ok()?, u64::MAX)),
        (first, last) => {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(Asked::Between(first, last))
        }
    }
}

/// Whether this request brings an upload's bytes, which may take longer than any answer does.
pub(crate) fn is_incoming(request: &Request) -> bool {
    request.method() == axum::http::Method::PUT && request.uri().path().starts_with("/api/v1/uploads/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        for (text, of_ten) in [
            ("bytes=0-3", Some(0..4)),
            ("bytes=5-", Some(5..10)),
            ("bytes=-4", Some(6..10)),
            ("bytes=-40", Some(0..10)),
            ("bytes=8-400", Some(8..10)),
            ("bytes=10-", Some(10..10)),
            ("bytes=-0", Some(10..10)),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=1-2", None),
            ("bytes=99999999999999999999-", None),
        ] {
            assert_eq!(parse_range(text).map(|asked| asked.of(10)), of_ten, "{text}");
        }
    }

    #[test]
    fn names_cannot_break_out_of_the_header() {
        assert_eq!(
            disposition(MsgType::File, Some("a \"b\"\r\n.pdf")),
            "attachment; filename*=UTF-8''a%20%22b%22%0D%0A.pdf"
        );
        assert_eq!(disposition(MsgType::Image, None), "inline");
    }
}
