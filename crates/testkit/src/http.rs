//! HTTP as programs speak it.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::Events;

/// A client with or without an identity. Paths that do not begin with `/` are under `/api/v1/`.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    base: String,
    bearer: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// The body as JSON; `null` when it is none.
    pub body: Value,
    /// The body as it came.
    pub text: String,
    headers: reqwest::header::HeaderMap,
}

impl Http {
    /// A client of the server at `base`.
    #[must_use]
    pub fn new(base: &str, bearer: Option<&str>) -> Self {
        // Every client needs one, even for plain HTTP; whoever comes first sets it for all.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { client: reqwest::Client::new(), base: base.into(), bearer: bearer.map(str::to_owned) }
    }

    /// Another identity over the same connections.
    #[must_use]
    pub fn bearing(&self, bearer: &str) -> Self {
        Self { bearer: Some(bearer.to_owned()), ..self.clone() }
    }

    /// A request to be changed before it is sent with [`send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/api/v1/{path}") };
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::GET, path)).await
    }

    /// The sum of a metric's series: all of them by the bare name, one of them by its name with all its labels. 0 when there
    /// is none.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text;
        let is_named = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values = text.lines().filter(is_named).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap_or_else(|_| panic!("{name}: {value:?} is no number"))).sum()
    }

    /// POST with a JSON body; `null` is none at all.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        Reply::of(with(self.request(Method::POST, path), &body)).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: Value) -> Reply {
        Reply::of(with(self.request(Method::PUT, path), &body)).await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        Reply::of(with(self.request(Method::PATCH, path), &body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::DELETE, path)).await
    }

    /// Comments in a room.
    pub async fn comment(&self, room: &str, content: &str) -> Reply {
        self.post(&format!("rooms/{room}/comments"), serde_json::json!({ "content": content })).await
    }

    /// Comments in a room and must be accepted; the comment's id.
    pub async fn say(&self, room: &str, content: &str) -> String {
        let body = self.comment(room, content).await.expect(201);
        assert_eq!(body["status"], "accepted", "{content}: {body}");
        body["id"].as_str().expect("an id").to_owned()
    }

    /// Opens a room's event stream; `last_id` is what a browser sends when it comes back.
    pub async fn events(&self, room: &str, query: &str, last_id: Option<&str>) -> Events {
        let mut request = self.request(Method::GET, &format!("rooms/{room}/events?{query}"));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        Events::of(request.send().await.unwrap())
    }
}

fn with(request: RequestBuilder, body: &Value) -> RequestBuilder {
    if body.is_null() { request } else { request.json(body) }
}

impl Reply {
    /// Sends a request.
    pub async fn of(request: RequestBuilder) -> Self {
        let response: Response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Self { status, body: serde_json::from_str(&text).unwrap_or_default(), text, headers }
    }

    /// The body, if the status is this one.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// Checks the status alone.
    #[track_caller]
    pub fn is(self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text);
    }

    /// The error, if it is the one with this status and code, written as every error is.
    #[track_caller]
    pub fn fails(self, status: u16, code: &str) -> Value {
        let error = self.body["error"].clone();
        assert_eq!((self.status, error["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", self.text);
        error
    }

    /// A header of the answer.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
