//! A device as a messenger keeps it: messages heard by push and by syncing become one list, each message once.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::{PATIENCE, Server, Viewer};

/// What a device takes from its socket unasked.
const PUSHES: [&str; 3] = ["new_message", "message_recalled", "message_read"];
/// Messages asked for at once.
const PAGE: u64 = 40;

/// A user's device: what it holds survives its connections.
pub struct Device {
    /// Whose it is.
    pub user: String,
    /// Every message it holds, in the order it was told, with what became of it since.
    pub messages: Vec<Value>,
    /// Every `message_read` it was told, by push alone.
    pub reads: Vec<Value>,
    name: String,
    socket: Option<Viewer>,
    places: HashMap<String, usize>,
    since_id: String,
    since_change: String,
}

impl Device {
    /// A device that has never connected.
    #[must_use]
    pub fn new(user: &str, name: &str) -> Self {
        Self {
            user: user.into(),
            messages: Vec::new(),
            reads: Vec::new(),
            name: name.into(),
            socket: None,
            places: HashMap::new(),
            since_id: "0".into(),
            since_change: "0".into(),
        }
    }

    /// The same, connected and in step.
    pub async fn online(server: &Server, user: &str, name: &str) -> Self {
        let mut device = Self::new(user, name);
        device.connect(server).await;
        device
    }

    /// Connects and syncs until nothing is missing.
    pub async fn connect(&mut self, server: &Server) {
        self.socket = Some(server.device(&self.user, &self.name).await);
        assert!(self.sync().await, "the connection ended while syncing");
    }

    /// The socket of a connected device.
    pub fn socket(&mut self) -> &mut Viewer {
        self.socket.as_mut().expect("a connected device")
    }

    /// Whether it has a connection, as far as it knows.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| !socket.is_closed())
    }

    /// Loses its connection without a close.
    pub fn cut(&mut self) {
        self.hear();
        if let Some(socket) = self.socket.take() {
            socket.cut();
        }
    }

    /// Closes as a page that is left does.
    pub async fn leave(&mut self) {
        self.hear();
        if let Some(socket) = self.socket.take() {
            socket.close().await;
        }
    }

    /// Asks page by page for what it has missed. Pushes that come meanwhile are taken up after the last
    /// page. False when the connection ended first.
    pub async fn sync(&mut self) -> bool {
        loop {
            let ask = json!({ "type": "sync_messages", "since_id": self.since_id, "since_change": self.since_change, "limit": PAGE });
            let Some(answer) = self.socket().attempt(ask).await else { return false };
            assert_eq!(answer["type"], "sync_response", "{answer}");
            self.take_page(&answer);
            if answer["more"] == false {
                self.hear();
                return true;
            }
        }
    }

    /// Takes up a page of messages and changes, of a socket or of HTTP.
    pub fn take_page(&mut self, page: &Value) {
        for message in page["messages"].as_array().into_iter().flatten() {
            self.keep(message.clone());
        }
        for change in page["changes"].as_array().into_iter().flatten().filter(|change| change["status"] == "recalled") {
            self.recalled(&change["message_id"]);
        }
        self.since_id = text(&page["latest_id"]);
        self.since_change = text(&page["latest_change"]);
    }

    /// Takes up the pushes that have come; waits for nothing.
    pub fn hear(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        for push in socket.take(&PUSHES) {
            match push["type"].as_str() {
                Some("new_message") => {
                    let mut message = push;
                    message["id"] = message["server_msg_id"].take();
                    let id = text(&message["id"]);
                    // A page has brought it already, perhaps in a later state.
                    if !self.places.contains_key(&id) {
                        self.since_id = id;
                        self.keep(message);
                    }
                }
                Some("message_recalled") => self.recalled(&push["message_id"]),
                _ => self.reads.push(push),
            }
        }
    }

    /// Sends a text to somebody; the message's id.
    pub async fn say(&mut self, to_user: &str, content: &str) -> String {
        let ask = json!({ "type": "send_message", "client_msg_id": content, "to_user": to_user, "content": content });
        self.sent(ask).await
    }

    /// Sends a text to a group; the message's id.
    pub async fn say_to_group(&mut self, group_id: &str, content: &str) -> String {
        let ask =
            json!({ "type": "send_group_message", "client_msg_id": content, "group_id": group_id, "content": content });
        self.sent(ask).await
    }

    async fn sent(&mut self, ask: Value) -> String {
        let ack = self.socket().ask(ask).await;
        assert_eq!((&ack["type"], &ack["status"]), (&json!("message_ack"), &json!("delivered")), "{ack}");
        text(&ack["server_msg_id"])
    }

    /// Waits until it holds a message with this content; the message.
    pub async fn gets(&mut self, content: &str) -> Value {
        let what = format!("{}/{} to get {content:?}", self.user, self.name);
        self.until(&what, |device| device.messages.iter().find(|message| message["content"] == content).cloned()).await
    }

    /// Waits until what it holds is as it should be.
    pub async fn until<T>(&mut self, what: &str, fits: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.hear();
            if let Some(found) = fits(self) {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}: {:#?}", self.messages.last());
            self.socket().hear(what).await;
        }
    }

    /// The contents it holds, of one conversation or of all.
    #[must_use]
    pub fn contents(&self, conversation_id: Option<&str>) -> Vec<&str> {
        let of = |message: &&Value| conversation_id.is_none_or(|id| message["conversation_id"] == id);
        self.messages.iter().filter(of).filter_map(|message| message["content"].as_str()).collect()
    }

    /// The ids it holds of each conversation, in order.
    #[must_use]
    pub fn by_conversation(&self) -> HashMap<String, Vec<String>> {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for message in &self.messages {
            found.entry(text(&message["conversation_id"])).or_default().push(text(&message["id"]));
        }
        found
    }

    fn keep(&mut self, message: Value) {
        let id = text(&message["id"]);
        match self.places.get(&id) {
            Some(place) => self.messages[*place] = message,
            None => {
                self.places.insert(id, self.messages.len());
                self.messages.push(message);
            }
        }
    }

    fn recalled(&mut self, id: &Value) {
        if let Some(place) = self.places.get(&text(id)) {
            self.messages[*place]["content"] = json!("");
            self.messages[*place]["status"] = json!("recalled");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a string, not {value}")).to_owned()
}
