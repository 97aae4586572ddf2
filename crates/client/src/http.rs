//! The HTTP endpoints, one typed function each. Keeps no state and never repeats a call.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use crate::client::DevIdentity;
use crate::types::{
    Comment, CommentAck, CommentDraft, CommentPage, LikeAck, Message, RankingEntry, ReplayPage, ReplayQuery, RoomInfo,
    Session,
};
use crate::{Error, tls};

/// How long a call may take, beyond what it asked the server to wait.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The HTTP endpoints of a server, as one user. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Api {
    client: reqwest::Client,
    origin: Url,
    bearer: Option<String>,
    identity: Option<DevIdentity>,
}

impl Api {
    /// The endpoints of the server at `url`, with a token or the admin key.
    ///
    /// # Errors
    /// `invalid` when the address is not one of a server.
    pub fn new(url: &str, bearer: Option<&str>) -> Result<Self, Error> {
        let origin = Url::parse(url).map_err(|error| Error::new("invalid", format!("url: {error}")))?;
        let tls = tls::config(origin.scheme() == "https")?;
        Self::with(&origin, bearer.map(str::to_owned), None, &tls)
    }

    pub(crate) fn with(
        origin: &Url,
        bearer: Option<String>,
        identity: Option<DevIdentity>,
        tls: &Arc<rustls::ClientConfig>,
    ) -> Result<Self, Error> {
        let mut tls = (**tls).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).build();
        let client = client.map_err(|error| Error::new("invalid", error.to_string()))?;
        let identity = identity.filter(|_| bearer.is_none());
        Ok(Self { client, origin: origin.clone(), bearer, identity })
    }

    /// A room.
    ///
    /// # Errors
    /// The server's refusal, or `network`; so it is with all of these.
    pub async fn room(&self, room_id: &str) -> Result<RoomInfo, Error> {
        self.get(&["rooms", room_id], &()).await
    }

    /// Comments published after `since_id`. With `wait_s`, at most 30, it waits for one.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn comments(
        &self,
        room_id: &str,
        since_id: Option<&str>,
        limit: u32,
        wait_s: u32,
    ) -> Result<CommentPage, Error> {
        let mut query = vec![("limit", limit.to_string()), ("wait_s", wait_s.to_string())];
        query.extend(since_id.map(|since_id| ("since_id", since_id.to_owned())));
        let request = self.request(Method::GET, &["rooms", room_id, "comments"], &query)?;
        answer(request.timeout(TIMEOUT + Duration::from_secs(wait_s.into()))).await
    }

    /// Says something in a room.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn post_comment(&self, room_id: &str, draft: &CommentDraft) -> Result<CommentAck, Error> {
        self.call(Method::POST, &["rooms", room_id, "comments"], &(), Some(draft)).await
    }

    /// The most liked comments.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn hot(&self, room_id: &str, limit: u32) -> Result<Vec<Comment>, Error> {
        self.list(&["rooms", room_id, "hot"], &[("limit", limit)], "comments").await
    }

    /// The room's ranking.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn ranking(&self, room_id: &str, limit: u32) -> Result<Vec<RankingEntry>, Error> {
        self.list(&["rooms", room_id, "ranking"], &[("limit", limit)], "entries").await
    }

    /// The room's sessions, newest first.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn sessions(&self, room_id: &str) -> Result<Vec<Session>, Error> {
        self.list(&["rooms", room_id, "sessions"], &(), "sessions").await
    }

    /// A page of a recording. The next one begins at its `next_cursor`.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn replay(&self, room_id: &str, query: &ReplayQuery) -> Result<ReplayPage, Error> {
        self.get(&["rooms", room_id, "replay"], query).await
    }

    /// Likes a comment.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn like(&self, comment_id: &str) -> Result<LikeAck, Error> {
        self.call(Method::POST, &["comments", comment_id, "like"], &(), None::<&()>).await
    }

    /// Takes a like back.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn unlike(&self, comment_id: &str) -> Result<LikeAck, Error> {
        self.call(Method::DELETE, &["comments", comment_id, "like"], &(), None::<&()>).await
    }

    /// One conversation, newest messages last, before a message.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn conversation(&self, conversation_id: &str, before_id: Option<&str>) -> Result<Vec<Message>, Error> {
        let query: Vec<(&str, &str)> = before_id.map(|before_id| ("before_id", before_id)).into_iter().collect();
        self.list(&["conversations", conversation_id, "messages"], &query, "messages").await
    }

    /// Makes a group; its id.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn create_group(&self, name: &str, members: &[&str]) -> Result<String, Error> {
        let body = json!({ "name": name, "members": members });
        let made: Value = self.call(Method::POST, &["groups"], &(), Some(&body)).await?;
        let id = made["group_id"].as_str().map(str::to_owned);
        id.ok_or_else(|| Error::new("invalid", "the server named no group"))
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &impl Serialize) -> Result<T, Error> {
        self.call(Method::GET, path, query, None::<&()>).await
    }

    async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &impl Serialize,
        field: &str,
    ) -> Result<Vec<T>, Error> {
        let mut body: Value = self.get(path, query).await?;
        crate::client::read(body[field].take())
    }

    /// Any endpoint under `/api/v1`; `path` are its parts.
    ///
    /// # Errors
    /// As [`Api::room`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &impl Serialize,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, Error> {
        let mut request = self.request(method, path, query)?.timeout(TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    /// An endpoint that waits before it answers.
    pub(crate) async fn wait(&self, path: &[&str], query: &impl Serialize, within: Duration) -> Result<Value, Error> {
        answer(self.request(Method::GET, path, query)?.timeout(within)).await
    }

    /// What is at a path that the server named, from a cache where there is one. It is everybody's: no identity goes with it.
    pub(crate) async fn shared(&self, path: &str, cache: Option<&Url>, within: Duration) -> Result<Value, Error> {
        let elsewhere = || Error::new("invalid", "the server named no path of its own");
        if !path.starts_with('/') || path.starts_with("//") {
            return Err(elsewhere());
        }
        let url = cache.unwrap_or(&self.origin).join(path).map_err(|_| elsewhere())?;
        answer(self.client.get(url).header("accept", "application/json").timeout(within)).await
    }

    /// An endpoint whose answer is read as it comes.
    pub(crate) async fn stream(&self, path: &[&str], query: &impl Serialize) -> Result<Response, Error> {
        let request = self.request(Method::GET, path, query)?.header("accept", "text/event-stream");
        let response = request.send().await.map_err(|error| network(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    fn request(&self, method: Method, path: &[&str], query: &impl Serialize) -> Result<RequestBuilder, Error> {
        let mut url = self.origin.clone();
        url.set_query(None);
        {
            let mut parts = url.path_segments_mut().map_err(|()| Error::new("invalid", "the address has no path"))?;
            parts.clear().extend(["api", "v1"]).extend(path);
        }
        if let Some(identity) = &self.identity {
            url.query_pairs_mut().extend_pairs(identity.pairs());
        }
        let request = self.client.request(method, url).query(query);
        Ok(match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        })
    }
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Error> {
    let response = request.send().await.map_err(|error| network(&error))?;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let bytes = response.bytes().await.map_err(|error| network(&error))?;
    // Some answers are nothing at all.
    let bytes = if bytes.is_empty() { &b"null"[..] } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| Error::new("invalid", format!("the answer: {error}")))
}

fn network(error: &reqwest::Error) -> Error {
    Error::new("network", error.to_string())
}

async fn refusal(response: Response) -> Error {
    let status = response.status();
    let body: Value = response.json().await.unwrap_or_default();
    let mut error = match &body["error"] {
        Value::Object(_) => Error::of(&body["error"]),
        _ => Error::new(&format!("http_{}", status.as_u16()), status.to_string()),
    };
    error.status = Some(status.as_u16());
    error
}
