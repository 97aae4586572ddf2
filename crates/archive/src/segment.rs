//! The form of a segment: six minutes of a session in columns, version 1.
//!
//! Pure: bytes in, comments out. An object holds these bytes inside brotli (RFC 7932), and the HTTP API serves them so.
//! Integers are LEB128 varints; signed ones are zigzag-coded; a text or list is preceded by its length. `docs/archive.md` has
//! the layout for other implementers.
//!
//! Nothing is taken on trust when bytes are read: lengths are compared with what is there before memory is reserved, and what
//! does not fit is a [`Damage`].

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Read;
use std::sync::Arc;

use model::snowflake::made_at_ms;
use model::{Comment, Kind, Level, Mode, RoomId, Size, Snowflake, Style, UserId};
use store::Positioned;
use store::archive::{Fingerprint, SEGMENT_MS, segment_of};

const MAGIC: [u8; 4] = *b"BSEG";
const VERSION: u8 = 1;
/// Magic, version, flags and checksum.
const HEAD_BYTES: usize = 10;
/// Creation times are whole seconds, as in imported recordings, instead of differences from the offset.
const WHOLE_SECONDS: u8 = 1;
/// Ids were made when their comments were, so that their milliseconds need not be stored.
const IDS_BY_TIME: u8 = 2;
/// Bits of an id below its milliseconds.
const LOW_BITS: u32 = 22;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;
/// How far the time of an id may be from its comment's for [`IDS_BY_TIME`].
const NEAR_MS: i64 = 60_000;
/// Beside the level of a person: a name follows, which is not the id.
const NAMED: u8 = 0x80;
/// Bytes of a segment before compression; one with more is neither written nor read.
pub const RAW_BYTES_MAX: usize = 128 << 20;
/// Bytes of an object.
pub const OBJECT_BYTES_MAX: usize = 64 << 20;
/// Larger segments are compressed with less effort, so that a crowded session takes seconds and not minutes.
const BEST_EFFORT_BYTES_MAX: usize = 512 << 10;
const BEST_QUALITY: i32 = 11;
const FAST_QUALITY: i32 = 9;
const WINDOW_BITS: i32 = 22;

/// Why bytes are no segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// They end too early, or go on too long.
    #[error("it is cut off or too long")]
    Cut,
    /// They are something else.
    #[error("it is no segment")]
    Foreign,
    /// A newer program wrote them.
    #[error("it has version {0}, which this program does not know")]
    Version(u8),
    /// The checksum is that of other bytes.
    #[error("its checksum is wrong")]
    Checksum,
    /// A value is out of its range.
    #[error("a value in it is out of range")]
    Value,
    /// The compression is broken, or it unpacks to too much.
    #[error("its compression is broken")]
    Compression,
    /// It belongs to another place.
    #[error("it belongs to another session or number")]
    Misplaced,
}

/// Why comments cannot be a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the comments do not fit into one segment")]
pub struct TooLarge;

/// The comments of one segment.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The room of all comments.
    pub room_id: RoomId,
    /// The session of all comments.
    pub session_id: Snowflake,
    /// The segment's number.
    pub n: i64,
    /// The comments by offset and id.
    pub comments: Vec<Positioned>,
}

impl PartialEq<[Positioned]> for Segment {
    fn eq(&self, other: &[Positioned]) -> bool {
        let same = |(a, b): (&Positioned, &Positioned)| a.position == b.position && a.comment == b.comment;
        self.comments.len() == other.len() && self.comments.iter().zip(other).all(same)
    }
}

impl Segment {
    /// A segment of these comments; puts them in order, and leaves out all but one of an id.
    #[must_use]
    pub fn new(room_id: RoomId, session_id: Snowflake, n: i64, mut comments: Vec<Positioned>) -> Self {
        comments.sort_by_key(|one| (one.comment.offset_ms, one.comment.id));
        comments.dedup_by_key(|one| one.comment.id);
        Self { room_id, session_id, n, comments }
    }

    /// From this offset on.
    #[must_use]
    pub const fn from_ms(&self) -> i64 {
        self.n.saturating_mul(SEGMENT_MS)
    }

    /// Up to but not including this one.
    #[must_use]
    pub const fn to_ms(&self) -> i64 {
        self.n.saturating_add(1).saturating_mul(SEGMENT_MS)
    }

    /// What tells this content from another.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        self.comments.iter().for_each(|one| fingerprint.add(one.comment.id, one.comment.like_count));
        fingerprint
    }

    /// The bytes, before compression. The same comments give the same bytes.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, TooLarge> {
        let mut rows: Vec<_> = self.comments.iter().collect();
        // By id neighbours were said one after the other, which compresses better than the order of the recording.
        rows.sort_by_key(|one| one.comment.id);
        let whole_seconds = rows.iter().all(|row| row.comment.created_at_ms % 1_000 == 0);
        let by_time = rows
            .iter()
            .all(|row| row.comment.created_at_ms.saturating_sub(made_at_ms(row.comment.id)).saturating_abs() < NEAR_MS);
        let by_time = by_time && !whole_seconds;
        let mut body = Vec::with_capacity(rows.len() * 64 + 64);
        put_text(&mut body, self.room_id.as_str());
        put(&mut body, self.session_id.0);
        put(&mut body, self.n.cast_unsigned());
        put(&mut body, rows.len() as u64);
        for column in columns(&rows, whole_seconds, by_time) {
            put(&mut body, column.len() as u64);
            body.extend_from_slice(&column);
        }
        if body.len() > RAW_BYTES_MAX - HEAD_BYTES {
            return Err(TooLarge);
        }
        let flags = if whole_seconds { WHOLE_SECONDS } else { 0 } | if by_time { IDS_BY_TIME } else { 0 };
        let mut bytes = Vec::with_capacity(body.len() + HEAD_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, flags]);
        bytes.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Back from [`Segment::encode`].
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let Some((head, body)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Err(Damage::Cut) };
        let [m0, m1, m2, m3, version, flags, checksum @ ..] = *head;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(Damage::Foreign);
        }
        if version != VERSION {
            return Err(Damage::Version(version));
        }
        if crc32fast::hash(body) != u32::from_be_bytes(checksum) {
            return Err(Damage::Checksum);
        }
        if flags & !(WHOLE_SECONDS | IDS_BY_TIME) != 0 {
            return Err(Damage::Value);
        }
        decode_body(&mut Reader(body), flags)
    }
}

/// The object of a segment: its bytes inside brotli.
///
/// # Errors
/// [`TooLarge`].
pub fn pack(segment: &Segment) -> Result<Vec<u8>, TooLarge> {
    let bytes = segment.encode()?;
    let quality = if bytes.len() <= BEST_EFFORT_BYTES_MAX { BEST_QUALITY } else { FAST_QUALITY };
    let parameters = brotli::enc::BrotliEncoderParams {
        quality,
        lgwin: WINDOW_BITS,
        size_hint: bytes.len(),
        ..brotli::enc::BrotliEncoderParams::default()
    };
    let mut packed = Vec::new();
    // A vector takes every write.
    brotli::BrotliCompress(&mut bytes.as_slice(), &mut packed, &parameters).map_err(|_| TooLarge)?;
    if packed.len() > OBJECT_BYTES_MAX { Err(TooLarge) } else { Ok(packed) }
}

/// The bytes inside an object.
///
/// # Errors
/// [`Damage`].
pub fn unwrap(object: &[u8]) -> Result<Vec<u8>, Damage> {
    if object.len() > OBJECT_BYTES_MAX {
        return Err(Damage::Cut);
    }
    let mut bytes = Vec::new();
    let mut unpacked = brotli::Decompressor::new(object, 1 << 16).take(RAW_BYTES_MAX as u64 + 1);
    unpacked.read_to_end(&mut bytes).map_err(|_| Damage::Compression)?;
    if bytes.len() > RAW_BYTES_MAX { Err(Damage::Compression) } else { Ok(bytes) }
}

/// Back from [`pack`].
///
/// # Errors
/// [`Damage`].
pub fn unpack(object: &[u8]) -> Result<Segment, Damage> {
    Segment::decode(&unwrap(object)?)
}

/// Values in the order in which they first came, and the number of each row's value.
struct Table<K> {
    numbers: HashMap<K, u64>,
    entries: Vec<u8>,
    rows: Vec<u8>,
}

impl<K: Hash + Eq> Table<K> {
    fn new() -> Self {
        Self { numbers: HashMap::new(), entries: Vec::new(), rows: Vec::new() }
    }

    fn add(&mut self, key: K, write: impl FnOnce(&mut Vec<u8>)) {
        let next = self.numbers.len() as u64;
        let number = *self.numbers.entry(key).or_insert_with(|| {
            write(&mut self.entries);
            next
        });
        put(&mut self.rows, number);
    }
}

fn columns(rows: &[&Positioned], whole_seconds: bool, by_time: bool) -> Vec<Vec<u8>> {
    let (mut times, mut low, mut offsets, mut created) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut lengths, mut texts, mut positions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut likes, mut mentions) = (Vec::new(), Vec::new());
    let (mut people, mut styles) = (Table::new(), Table::new());
    let (mut last_id, mut last_offset, mut last_created, mut last_position) = (0u64, 0i64, 0i64, 0i64);
    for (row, Positioned { comment, position }) in rows.iter().enumerate() {
        let id = comment.id.0;
        let time = if by_time {
            comment.created_at_ms.wrapping_sub(made_at_ms(comment.id))
        } else {
            ((id >> LOW_BITS) - (last_id >> LOW_BITS)).cast_signed()
        };
        put_signed(&mut times, time);
        put(&mut low, (id ^ last_id) & LOW_MASK);
        last_id = id;
        put_signed(&mut offsets, comment.offset_ms.wrapping_sub(last_offset));
        last_offset = comment.offset_ms;
        let made = match whole_seconds {
            true => comment.created_at_ms / 1_000,
            false => comment.created_at_ms.wrapping_sub(comment.offset_ms),
        };
        put_signed(&mut created, made.wrapping_sub(last_created));
        last_created = made;
        people.add((&comment.user_id, &comment.username, comment.level as u8), |entry| {
            put_text(entry, comment.user_id.as_str());
            // Most imported people have their id for a name.
            let is_named = *comment.username != *comment.user_id.as_str();
            entry.push(level_number(comment.level) | if is_named { NAMED } else { 0 });
            if is_named {
                put_text(entry, &comment.username);
            }
        });
        let look = comment.style;
        styles.add((look, comment.kind), |entry| {
            entry.extend_from_slice(&[mode_number(look.mode), size_number(look.size), kind_number(comment.kind)]);
            put(entry, look.color.into());
        });
        put(&mut lengths, comment.content.len() as u64);
        texts.extend_from_slice(comment.content.as_bytes());
        let position = position.cast_signed();
        put_signed(&mut positions, position.wrapping_sub(last_position));
        last_position = position;
        if comment.like_count > 0 {
            put(&mut likes, row as u64);
            put(&mut likes, comment.like_count);
        }
        if !comment.mentions.is_empty() {
            put(&mut mentions, row as u64);
            put(&mut mentions, comment.mentions.len() as u64);
            comment.mentions.iter().for_each(|user| put_text(&mut mentions, user.as_str()));
        }
    }
    if rows.iter().all(|row| row.position == 0) {
        positions.clear();
    }
    vec![
        times,
        low,
        offsets,
        created,
        people.entries,
        people.rows,
        styles.entries,
        styles.rows,
        lengths,
        texts,
        positions,
        likes,
        mentions,
    ]
}

/// Somebody under one name and level.
struct Person {
    user_id: UserId,
    username: Box<str>,
    level: Level,
}

fn decode_body(body: &mut Reader<'_>, flags: u8) -> Result<Segment, Damage> {
    let room_id = RoomId::new(body.text()?).map_err(|_| Damage::Value)?;
    let session_id = Snowflake(body.number()?);
    let n = i64::try_from(body.number()?).map_err(|_| Damage::Value)?;
    let count = body.number()?;
    let mut column = || body.block();
    let (mut times, mut low, mut offsets, mut created) = (column()?, column()?, column()?, column()?);
    let (mut people, mut speakers, mut looks, mut styles) = (column()?, column()?, column()?, column()?);
    let (mut lengths, mut texts, mut positions) = (column()?, column()?, column()?);
    let (mut likes, mut mentions) = (column()?, column()?);
    body.end()?;
    // Each comment has at least a byte in this column.
    let count = usize::try_from(count).ok().filter(|count| *count <= offsets.0.len()).ok_or(Damage::Cut)?;
    let (people, looks) = (read_people(&mut people)?, read_looks(&mut looks)?);
    let has_positions = !positions.0.is_empty();
    let mut next_like = likes.pair()?;
    let mut next_mentions = mentions.row()?;
    let mut comments = Vec::with_capacity(count);
    let (mut last_id, mut offset_ms, mut made, mut position) = (0u64, 0i64, 0i64, 0i64);
    for row in 0..count as u64 {
        let time = times.signed()?;
        offset_ms = offset_ms.wrapping_add(offsets.signed()?);
        made = made.wrapping_add(created.signed()?);
        let created_at_ms = match flags & WHOLE_SECONDS != 0 {
            true => made.checked_mul(1_000).ok_or(Damage::Value)?,
            false => made.wrapping_add(offset_ms),
        };
        let ms = match flags & IDS_BY_TIME != 0 {
            true => created_at_ms.wrapping_sub(time).wrapping_sub(model::snowflake::EPOCH_MS).cast_unsigned(),
            false => (last_id >> LOW_BITS).wrapping_add(time.cast_unsigned()),
        };
        let id = ms.checked_mul(1 << LOW_BITS).ok_or(Damage::Value)? | (low.number()? ^ last_id) & LOW_MASK;
        if id <= last_id || id > i64::MAX as u64 {
            return Err(Damage::Value);
        }
        last_id = id;
        let person = speakers.entry_of(&people)?;
        let (style, kind) = *styles.entry_of(&looks)?;
        let length = lengths.number()?;
        let content = texts.bytes(length)?;
        if has_positions {
            position = position.wrapping_add(positions.signed()?);
        }
        let like_count = match next_like {
            Some((at, likes_of_it)) if at == row => {
                next_like = likes.pair()?;
                likes_of_it
            }
            _ => 0,
        };
        let mut addressed = Vec::new();
        if next_mentions == Some(row) {
            addressed = mentions.users()?;
            next_mentions = mentions.row()?;
        }
        if segment_of(offset_ms) != n {
            return Err(Damage::Value);
        }
        let comment = Comment {
            id: Snowflake(id),
            room_id: room_id.clone(),
            session_id: Some(session_id),
            user_id: person.user_id.clone(),
            username: person.username.clone(),
            level: person.level,
            content: std::str::from_utf8(content).map_err(|_| Damage::Value)?.into(),
            style,
            kind,
            mentions: addressed.into(),
            created_at_ms,
            offset_ms,
            like_count,
            shadow: false,
        };
        let position = u64::try_from(position).map_err(|_| Damage::Value)?;
        comments.push(Positioned { comment: Arc::new(comment), position });
    }
    for column in [times, low, offsets, created, speakers, styles, lengths, texts, positions, likes, mentions] {
        column.end()?;
    }
    if next_like.is_some() || next_mentions.is_some() {
        return Err(Damage::Value);
    }
    Ok(Segment::new(room_id, session_id, n, comments))
}

fn read_people(entries: &mut Reader<'_>) -> Result<Vec<Person>, Damage> {
    let mut people = Vec::new();
    while !entries.0.is_empty() {
        let user_id = UserId::new(entries.text()?).map_err(|_| Damage::Value)?;
        let first = entries.byte()?;
        let username = if first & NAMED == 0 { user_id.as_str() } else { entries.text()? };
        let (username, level) = (username.into(), level(first & !NAMED)?);
        people.push(Person { user_id, username, level });
    }
    Ok(people)
}

fn read_looks(entries: &mut Reader<'_>) -> Result<Vec<(Style, Kind)>, Damage> {
    let mut looks = Vec::new();
    while !entries.0.is_empty() {
        let (mode, size, kind) = (mode(entries.byte()?)?, size(entries.byte()?)?, kind(entries.byte()?)?);
        let color = u32::try_from(entries.number()?).map_err(|_| Damage::Value)?;
        looks.push((Style { mode, color, size }, kind));
    }
    Ok(looks)
}

// Numbers of the format; they never change.

const fn level_number(level: Level) -> u8 {
    match level {
        Level::Normal => 0,
        Level::Vip => 1,
        Level::Owner => 2,
        Level::Moderator => 3,
        Level::Admin => 4,
    }
}

const fn level(number: u8) -> Result<Level, Damage> {
    Ok(match number {
        0 => Level::Normal,
        1 => Level::Vip,
        2 => Level::Owner,
        3 => Level::Moderator,
        4 => Level::Admin,
        _ => return Err(Damage::Value),
    })
}

const fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Scroll => 0,
        Mode::Top => 1,
        Mode::Bottom => 2,
    }
}

const fn mode(number: u8) -> Result<Mode, Damage> {
    Ok(match number {
        0 => Mode::Scroll,
        1 => Mode::Top,
        2 => Mode::Bottom,
        _ => return Err(Damage::Value),
    })
}

const fn size_number(size: Size) -> u8 {
    match size {
        Size::Small => 0,
        Size::Normal => 1,
        Size::Large => 2,
    }
}

const fn size(number: u8) -> Result<Size, Damage> {
    Ok(match number {
        0 => Size::Small,
        1 => Size::Normal,
        2 => Size::Large,
        _ => return Err(Damage::Value),
    })
}

const fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Comment => 0,
        Kind::Imported => 1,
        Kind::Recorded => 2,
    }
}

const fn kind(number: u8) -> Result<Kind, Damage> {
    Ok(match number {
        0 => Kind::Comment,
        1 => Kind::Imported,
        2 => Kind::Recorded,
        _ => return Err(Damage::Value),
    })
}

fn put(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

fn put_signed(bytes: &mut Vec<u8>, n: i64) {
    put(bytes, ((n << 1) ^ (n >> 63)).cast_unsigned());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Bytes that are yet to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Damage> {
        let (first, rest) = self.0.split_first().ok_or(Damage::Cut)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, Damage> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Damage::Value);
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Damage::Value)
    }

    fn signed(&mut self) -> Result<i64, Damage> {
        let n = self.number()?;
        Ok((n >> 1).cast_signed() ^ -((n & 1).cast_signed()))
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], Damage> {
        let length = usize::try_from(length).map_err(|_| Damage::Cut)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Damage::Cut)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<&'a str, Damage> {
        let length = self.number()?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Damage::Value)
    }

    fn block(&mut self) -> Result<Reader<'a>, Damage> {
        let length = self.number()?;
        self.bytes(length).map(Reader)
    }

    fn entry_of<'t, T>(&mut self, table: &'t [T]) -> Result<&'t T, Damage> {
        let number = usize::try_from(self.number()?).map_err(|_| Damage::Value)?;
        table.get(number).ok_or(Damage::Value)
    }

    /// The next row of a sparse column, if there is one.
    fn row(&mut self) -> Result<Option<u64>, Damage> {
        if self.0.is_empty() { Ok(None) } else { self.number().map(Some) }
    }

    fn pair(&mut self) -> Result<Option<(u64, u64)>, Damage> {
        self.row()?.map(|row| Ok((row, self.number()?))).transpose()
    }

    fn users(&mut self) -> Result<Vec<UserId>, Damage> {
        let count = self.number()?;
        // Each takes at least a byte.
        if count > self.0.len() as u64 {
            return Err(Damage::Cut);
        }
        (0..count).map(|_| UserId::new(self.text()?).map_err(|_| Damage::Value)).collect()
    }

    const fn end(&self) -> Result<(), Damage> {
        if self.0.is_empty() { Ok(()) } else { Err(Damage::Cut) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn user() -> impl Strategy<Value = UserId> {
        // `.` and `..` are none.
        "[a-zA-Z0-9_.:@-]{1,64}".prop_filter_map("an id", |id| UserId::new(&id).ok())
    }

    prop_compose! {
        fn positioned()(
            id in 1..i64::MAX as u64,
            user_id in user(),
            username in "\\PC{1,32}",
            content in "\\PC{0,40}",
            mentions in vec(user(), 0..3),
            level in select(vec![Level::Normal, Level::Vip, Level::Owner, Level::Moderator, Level::Admin]),
            mode in select(vec![Mode::Scroll, Mode::Top, Mode::Bottom]),
            size in select(vec![Size::Small, Size::Normal, Size::Large]),
            kind in select(vec![Kind::Comment, Kind::Imported, Kind::Recorded]),
            color in 0..0x0100_0000_u32,
            created_at_ms in prop_oneof![any::<i64>(), (0..4_000_000_000_i64).prop_map(|s| s * 1_000)],
            offset_ms in SEGMENT_MS..2 * SEGMENT_MS,
            like_count in prop_oneof![3 => Just(0), 1 => any::<u64>()],
            position in prop_oneof![Just(0), 0..i64::MAX as u64],
        ) -> Positioned {
            let comment = Comment {
                id: Snowflake(id),
                room_id: RoomId::new("r").expect("a room id"),
                session_id: Some(Snowflake(7)),
                user_id, username: username.into(), level, content: content.into(),
                style: Style { mode, color, size }, kind, mentions: mentions.into(), created_at_ms, offset_ms, like_count,
                shadow: false,
            };
            Positioned { comment: Arc::new(comment), position }
        }
    }

    /// Comments whose ids tell when they were said, as those of a live room do.
    fn live() -> impl Strategy<Value = Positioned> {
        (positioned(), -30_000..30_000_i64).prop_map(|(one, late)| {
            let comment = Arc::unwrap_or_clone(one.comment);
            let created_at_ms = made_at_ms(comment.id).saturating_add(late);
            Positioned { comment: Arc::new(Comment { created_at_ms, ..comment }), position: one.position }
        })
    }

    fn segment(comments: Vec<Positioned>) -> Segment {
        Segment::new(RoomId::new("r").expect("a room id"), Snowflake(7), 1, comments)
    }

    fn check_round_trip(segment: &Segment) {
        let bytes = segment.encode().expect("encoded");
        let back = Segment::decode(&bytes).expect("decoded");
        assert!(back == *segment.comments, "the comments come back");
        assert_eq!((back.room_id.as_str(), back.session_id, back.n), ("r", Snowflake(7), 1));
        assert_eq!(back.fingerprint(), segment.fingerprint());
        let object = pack(segment).expect("packed");
        assert!(unpack(&object).expect("unpacked") == *segment.comments, "also inside the compression");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn comments_come_back(comments in vec(positioned(), 0..40)) {
            check_round_trip(&segment(comments));
        }

        #[test]
        fn live_comments_come_back(comments in vec(live(), 0..40)) {
            check_round_trip(&segment(comments));
        }

        #[test]
        fn a_changed_byte_is_noticed(comments in vec(positioned(), 1..10), at: prop::sample::Index, flip in 1..=255_u8) {
            let mut bytes = segment(comments).encode().expect("encoded");
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(Segment::decode(&bytes).is_err());
        }

        #[test]
        fn a_cut_is_noticed(comments in vec(positioned(), 1..10), at: prop::sample::Index) {
            let object = pack(&segment(comments)).expect("packed");
            prop_assert!(unpack(&object[..at.index(object.len())]).is_err());
        }

        /// Whoever can make a checksum can write anything: no body is fatal, and none reserves more than it has.
        #[test]
        fn no_body_is_fatal(body: Vec<u8>, flags in 0..4_u8) {
            let _ = decode_body(&mut Reader(&body), flags);
            let _ = unpack(&body);
        }

        #[test]
        fn no_change_of_a_body_is_fatal(
            comments in vec(positioned(), 1..10), at: prop::sample::Index, byte: u8, flags in 0..4_u8,
        ) {
            let mut bytes = segment(comments).encode().expect("encoded").split_off(HEAD_BYTES);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode_body(&mut Reader(&bytes), flags);
        }
    }

    #[test]
    fn an_object_that_unpacks_to_too_much_is_refused() {
        let zeros = vec![0u8; 1 << 20];
        let mut bomb = Vec::new();
        let mut input = std::io::Cursor::new(&zeros).chain(std::io::repeat(0).take(RAW_BYTES_MAX as u64));
        let parameters = brotli::enc::BrotliEncoderParams { quality: 1, ..Default::default() };
        brotli::BrotliCompress(&mut input, &mut bomb, &parameters).expect("packed");
        assert!(bomb.len() < 1 << 20);
        assert_eq!(unpack(&bomb).err(), Some(Damage::Compression));
    }
}
