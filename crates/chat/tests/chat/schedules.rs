//! Chat under random schedules: four people with two devices each write, retry, read, take back, edit, react,
//! lose their connections and come back, while the server crashes and starts again on its file. In
//! the end every device holds what a model kept beside says, each message once and in order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use chat::{
    Attachments, Chat, ChatError, ChatPorts, LocalUserFanout, MessageDraft, OutboundNotice, SendOutcome, ShardSink,
    SyncRequest,
};
use fanout::Notice;
use futures::future::join_all;
use model::chat::{ChangeKind, ConversationId, GroupId, Message, MsgStatus, MsgType, Recipient};
use model::snowflake::EPOCH_MS;
use model::{Clock, DeviceId, Emoji, Identity, Level, ManualClock, Metrics, Snowflake, SnowflakeGenerator, UserId};
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use state::{MemoryPresence, MemoryRateLimiter};
use store::MaintenanceStore;
use store::chat::{Appended, ChatStore, NewMessage};
use store::sqlite::SqliteStore;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

const NAMES: [&str; 4] = ["ann", "bob", "cat", "dan"];
const EMOJI: [&str; 3] = ["👍", "😂", "❤️"];
const DEVICES: usize = 8;
/// Who belongs to the groups at first; the first one owns it.
const GROUPS: [&[usize]; 2] = [&[0, 1, 2], &[3, 1]];

// The schedule -------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy)]
enum To {
    /// The person so many places further on.
    Other(usize),
    Group(usize),
}

/// Devices are numbered; device d is person d / 2's. A `pick` chooses among what there is.
#[derive(Debug, Clone)]
enum Step {
    /// Sends a message, `times` times at once.
    Send { device: usize, to: To, times: usize },
    /// Sends an earlier message again, stored or not.
    Retry { pick: usize, times: usize },
    /// Loses the connection and every push that was not taken up yet.
    Cut { device: usize },
    /// Connects; one that forgets relies on the server's note of its cursor.
    Connect { device: usize, forgets: bool },
    /// Asks for one page; a device is in step after the last one.
    Page { device: usize, limit: usize },
    /// Takes up its pushes, when it is in step.
    Hear { device: usize },
    /// Marks some message that it may see.
    Read { device: usize, pick: usize },
    /// The sender, or somebody else, takes a message back.
    Recall { user: usize, pick: usize },
    /// The sender, or somebody else, edits a message.
    Edit { user: usize, pick: usize },
    /// Somebody reacts to a message or takes it back.
    React { user: usize, pick: usize, emoji: usize, on: bool },
    /// The owner adds somebody.
    Add { group: usize, user: usize },
    /// Time goes by.
    Wait { seconds: i64 },
    /// Everything in memory is gone.
    Crash,
    /// The same just after a message was stored, before anybody is told.
    CrashUntold { device: usize, to: To },
    /// The same so many turns of the runtime after a message was sent.
    CrashWhileSending { device: usize, to: To, turns: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let device = || 0..DEVICES;
    let to = || prop_oneof![(1usize..4).prop_map(To::Other), (0usize..2).prop_map(To::Group)];
    let pick = || 0usize..1_000;
    prop_oneof![
        12 => (device(), to(), prop_oneof![4 => Just(1usize), 1 => 2usize..4])
            .prop_map(|(device, to, times)| Step::Send { device, to, times }),
        3 => (pick(), 1usize..4).prop_map(|(pick, times)| Step::Retry { pick, times }),
        2 => device().prop_map(|device| Step::Cut { device }),
        5 => (device(), any::<bool>()).prop_map(|(device, forgets)| Step::Connect { device, forgets }),
        24 => (device(), 1usize..9).prop_map(|(device, limit)| Step::Page { device, limit }),
        3 => device().prop_map(|device| Step::Hear { device }),
        5 => (device(), pick()).prop_map(|(device, pick)| Step::Read { device, pick }),
        4 => (0usize..4, pick()).prop_map(|(user, pick)| Step::Recall { user, pick }),
        4 => (0usize..4, pick()).prop_map(|(user, pick)| Step::Edit { user, pick }),
        6 => (0usize..4, pick(), 0usize..3, any::<bool>())
            .prop_map(|(user, pick, emoji, on)| Step::React { user, pick, emoji, on }),
        1 => (0usize..2, 0usize..4).prop_map(|(group, user)| Step::Add { group, user }),
        2 => (1i64..150).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Crash),
        1 => (device(), to()).prop_map(|(device, to)| Step::CrashUntold { device, to }),
        1 => (device(), to(), 0usize..4)
            .prop_map(|(device, to, turns)| Step::CrashWhileSending { device, to, turns }),
    ]
}

// The model ----------------------------------------------------------------------------------------

/// Two people's, the lower one first, or a group's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    Direct(usize, usize),
    Group(usize),
}

impl Place {
    fn of(from: usize, to: To) -> Self {
        match to {
            To::Other(further) => {
                let other = (from + further) % 4;
                Self::Direct(from.min(other), from.max(other))
            }
            To::Group(group) => Self::Group(group),
        }
    }
}

struct Stored {
    id: Snowflake,
    from: usize,
    place: Place,
    content: String,
    created_at_ms: i64,
    recalled: bool,
    reactions: BTreeMap<&'static str, BTreeSet<usize>>,
}

impl Stored {
    fn counts(&self) -> Counts {
        let counts = self.reactions.iter().map(|(emoji, by)| ((*emoji).to_owned(), by.len() as u32));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// A message as somebody drafted it, and where it stands once it is stored.
struct Drafted {
    from: usize,
    place: Place,
    draft: MessageDraft,
    stored: Option<usize>,
}

#[derive(Default)]
struct Model {
    drafts: Vec<Drafted>,
    /// In the order of storing.
    stored: Vec<Stored>,
    ids: HashMap<Place, ConversationId>,
    /// From which message on somebody sees a group.
    joined: HashMap<(usize, usize), usize>,
    /// How many messages somebody has read.
    read: HashMap<(Place, usize), usize>,
}

/// How often each emoji was given to a message.
type Counts = BTreeMap<String, u32>;

/// A message as somebody sees it: its id, content, status, how many have read it, and its reactions.
type View = (Snowflake, String, MsgStatus, Option<u32>, Counts);

impl Model {
    /// From which message on somebody sees a place.
    fn joined(&self, place: Place, user: usize) -> Option<usize> {
        match place {
            Place::Direct(low, high) => (user == low || user == high).then_some(0),
            Place::Group(group) => self.joined.get(&(group, user)).copied(),
        }
    }

    fn sees(&self, user: usize, n: usize) -> bool {
        self.joined(self.stored[n].place, user).is_some_and(|joined| joined <= n)
    }

    fn visible(&self, user: usize) -> Vec<usize> {
        (0..self.stored.len()).filter(|n| self.sees(user, *n)).collect()
    }

    fn has_read(&self, place: Place, user: usize) -> usize {
        self.read.get(&(place, user)).copied().max(self.joined(place, user)).unwrap_or(0)
    }

    fn unread(&self, place: Place, user: usize) -> usize {
        let after = self.visible(user).into_iter().filter(|n| *n >= self.has_read(place, user));
        after
            .map(|n| &self.stored[n])
            .filter(|message| message.place == place && message.from != user && !message.recalled)
            .count()
    }

    /// A message as `user` sees it who knows of this content, these reactions, marks and recalls.
    fn view(
        &self,
        user: usize,
        n: usize,
        recalled: bool,
        (content, counts): (String, Counts),
        has_read: impl Fn(usize) -> usize,
    ) -> View {
        let Stored { id, from, place, .. } = &self.stored[n];
        let others: Vec<_> = (0..4).filter(|other| other != from && self.sees(*other, n)).collect();
        let readers = others.iter().filter(|other| has_read(**other) > n).count();
        let read = if *from == user { readers == others.len() && readers > 0 } else { has_read(user) > n };
        let count = (*from == user && matches!(place, Place::Group(_))).then_some(readers as u32);
        match (recalled, read) {
            (true, _) => (*id, String::new(), MsgStatus::Recalled, count, Counts::new()),
            (false, true) => (*id, content, MsgStatus::Read, count, counts),
            (false, false) => (*id, content, MsgStatus::Delivered, count, counts),
        }
    }

    /// Every place that somebody sees, and what is there.
    fn expected(&self, user: usize) -> BTreeMap<Place, Vec<View>> {
        let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for n in self.visible(user) {
            let stored = &self.stored[n];
            let (place, shown) = (stored.place, (stored.content.clone(), stored.counts()));
            let view = self.view(user, n, stored.recalled, shown, |other| self.has_read(place, other));
            places.entry(place).or_default().push(view);
        }
        places
    }

    /// A draft was answered: for the first time, or as before.
    fn settle(&mut self, draft: usize, message: &Message) {
        let Drafted { from, place, draft, stored } = &mut self.drafts[draft];
        assert_eq!(message.client_msg_id.as_ref(), draft.client_msg_id, "the answer to something else");
        match stored {
            Some(n) => assert_eq!(self.stored[*n].id, message.id, "a retry gets the first id"),
            None => {
                *stored = Some(self.stored.len());
                assert_eq!(*self.ids.entry(*place).or_insert(message.conversation_id), message.conversation_id);
                self.stored.push(Stored {
                    id: message.id,
                    from: *from,
                    place: *place,
                    content: draft.content.clone(),
                    created_at_ms: message.created_at_ms,
                    recalled: false,
                    reactions: BTreeMap::new(),
                });
            }
        }
    }
}

// The server ---------------------------------------------------------------------------------------

/// What a socket hears: pushes, and the answers to what was sent on it.
#[derive(Debug, Clone)]
enum Heard {
    OutboundNotice(Arc<OutboundNotice>),
    Answer(u64, Arc<Message>),
}

#[derive(Default)]
struct Wire(Mutex<Vec<Heard>>);

impl Wire {
    fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.0.lock().expect("no panic elsewhere")
    }
}

impl ShardSink for Wire {
    fn deliver(&self, notice: Arc<OutboundNotice>) {
        self.heard().push(Heard::OutboundNotice(notice));
    }
}

struct NoUploads;

#[async_trait]
impl Attachments for NoUploads {
    async fn usable(&self, _: &UserId, _: &str, _: MsgType) -> chat::Result<bool> {
        Ok(false)
    }
}

/// One life of the server. Dropped it is as if killed: its tasks end where they are.
struct Server {
    runtime: Runtime,
    chat: Arc<Chat>,
    ids: Arc<SnowflakeGenerator>,
    store: Arc<SqliteStore>,
    wire: Arc<Wire>,
}

impl Server {
    fn start(data: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let store = SqliteStore::open(&data.path().join("barrage.db"), metrics.clone()).expect("nobody else's");
        let store = Arc::new(store);
        let last = runtime.block_on(store.high_water()).expect("read").1;
        let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 1, last));
        let (post, wire) = (Arc::new(LocalUserFanout::new()), Arc::new(Wire::default()));
        post.set_shards(vec![wire.clone()]);
        let parts = ChatPorts {
            settings: Default::default(),
            hook: Default::default(),
            store: store.clone(),
            rate_limiter: Arc::new(MemoryRateLimiter::new(10_000)),
            presence: Arc::new(MemoryPresence::default()),
            fanout: post.clone(),
            local_fanout: post,
            message_filter: Arc::new(|_, text, _| Ok(text.to_owned())),
            message_screen: None,
            attachments: Arc::new(NoUploads),
            ids: ids.clone(),
            clock: clock.clone(),
            metrics,
        };
        let chat = runtime.block_on(async { Chat::start(parts) });
        Self { runtime, chat, ids, store, wire }
    }

    /// Sends as a socket does: its answer comes between the pushes.
    async fn send(
        &self,
        from: usize,
        draft: MessageDraft,
        socket: Option<u64>,
    ) -> oneshot::Receiver<chat::Result<SendOutcome>> {
        let (answer, answered) = oneshot::channel();
        let wire = self.wire.clone();
        let done = move |sent: chat::Result<SendOutcome>| {
            if let (Ok(SendOutcome { message, repeated: false }), Some(socket)) = (&sent, socket) {
                wire.heard().push(Heard::Answer(socket, message.clone()));
            }
            // A crash leaves nobody to take it.
            let _ = answer.send(sent);
        };
        self.chat.send_with(&who(from), draft, socket, done).await;
        answered
    }
}

fn who(user: usize) -> Identity {
    Identity {
        user_id: UserId::new(NAMES[user]).expect("an id"),
        username: NAMES[user].into(),
        level: Level::Normal,
        rooms: None,
        expires_at_ms: None,
        issued_at_ms: 0,
        standing: None,
    }
}

fn number(user: &UserId) -> usize {
    NAMES.iter().position(|name| *name == user.as_str()).expect("one of them")
}

// The devices --------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Cut,
    /// Connected under this number, pages still to come.
    Syncing(u64),
    InStep(u64),
}

/// What a messenger keeps. It knows ids and what it was told, no positions.
struct Device {
    user: usize,
    name: DeviceId,
    link: Link,
    pushes: VecDeque<Heard>,
    since_id: Option<Snowflake>,
    since_change: u64,
    /// In the order in which they came.
    messages: Vec<Arc<Message>>,
    held: HashSet<Snowflake>,
    recalled: HashSet<Snowflake>,
    marks: HashSet<(usize, Snowflake)>,
    /// The content of each message, and when that was written.
    contents: HashMap<Snowflake, (String, i64)>,
    reactions: HashMap<Snowflake, Counts>,
}

impl Device {
    fn new(number: usize) -> Self {
        Self {
            user: number / 2,
            name: DeviceId::new(["phone", "desk"][number % 2]).expect("a name"),
            link: Link::Cut,
            pushes: VecDeque::new(),
            since_id: Some(Snowflake(0)),
            since_change: 0,
            messages: Vec::new(),
            held: HashSet::new(),
            recalled: HashSet::new(),
            marks: HashSet::new(),
            contents: HashMap::new(),
            reactions: HashMap::new(),
        }
    }

    fn socket(&self) -> Option<u64> {
        match self.link {
            Link::Cut => None,
            Link::Syncing(socket) | Link::InStep(socket) => Some(socket),
        }
    }

    fn cut(&mut self) {
        self.link = Link::Cut;
        self.pushes.clear();
    }

    /// Something goes through the wire.
    fn offer(&mut self, heard: &Heard) {
        let Some(own) = self.socket() else { return };
        let for_it = match heard {
            Heard::Answer(socket, _) => *socket == own,
            Heard::OutboundNotice(outbound) => {
                let named = outbound.users.iter().filter(|user| number(user) == self.user).count();
                assert!(named <= 1, "named twice");
                named == 1 && outbound.sockets.include(own)
            }
        };
        if for_it {
            self.pushes.push_back(heard.clone());
        }
    }

    fn keep(&mut self, message: &Arc<Message>) -> bool {
        if message.recalled.is_some() {
            assert_eq!(&*message.content, "", "a recalled message says nothing");
            self.recalled.insert(message.id);
        }
        self.edited(message.id, &message.content, message.edited_at_ms.unwrap_or(0));
        let new = self.held.insert(message.id);
        if new {
            self.messages.push(message.clone());
        }
        new
    }

    /// The newest edit counts, whichever way it came.
    fn edited(&mut self, id: Snowflake, content: &str, edited_at_ms: i64) {
        let known = self.contents.entry(id).or_insert((content.to_owned(), edited_at_ms));
        if edited_at_ms > known.1 {
            *known = (content.to_owned(), edited_at_ms);
        }
    }

    /// A page says how a message is by now.
    fn shows(&mut self, seen: &model::chat::Seen) {
        self.keep(&seen.message);
        let counts = seen.message.reactions.iter().map(|reaction| (reaction.emoji.to_string(), reaction.count));
        self.reactions.insert(seen.message.id, counts.collect());
    }

    /// A change may be of a message that comes with a later page.
    fn changed(&mut self, seen: &model::chat::Seen) {
        if self.held.contains(&seen.message.id) {
            self.shows(seen);
        }
    }

    /// Takes up the pushes; before the last page they wait.
    fn hear(&mut self) {
        if !matches!(self.link, Link::InStep(_)) {
            return;
        }
        while let Some(heard) = self.pushes.pop_front() {
            let told = match &heard {
                Heard::Answer(_, message) => Notice::Message(message.clone()),
                Heard::OutboundNotice(outbound) => outbound.notice.clone(),
            };
            match told {
                // A page may have brought it already.
                Notice::Message(message) if self.keep(&message) => self.since_id = Some(message.id),
                Notice::Recalled { message_id, .. } => drop(self.recalled.insert(message_id)),
                Notice::Edited { message_id, content, at_ms, .. } => self.edited(message_id, &content, at_ms),
                // A page has told of those up to its `latest_change`.
                Notice::Reacted { message_id, emoji, count, change, .. } if change > self.since_change => {
                    let counts = self.reactions.entry(message_id).or_default();
                    counts.insert(emoji.into(), count);
                    counts.retain(|_, count| *count > 0);
                }
                Notice::Read { message_id, by, .. } => drop(self.marks.insert((number(&by), message_id))),
                _ => {}
            }
        }
    }

    fn page(&mut self, server: &Server, limit: usize) {
        let Link::Syncing(socket) = self.link else { return };
        let ask = SyncRequest {
            since_id: self.since_id,
            since_change: Some(self.since_change),
            limit: Some(limit),
            device: Some(self.name.clone()),
        };
        let synced = server.runtime.block_on(server.chat.sync(&who(self.user), ask)).expect("a page");
        assert!(!synced.page.expired && synced.page.messages.len() <= limit && synced.page.changes.len() <= limit);
        for seen in &synced.page.messages {
            self.shows(seen);
        }
        for change in &synced.page.changes {
            match change.kind {
                ChangeKind::Recalled => drop(self.recalled.insert(change.message_id)),
                ChangeKind::Edited | ChangeKind::Reacted => {
                    let seen = change.message.as_ref().expect("the message as it is now");
                    self.changed(seen);
                }
                ChangeKind::Read => drop(self.marks.insert((number(&change.by_user), change.message_id))),
            }
        }
        self.since_id = Some(synced.latest_id);
        self.since_change = synced.page.latest_change;
        if !synced.page.more {
            self.link = Link::InStep(socket);
            self.hear();
        }
    }

    /// What it shows.
    fn shown(&self, model: &Model) -> BTreeMap<Place, Vec<View>> {
        let places: HashMap<_, _> = model.ids.iter().map(|(place, id)| (*id, *place)).collect();
        let numbers: HashMap<_, _> = model.stored.iter().enumerate().map(|(n, stored)| (stored.id, n)).collect();
        let mut shown: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for message in &self.messages {
            let (place, n) = (places[&message.conversation_id], numbers[&message.id]);
            let marked = |by: usize| {
                let marks = self.marks.iter().filter(|(reader, _)| *reader == by).map(|(_, id)| numbers[id]);
                marks.filter(|n| model.stored[*n].place == place).map(|n| n + 1).max().unwrap_or(0)
            };
            let content = self.contents[&message.id].0.clone();
            let counts = self.reactions.get(&message.id).cloned().unwrap_or_default();
            let recalled = self.recalled.contains(&message.id);
            let view = model.view(self.user, n, recalled, (content, counts), marked);
            shown.entry(place).or_default().push(view);
        }
        shown
    }
}

// The driver ---------------------------------------------------------------------------------------

struct World {
    server: Option<Server>,
    clock: Arc<ManualClock>,
    devices: Vec<Device>,
    groups: Vec<GroupId>,
    model: Model,
    sockets: u64,
    edits: u64,
    data: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(ManualClock::at(EPOCH_MS + 3_600_000));
        let server = Server::start(&data, &clock);
        let mut model = Model::default();
        let mut groups = Vec::new();
        for (n, members) in GROUPS.iter().enumerate() {
            let others = members[1..].iter().map(|user| who(*user).user_id).collect();
            let owner = who(members[0]);
            let made = server.chat.create_group(&owner, "group", others);
            let id = server.runtime.block_on(made).expect("made").id;
            model.ids.insert(Place::Group(n), id.conversation());
            model.joined.extend(members.iter().map(|user| ((n, *user), 0)));
            groups.push(id);
        }
        let devices = (0..DEVICES).map(Device::new).collect();
        Self { server: Some(server), clock, devices, groups, model, sockets: 0, edits: 0, data }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("between crashes")
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Send { device, to, times } => {
                let draft = self.draft(device, to);
                self.send(draft, self.devices[device].socket(), times);
            }
            Step::Retry { pick, times } if !self.model.drafts.is_empty() => {
                let draft = pick % self.model.drafts.len();
                let device = self.model.drafts[draft].from * 2 + pick % 2;
                self.send(draft, self.devices[device].socket(), times);
            }
            Step::Retry { .. } => {}
            Step::Cut { device } => self.devices[device].cut(),
            Step::Connect { device, forgets } => self.connect(device, forgets),
            Step::Page { device, limit } => self.page(device, limit),
            Step::Hear { device } => self.devices[device].hear(),
            Step::Read { device, pick } => self.read(device, pick),
            Step::Recall { user, pick } => self.recall(user, pick),
            Step::Edit { user, pick } => self.edit(user, pick),
            Step::React { user, pick, emoji, on } => self.react(user, pick, EMOJI[emoji], on),
            Step::Add { group, user } => self.add(group, user),
            Step::Wait { seconds } => self.clock.advance(seconds * 1_000),
            Step::Crash => self.crash(),
            Step::CrashUntold { device, to } => self.crash_untold(device, to),
            Step::CrashWhileSending { device, to, turns } => self.crash_while_sending(device, to, turns),
        }
        self.carry();
    }

    /// What the server said reaches the sockets.
    fn carry(&mut self) {
        let heard = std::mem::take(&mut *self.server().wire.heard());
        for device in &mut self.devices {
            heard.iter().for_each(|heard| device.offer(heard));
        }
    }

    fn draft(&mut self, device: usize, to: To) -> usize {
        let (from, n) = (device / 2, self.model.drafts.len());
        let recipient = match to {
            To::Other(further) => Recipient::User(who((from + further) % 4).user_id),
            To::Group(group) => Recipient::Group(self.groups[group]),
        };
        let draft = MessageDraft {
            client_msg_id: format!("c{n}"),
            to: recipient,
            content: format!("message {n}"),
            msg_type: MsgType::Text,
            reply_to: None,
            uploads: Vec::new(),
        };
        self.model.drafts.push(Drafted { from, place: Place::of(from, to), draft, stored: None });
        n
    }

    fn send(&mut self, n: usize, socket: Option<u64>, times: usize) {
        let Drafted { from, place, draft, stored } = &self.model.drafts[n];
        let (server, stored_before) = (self.server(), stored.is_some());
        let answers = server.runtime.block_on(async {
            let sent = join_all((0..times).map(|_| server.send(*from, draft.clone(), socket))).await;
            join_all(sent).await
        });
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("answered")).collect();
        if !stored_before && self.model.joined(*place, *from).is_none() {
            assert!(answers.iter().all(|answer| matches!(answer, Err(ChatError::NotFound(_)))), "{answers:?}");
            return;
        }
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("sent")).collect();
        let new = answers.iter().filter(|sent| !sent.repeated).count();
        assert_eq!(new, usize::from(!stored_before), "new once");
        for sent in answers {
            self.model.settle(n, &sent.message);
        }
    }

    fn connect(&mut self, device: usize, forgets: bool) {
        if self.devices[device].link == Link::Cut {
            self.sockets += 1;
            self.devices[device].link = Link::Syncing(self.sockets);
            if forgets {
                self.devices[device].since_id = None;
            }
        }
    }

    fn page(&mut self, device: usize, limit: usize) {
        let server = self.server.as_ref().expect("between crashes");
        self.devices[device].page(server, limit);
    }

    fn read(&mut self, device: usize, pick: usize) {
        let (user, socket) = (self.devices[device].user, self.devices[device].socket());
        let visible = self.model.visible(user);
        let Some(n) = visible.get(pick % visible.len().max(1)).copied() else { return };
        let Stored { id, place, .. } = self.model.stored[n];
        let server = self.server();
        let ack = server.runtime.block_on(server.chat.mark_as_read(&who(user), id, socket)).expect("marked");
        let read = self.model.has_read(place, user).max(n + 1);
        self.model.read.insert((place, user), read);
        assert_eq!(ack.unread_count as usize, self.model.unread(place, user), "unread after a mark");
        self.devices[device].marks.insert((user, id));
    }

    fn recall(&mut self, user: usize, pick: usize) {
        let Some(n) = pick.checked_rem(self.model.stored.len()) else { return };
        let Stored { id, from, created_at_ms, recalled, .. } = self.model.stored[n];
        let late = self.clock.now_ms() - created_at_ms > 120_000;
        let answer = self.server().runtime.block_on(self.server().chat.recall(&who(user), id));
        match answer {
            Err(ChatError::NotFound(_)) => assert!(!self.model.sees(user, n)),
            Err(ChatError::Forbidden(_)) => assert!(self.model.sees(user, n) && user != from),
            Err(ChatError::TooLate(_)) => assert!(user == from && late && !recalled),
            Ok(()) => {
                assert!(user == from && (!late || recalled));
                self.model.stored[n].recalled = true;
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn edit(&mut self, user: usize, pick: usize) {
        let Some(n) = pick.checked_rem(self.model.stored.len()) else { return };
        let Stored { id, from, created_at_ms, recalled, .. } = self.model.stored[n];
        let late = self.clock.now_ms() - created_at_ms > 120_000;
        self.edits += 1;
        let content = format!("edit {}", self.edits);
        let answer = self.server().runtime.block_on(self.server().chat.edit(&who(user), id, &content));
        match answer {
            Err(ChatError::NotFound(_)) => assert!(!self.model.sees(user, n)),
            Err(ChatError::Forbidden(_)) => assert!(self.model.sees(user, n) && user != from),
            Err(ChatError::TooLate(_)) => assert!(user == from && (late || recalled)),
            Ok(ack) => {
                assert!(user == from && !late && !recalled && ack.edited_at_ms.is_some());
                self.model.stored[n].content = content;
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn react(&mut self, user: usize, pick: usize, emoji: &'static str, on: bool) {
        let Some(n) = pick.checked_rem(self.model.stored.len()) else { return };
        let Stored { id, recalled, .. } = self.model.stored[n];
        let with: Emoji = emoji.parse().expect("an emoji");
        let answer = self.server().runtime.block_on(self.server().chat.react(&who(user), id, with, on));
        match answer {
            Err(ChatError::NotFound(_)) => assert!(!self.model.sees(user, n)),
            Err(ChatError::TooLate(_)) => assert!(recalled),
            Ok(ack) => {
                assert!(self.model.sees(user, n) && !recalled);
                let by = self.model.stored[n].reactions.entry(emoji).or_default();
                if on {
                    by.insert(user)
                } else {
                    by.remove(&user)
                };
                assert_eq!(ack.count as usize, by.len(), "each person counts once");
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn add(&mut self, group: usize, user: usize) {
        let owner = who(GROUPS[group][0]);
        let added = self.server().chat.add_members(&owner, self.groups[group], vec![who(user).user_id]);
        let added = self.server().runtime.block_on(added).expect("added");
        let from = self.model.stored.len();
        let new = !self.model.joined.contains_key(&(group, user));
        assert_eq!(added.len(), usize::from(new));
        self.model.joined.entry((group, user)).or_insert(from);
    }

    /// Kills the server and starts it on the same file.
    fn crash(&mut self) {
        self.server = None;
        self.devices.iter_mut().for_each(Device::cut);
        self.server = Some(Server::start(&self.data, &self.clock));
        // Clients come back by themselves.
        (0..DEVICES).for_each(|device| self.connect(device, false));
    }

    fn crash_untold(&mut self, device: usize, to: To) {
        let n = self.draft(device, to);
        let Drafted { from, place, draft, .. } = &self.model.drafts[n];
        let server = self.server();
        let new = NewMessage {
            id: server.ids.next().expect("a number"),
            conversation_id: ConversationId(server.ids.next().expect("a number")),
            client_msg_id: draft.client_msg_id.as_str().into(),
            from_user: who(*from).user_id,
            from_name: NAMES[*from].into(),
            to: draft.to.clone(),
            content: draft.content.as_str().into(),
            msg_type: draft.msg_type,
            created_at_ms: self.clock.now_ms(),
            outbox: false,
            reply_to: None,
            uploads: Vec::new(),
        };
        let outcome = server.runtime.block_on(server.store.append_messages(vec![new])).expect("stored");
        match &outcome[..] {
            [Appended::New { message, .. }] => self.model.settle(n, message),
            [Appended::NoGroup] => assert!(self.model.joined(*place, *from).is_none()),
            other => panic!("{other:?}"),
        }
        self.crash();
    }

    /// Whether it was stored is for the file to say.
    fn crash_while_sending(&mut self, device: usize, to: To, turns: usize) {
        let n = self.draft(device, to);
        let Drafted { from, draft, .. } = &self.model.drafts[n];
        let (from, draft, socket, server) = (*from, draft.clone(), self.devices[device].socket(), self.server());
        let name = draft.client_msg_id.clone();
        server.runtime.block_on(async {
            drop(server.send(from, draft, socket).await);
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        });
        self.crash();
        let server = self.server();
        let found = server.runtime.block_on(server.store.first_message(&who(from).user_id, &name)).expect("read");
        if let Some(message) = found {
            self.model.settle(n, &message);
        }
    }

    // The end ------------------------------------------------------------------------------------

    fn sync_everybody(&mut self, limit: usize) {
        for device in 0..DEVICES {
            self.connect(device, false);
            let mut pages = 0;
            while matches!(self.devices[device].link, Link::Syncing(_)) {
                self.page(device, limit);
                pages += 1;
                assert!(pages < 1_000, "pages without an end");
            }
            self.devices[device].hear();
        }
    }

    fn check(&self) {
        for (user, name) in NAMES.iter().enumerate() {
            let expected = self.model.expected(user);
            assert_eq!(self.kept(user), expected, "the store, for {name}");
            for device in self.devices.iter().filter(|device| device.user == user) {
                assert_eq!(device.shown(&self.model), expected, "{name}'s {:?}", device.name);
            }
        }
    }

    /// What the store says that somebody sees; its counts are compared on the way.
    fn kept(&self, user: usize) -> BTreeMap<Place, Vec<View>> {
        let (server, who) = (self.server(), who(user));
        let list = server.runtime.block_on(server.chat.conversations(&who, None, Some(200))).expect("a list");
        let mut kept = BTreeMap::new();
        for conversation in list.conversations {
            let place = *self.model.ids.iter().find(|(_, id)| **id == conversation.id).expect("a known one").0;
            assert!(self.model.joined(place, user).is_some(), "{place:?} is not {}'s", NAMES[user]);
            assert_eq!(conversation.unread as usize, self.model.unread(place, user), "unread in {place:?}");
            let history = server.chat.history(&who, conversation.id, None, Some(200));
            let messages = server.runtime.block_on(history).expect("a member").messages;
            if !messages.is_empty() {
                let view = |seen: &model::chat::Seen| {
                    let counts = seen.message.reactions.iter();
                    let counts = counts.map(|reaction| (reaction.emoji.to_string(), reaction.count)).collect();
                    (seen.message.id, seen.message.content.to_string(), seen.status, seen.read_count, counts)
                };
                kept.insert(place, messages.iter().map(view).collect());
            }
        }
        kept
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_device_ends_with_every_message_once(
        steps in prop::collection::vec(step(), 40..80),
        limit in 1usize..6,
    ) {
        let mut world = World::new();
        world.sync_everybody(limit);
        for step in &steps {
            world.run(step);
        }
        // Who was connected all along holds what pushes and pages brought; then a last crash, after
        // which all of them sync.
        world.sync_everybody(limit);
        world.check();
        world.crash();
        world.sync_everybody(limit);
        world.check();
    }
}
