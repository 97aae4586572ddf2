//! Uploads over HTTP: announcing one, receiving its bytes, serving them.
//!
//! Links carry their permission in the query, so that `<img>` and `<video>` can follow them. Content is never served
//! as a page of this site, whatever its type says.

use std::ops::Range;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chat::{SignedLink, UploadDraft};
use futures::{StreamExt, stream};
use model::chat::MsgType;
use model::{Snowflake, UserId, rfc3339_ms};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::Caller;
use crate::error::{Answer, ApiError, BodyRefused, Conflict, ErrorBody, RateLimited, Refused, TextRefused, Unknown};
use crate::extract::{JsonBody, Path, Query};
use crate::shared::Done;

/// An upload that sends nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The bytes never change, but who may see them does: browsers ask each time, and are answered without the bytes.
const CACHED: &str = "private, no-cache";
/// Should a browser open a link by itself: nothing in it runs, loads or is framed.
const SANDBOX: HeaderValue =
    HeaderValue::from_static("default-src 'none'; img-src 'self'; media-src 'self'; sandbox; frame-ancestors 'none'");

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(announce))
        .routes(routes!(show))
        .routes(routes!(read_content, receive_content))
}

#[derive(Deserialize, ToSchema)]
struct NewUpload {
    /// `image`, `video` or `file`.
    msg_type: MsgType,
    /// A media type.
    #[schema(examples("image/png"))]
    content_type: String,
    #[schema(minimum = 1, maximum = 9_223_372_036_854_775_807_u64)]
    size_bytes: u64,
    #[schema(max_length = 128)]
    name: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct UploadAnnounced {
    upload_id: Snowflake,
    /// A path and query on this server, which receives the bytes.
    put_url: String,
    #[schema(format = DateTime)]
    expires_at: String,
    bytes_max: u64,
}

/// Announces an upload
///
/// A picture, video or file that a message is to refer to: its `content` is then `upload_id`. Which media types and
/// sizes are taken is configured (`[uploads]`). One a second, 20 at once. Without its bytes, or without a message that
/// refers to it, an upload is removed after a day.
#[utoipa::path(
    post, path = "/uploads", tag = "chat", operation_id = "announce_upload", request_body = NewUpload,
    responses(
        (status = 201, description = "Where to bring the bytes.", body = UploadAnnounced),
        Refused, BodyRefused, TextRefused, RateLimited,
    ),
)]
async fn announce(State(app): State<App>, caller: Caller, JsonBody(new): JsonBody<NewUpload>) -> Answer {
    let NewUpload { msg_type, content_type, size_bytes, name } = new;
    let draft = UploadDraft { msg_type, content_type, size_bytes, name };
    let (upload, ticket) = app.uploads.announce(caller.author()?, draft).await?;
    let announced = UploadAnnounced {
        upload_id: upload.id,
        put_url: link(&ticket),
        expires_at: rfc3339_ms(ticket.expires * 1_000),
        bytes_max: app.uploads.bytes_max(msg_type),
    };
    Ok((StatusCode::CREATED, Json(announced)).into_response())
}

#[derive(Serialize, ToSchema)]
#[schema(as = Upload)]
struct UploadView {
    upload_id: Snowflake,
    /// A path and query on this server, good until `expires_at` for whoever holds it.
    url: String,
    #[schema(format = DateTime)]
    expires_at: String,
    content_type: Box<str>,
    size_bytes: u64,
    #[schema(required)]
    name: Option<Box<str>>,
}

/// Shows an upload and a link to read it by
///
/// To its owner, and to everybody who may see a message that refers to it and was not recalled.
#[utoipa::path(
    get, path = "/uploads/{upload_id}", tag = "chat", operation_id = "show_upload",
    params(("upload_id" = Snowflake, Path)),
    responses((status = 200, description = "The upload.", body = UploadView), Refused, Unknown),
)]
async fn show(State(app): State<App>, caller: Caller, Path(id): Path<Snowflake>) -> Answer {
    let (upload, ticket) = app.uploads.show(caller.author()?, id).await?;
    let shown = UploadView {
        upload_id: id,
        url: link(&ticket),
        expires_at: rfc3339_ms(ticket.expires * 1_000),
        content_type: upload.content_type,
        size_bytes: upload.size_bytes,
        name: upload.name,
    };
    Ok(Json(shown).into_response())
}

/// A link's path and query. The client knows the host by which it reached this server.
fn link(SignedLink { id, expires, reader, signature }: &SignedLink) -> String {
    // The characters of user ids need no escape in a query.
    let reader = reader.as_ref().map_or(String::new(), |reader| format!("&reader={reader}"));
    format!("/api/v1/uploads/{id}/content?expires={expires}{reader}&signature={signature}")
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LinkQuery {
    #[param(minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    expires: i64,
    /// To whom a link to read was given.
    #[param(nullable = false)]
    reader: Option<UserId>,
    #[param(min_length = 1)]
    signature: String,
}

impl LinkQuery {
    fn signed(self, id: Snowflake) -> SignedLink {
        SignedLink { id, expires: self.expires, reader: self.reader, signature: self.signature }
    }
}

/// Receives an upload's bytes
///
/// By `put_url`; needs no token. Exactly as many bytes and the same Content-Type as announced. Bytes that came before
/// stay.
#[utoipa::path(
    put, path = "/uploads/{upload_id}/content", tag = "chat", operation_id = "receive_content",
    params(("upload_id" = Snowflake, Path), LinkQuery), security(()),
    request_body(content = Bytes, content_type = "application/octet-stream"),
    responses((status = 201, description = "All bytes are kept.", body = Done), Refused, Unknown, Conflict, BodyRefused),
)]
async fn receive_content(
    State(app): State<App>,
    Path(id): Path<Snowflake>,
    Query(link): Query<LinkQuery>,
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
    app.uploads.receive(&link.signed(id), &content_type, bytes.boxed()).await?;
    Ok((StatusCode::CREATED, Json(Done {})).into_response())
}

/// Serves an upload's bytes, or a range of them
///
/// By `url`; needs no token. It works while the user to whom it was given may see the upload: a recall of the message or
/// leaving the group ends it. Takes one range (RFC 9110, section 14), and `If-Range`. Pictures and videos are inline, files are
/// attachments; nothing in them runs.
#[utoipa::path(
    get, path = "/uploads/{upload_id}/content", tag = "chat", operation_id = "read_content",
    params(("upload_id" = Snowflake, Path), LinkQuery), security(()),
    responses(
        (status = 200, description = "All bytes.", body = Bytes, content_type = "*/*"),
        (status = 304, description = "The client has these bytes, as `If-None-Match` says."),
        (status = 206, description = "The range.", body = Bytes, content_type = "*/*"),
        (status = 416, description = "`invalid_request`: the range is beyond the end.", body = ErrorBody),
        Refused, Unknown,
    ),
)]
async fn read_content(
    State(app): State<App>,
    Path(id): Path<Snowflake>,
    Query(link): Query<LinkQuery>,
    headers: HeaderMap,
) -> Answer {
    let tag = format!("\"{id}\"");
    // A range of other bytes than the client has a part of would be of no use to it.
    let unchanged = headers.get(header::IF_RANGE).is_none_or(|known| known.as_bytes() == tag.as_bytes());
    let range = headers.get(header::RANGE).filter(|_| unchanged);
    let range = range.and_then(|value| value.to_str().ok()).and_then(parse_range);
    let served = app.uploads.read(&link.signed(id), |size| range.map_or(0..size, |range| range.of(size))).await?;
    if let Some(known) = headers.get(header::IF_NONE_MATCH)
        && names(known, &tag)
    {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        set(&mut response, header::ETAG, &tag);
        set(&mut response, header::CACHE_CONTROL, CACHED);
        return Ok(response);
    }
    let size = served.upload.size_bytes;
    if served.range.is_empty() {
        let error = ApiError::from(model::WireError::invalid("the range is beyond the end"));
        let mut response = error.with_status(StatusCode::RANGE_NOT_SATISFIABLE).into_response();
        set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
        return Ok(response);
    }
    let mut response = Body::from_stream(served.bytes).into_response();
    if range.is_some() {
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
    set(&mut response, header::CACHE_CONTROL, CACHED);
    set(&mut response, header::ETAG, &tag);
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    // Ranges are of these bytes: nobody on the way is to compress them.
    set(&mut response, header::CONTENT_ENCODING, "identity");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    Ok(response)
}

/// Whether `If-None-Match` names this tag (RFC 9110, section 13.1.2).
fn names(known: &HeaderValue, tag: &str) -> bool {
    let tags = known.to_str().unwrap_or_default().split(',').map(str::trim_ascii);
    tags.map(|known| known.strip_prefix("W/").unwrap_or(known)).any(|known| known == "*" || known == tag)
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

/// Bytes in the reference.
struct Bytes;

impl PartialSchema for Bytes {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Bytes {}

/// One range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteRange {
    /// From the first byte to the last, both included.
    Between(u64, u64),
    /// This many bytes at the end.
    Last(u64),
}

impl ByteRange {
    /// Its part of a file of this size; empty when it lies beyond the end.
    fn of(self, size: u64) -> Range<u64> {
        match self {
            Self::Between(first, last) => first.min(size)..last.saturating_add(1).min(size),
            Self::Last(count) => size.saturating_sub(count)..size,
        }
    }
}

/// `None` for anything but one range of bytes: RFC 9110 lets a server ignore those.
fn parse_range(text: &str) -> Option<ByteRange> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    match (first, last) {
        ("", count) => Some(ByteRange::Last(count.parse().ok()?)),
        (first, "") => Some(ByteRange::Between(first.parse().ok()?, u64::MAX)),
        (first, last) => {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(ByteRange::Between(first, last))
        }
    }
}

/// Whether this request carries an upload's bytes, which may take longer than any answer does.
pub(crate) fn is_upload(request: &Request) -> bool {
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
            assert_eq!(parse_range(text).map(|range| range.of(10)), of_ten, "{text}");
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
