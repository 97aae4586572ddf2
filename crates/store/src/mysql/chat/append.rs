//! Stores messages: each once, in the order of their batch.
//!
//! First it reads what the decisions need: earlier messages, blocks and conversations. It locks the groups, so that nobody
//! leaves one meanwhile. Only then it allocates positions; from there on all nodes wait for each other, so the rest is three or
//! four statements for the whole batch. Two nodes that store the same `client_msg_id`, or begin the same conversation, meet in
//! a unique key: the later transaction retries and finds it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use model::chat::{ConversationId, GroupId, GroupRole, Message, Recipient};
use model::{Snowflake, UserId};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result};

use super::messages::{COLUMNS, message_row};
use super::sequences::{self, Sequence};
use super::{NewMember, join, push_numbers, push_pairs};
use crate::chat::{Appended, NewMessage};
use crate::mysql::batches::batches;
use crate::mysql::row::{code, id, int, parsed, uint};

pub(super) async fn append(db: &mut MySqlConnection, batch: &[NewMessage]) -> Result<Vec<Appended>> {
    let verdicts = decide(batch, &Preconditions::load(db, batch).await?);
    let accepted: Vec<_> = batch.iter().zip(&verdicts).filter_map(|(new, verdict)| verdict.accepted(new)).collect();
    let first =
        if accepted.is_empty() { 0 } else { sequences::allocate(db, Sequence::Positions, accepted.len()).await? };
    let stored: Vec<_> = (first..).zip(accepted).map(|(position, accepted)| accepted.at(position)).collect();
    if !stored.is_empty() {
        create_conversations(db, &stored, first - 1).await?;
        touch_conversations(db, &stored).await?;
        insert(db, &stored).await?;
    }
    Ok(answers(verdicts, stored))
}

// Preconditions ---------------------------------------------------------------------------------------

/// Two people, the lower id first.
type Pair = (UserId, UserId);

fn pair(one: &UserId, other: &UserId) -> Pair {
    (one.min(other).clone(), one.max(other).clone())
}

/// What the decisions about a batch need.
struct Preconditions {
    /// Earlier messages by sender and `client_msg_id`.
    earlier: HashMap<(UserId, Box<str>), Arc<Message>>,
    /// Who blocks whom.
    blocks: HashSet<(UserId, UserId)>,
    directs: HashMap<Pair, ConversationId>,
    /// The version of a group's membership, for senders who are members.
    groups: HashMap<(GroupId, UserId), u64>,
}

impl Preconditions {
    async fn load(db: &mut MySqlConnection, batch: &[NewMessage]) -> Result<Self> {
        let directs = || batch.iter().filter_map(|new| direct_to(new).map(|other| (&new.from_user, other)));
        Ok(Self {
            earlier: earlier(db, batch).await?,
            blocks: blocks(db, directs().map(|(from, to)| (to.clone(), from.clone())).collect()).await?,
            directs: directs_between(db, directs().map(|(from, to)| pair(from, to)).collect()).await?,
            groups: groups(db, batch.iter().filter_map(|new| Some((group_of(new)?, new.from_user.clone()))).collect())
                .await?,
        })
    }
}

fn direct_to(new: &NewMessage) -> Option<&UserId> {
    match &new.to {
        Recipient::User(other) => Some(other),
        Recipient::Group(_) => None,
    }
}

fn group_of(new: &NewMessage) -> Option<GroupId> {
    match new.to {
        Recipient::Group(group) => Some(group),
        Recipient::User(_) => None,
    }
}

async fn earlier(db: &mut MySqlConnection, batch: &[NewMessage]) -> Result<HashMap<(UserId, Box<str>), Arc<Message>>> {
    let mut found = HashMap::new();
    for some in batches(batch) {
        let mut sql = QueryBuilder::<MySql>::new(format!("SELECT {COLUMNS} FROM messages x WHERE "));
        let keys = some.iter().map(|new| (new.from_user.to_string(), new.client_msg_id.as_bytes().to_vec()));
        push_pairs(&mut sql, "x.from_user", "x.client_msg_id", keys);
        for row in &sql.build().fetch_all(&mut *db).await? {
            let message = message_row(row)?;
            found.insert((message.from_user.clone(), message.client_msg_id.clone()), message);
        }
    }
    Ok(found)
}

async fn blocks(db: &mut MySqlConnection, asked: BTreeSet<(UserId, UserId)>) -> Result<HashSet<(UserId, UserId)>> {
    let mut found = HashSet::new();
    for some in batches(&asked.into_iter().collect::<Vec<_>>()) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT user_id, blocked FROM blocks WHERE ");
        push_pairs(&mut sql, "user_id", "blocked", some.iter().map(|(by, whom)| (by.to_string(), whom.to_string())));
        for row in &sql.build().fetch_all(&mut *db).await? {
            found.insert((parsed(row, 0)?, parsed(row, 1)?));
        }
    }
    Ok(found)
}

async fn directs_between(db: &mut MySqlConnection, pairs: BTreeSet<Pair>) -> Result<HashMap<Pair, ConversationId>> {
    let mut found = HashMap::new();
    for some in batches(&pairs.into_iter().collect::<Vec<_>>()) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT low_user, high_user, id FROM conversations WHERE ");
        let some_pairs = some.iter().map(|(low, high)| (low.to_string(), high.to_string()));
        push_pairs(&mut sql, "low_user", "high_user", some_pairs);
        for row in &sql.build().fetch_all(&mut *db).await? {
            found.insert((parsed(row, 0)?, parsed(row, 1)?), ConversationId(id(row, 2)?));
        }
    }
    Ok(found)
}

/// Locks the groups in the order of their ids, and then reads which senders are members.
async fn groups(
    db: &mut MySqlConnection,
    senders: BTreeSet<(GroupId, UserId)>,
) -> Result<HashMap<(GroupId, UserId), u64>> {
    let numbers: Vec<_> = senders.iter().map(|(group, _)| group.0).collect::<BTreeSet<_>>().into_iter().collect();
    let mut versions = HashMap::new();
    for some in batches(&numbers) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT id, members_version FROM conversations WHERE id");
        push_numbers(&mut sql, some.iter().copied());
        sql.push(" AND low_user IS NULL ORDER BY id FOR UPDATE");
        for row in &sql.build().fetch_all(&mut *db).await? {
            versions.insert(GroupId(id(row, 0)?), uint(row, 1)?);
        }
    }
    let mut found = HashMap::new();
    for some in batches(&senders.into_iter().collect::<Vec<_>>()) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT conversation, user_id FROM members WHERE ");
        let keys = some.iter().map(|(group, user)| (int(group.0.0), user.to_string()));
        push_pairs(&mut sql, "conversation", "user_id", keys);
        for row in &sql.build().fetch_all(&mut *db).await? {
            let group = GroupId(id(row, 0)?);
            if let Some(version) = versions.get(&group) {
                found.insert((group, parsed(row, 1)?), *version);
            }
        }
    }
    Ok(found)
}

// Decisions -------------------------------------------------------------------------------------------

enum Verdict {
    /// Not stored; this is the answer.
    Answered(Appended),
    /// Repeats the accepted message with that index in the batch.
    Again(usize),
    Accepted {
        conversation: ConversationId,
        /// The conversation begins with it.
        begins: bool,
        members_version: u64,
    },
}

/// A message to insert.
struct AcceptedMessage<'a> {
    new: &'a NewMessage,
    conversation: ConversationId,
    begins: bool,
    position: i64,
}

impl Verdict {
    fn accepted<'a>(&self, new: &'a NewMessage) -> Option<AcceptedMessage<'a>> {
        match *self {
            Self::Accepted { conversation, begins, .. } => {
                Some(AcceptedMessage { new, conversation, begins, position: 0 })
            }
            _ => None,
        }
    }
}

/// Decides message by message, so that a repeat inside the batch finds the first.
fn decide(batch: &[NewMessage], known: &Preconditions) -> Vec<Verdict> {
    let mut accepted = HashMap::new();
    let mut begun = HashMap::new();
    let mut verdicts = Vec::with_capacity(batch.len());
    for (number, new) in batch.iter().enumerate() {
        let key = (new.from_user.clone(), new.client_msg_id.clone());
        let verdict = if let Some(first) = known.earlier.get(&key) {
            Verdict::Answered(Appended::Repeat(first.clone()))
        } else if let Some(first) = accepted.get(&key) {
            Verdict::Again(*first)
        } else {
            admit(new, known, &mut begun)
        };
        if let Verdict::Accepted { .. } = verdict {
            accepted.insert(key, number);
        }
        verdicts.push(verdict);
    }
    verdicts
}

/// Whether a new message may be stored, and where. `begun` are the conversations that begin in this batch.
fn admit(new: &NewMessage, known: &Preconditions, begun: &mut HashMap<Pair, ConversationId>) -> Verdict {
    match &new.to {
        Recipient::User(other) if known.blocks.contains(&(other.clone(), new.from_user.clone())) => {
            Verdict::Answered(Appended::Blocked)
        }
        Recipient::User(other) => {
            let pair = pair(&new.from_user, other);
            let before = known.directs.get(&pair).or_else(|| begun.get(&pair)).copied();
            let conversation = before.unwrap_or(new.conversation_id);
            if before.is_none() {
                begun.insert(pair, conversation);
            }
            Verdict::Accepted { conversation, begins: before.is_none(), members_version: 0 }
        }
        Recipient::Group(group) => match known.groups.get(&(*group, new.from_user.clone())) {
            Some(version) => {
                Verdict::Accepted { conversation: group.conversation(), begins: false, members_version: *version }
            }
            None => Verdict::Answered(Appended::NoGroup),
        },
    }
}

/// The answers in the order of the batch.
fn answers(verdicts: Vec<Verdict>, stored: Vec<AcceptedMessage<'_>>) -> Vec<Appended> {
    let mut stored = stored.into_iter();
    let mut answers: Vec<Appended> = Vec::with_capacity(verdicts.len());
    for verdict in verdicts {
        let answer = match verdict {
            Verdict::Answered(answer) => Some(answer),
            Verdict::Again(first) => answers.get(first).map(repeated),
            Verdict::Accepted { members_version, .. } => {
                stored.next().map(|stored| Appended::New { message: Arc::new(stored.message()), members_version })
            }
        };
        answers.extend(answer);
    }
    answers
}

/// The answer to a repeat, from the answer to the first.
fn repeated(first: &Appended) -> Appended {
    match first {
        Appended::New { message, .. } => Appended::Repeat(message.clone()),
        other => other.clone(),
    }
}

// Writing ---------------------------------------------------------------------------------------------

impl AcceptedMessage<'_> {
    fn at(self, position: i64) -> Self {
        Self { position, ..self }
    }

    /// Both users of a direct conversation, the lower id first.
    fn people(&self) -> Pair {
        let from = &self.new.from_user;
        pair(from, direct_to(self.new).unwrap_or(from))
    }

    fn message(&self) -> Message {
        let NewMessage {
            id, client_msg_id, from_user, from_name, to, content, msg_type, reply_to, created_at_ms, ..
        } = self.new.clone();
        Message {
            id,
            position: u64::try_from(self.position).unwrap_or(0),
            client_msg_id,
            conversation_id: self.conversation,
            from_user,
            from_name,
            to,
            content,
            msg_type,
            created_at_ms,
            reply_to,
            edited_at_ms: None,
            reactions: Box::default(),
            recalled: None,
        }
    }
}

/// Creates the direct conversations that begin here; both users see what comes after `before`.
async fn create_conversations(db: &mut MySqlConnection, stored: &[AcceptedMessage<'_>], before: i64) -> Result<()> {
    let begun: Vec<_> = stored.iter().filter(|stored| stored.begins).collect();
    for some in batches(&begun) {
        let mut sql = QueryBuilder::<MySql>::new(
            "INSERT INTO conversations (id, low_user, high_user, created_at_ms, member_count, last_position) ",
        );
        sql.push_values(some, |mut row, stored| {
            let (low, high) = stored.people();
            row.push_bind(int(stored.conversation.0.0)).push_bind(low.to_string()).push_bind(high.to_string());
            row.push_bind(stored.new.created_at_ms).push_bind(2).push_bind(before);
        });
        sql.build().execute(&mut *db).await?;
        let members = some.iter().flat_map(|stored| {
            let (conversation, at_ms) = (stored.conversation, stored.new.created_at_ms);
            let (low, high) = stored.people();
            [low, high].map(|user| NewMember { conversation, user, role: GroupRole::Member, at_ms })
        });
        join(db, &members.collect::<Vec<_>>(), before).await?;
    }
    Ok(())
}

/// Updates the newest position of each conversation.
async fn touch_conversations(db: &mut MySqlConnection, stored: &[AcceptedMessage<'_>]) -> Result<()> {
    let newest: BTreeMap<_, _> = stored.iter().map(|stored| (int(stored.conversation.0.0), stored.position)).collect();
    for some in batches(&newest.into_iter().collect::<Vec<_>>()) {
        let mut sql = QueryBuilder::<MySql>::new("UPDATE conversations SET last_position = CASE id");
        for (conversation, position) in some {
            sql.push(" WHEN ").push_bind(*conversation).push(" THEN ").push_bind(*position);
        }
        push_numbers(
            sql.push(" END WHERE id"),
            some.iter().map(|(conversation, _)| Snowflake(conversation.cast_unsigned())),
        );
        sql.build().execute(&mut *db).await?;
    }
    Ok(())
}

async fn insert(db: &mut MySqlConnection, stored: &[AcceptedMessage<'_>]) -> Result<()> {
    for some in batches(stored) {
        let mut sql = QueryBuilder::<MySql>::new(
            "INSERT INTO messages (conversation, position, id, from_user, from_name, to_user, content, msg_type,
             client_msg_id, created_at_ms, upload_id, reply_to) ",
        );
        sql.push_values(some, |mut row, AcceptedMessage { new, conversation, position, .. }| {
            row.push_bind(int(conversation.0.0)).push_bind(*position).push_bind(int(new.id.0));
            row.push_bind(new.from_user.to_string()).push_bind(new.from_name.to_string());
            row.push_bind(direct_to(new).map(UserId::to_string)).push_bind(new.content.to_string());
            row.push_bind(code(new.msg_type)).push_bind(new.client_msg_id.as_bytes().to_vec());
            row.push_bind(new.created_at_ms).push_bind(upload_of(new)).push_bind(new.reply_to.map(|id| int(id.0)));
        });
        sql.build().execute(&mut *db).await?;
    }
    let named: Vec<_> = stored.iter().flat_map(|stored| uploads_named_by(stored.new)).collect();
    for some in batches(&named) {
        let mut sql = QueryBuilder::<MySql>::new("INSERT IGNORE INTO message_uploads (upload_id, message_id) ");
        sql.push_values(some, |mut row, (upload, message)| {
            row.push_bind(*upload).push_bind(*message);
        });
        sql.build().execute(&mut *db).await?;
    }
    let noted: Vec<_> = stored.iter().map(|stored| stored.new).filter(|new| new.outbox).collect();
    for some in batches(&noted) {
        let mut sql = QueryBuilder::<MySql>::new("INSERT INTO outbox (message_id, next_at_ms) ");
        sql.push_values(some, |mut row, new| {
            row.push_bind(int(new.id.0)).push_bind(new.created_at_ms);
        });
        sql.build().execute(&mut *db).await?;
    }
    Ok(())
}

/// The uploads that an encrypted message names beside its content, each with the message.
fn uploads_named_by(new: &NewMessage) -> impl Iterator<Item = (i64, i64)> {
    new.uploads.iter().map(|upload| (int(upload.0), int(new.id.0)))
}

/// The upload that a message refers to.
fn upload_of(new: &NewMessage) -> Option<i64> {
    new.content.parse().ok().filter(|_| new.msg_type.is_upload())
}
