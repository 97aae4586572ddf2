//! Comments as a Parquet file (<https://parquet.apache.org/docs/file-format/>): plain, uncompressed columns in groups of rows.
//!
//! Written by hand because that takes two hundred lines, and the usual library more than a megabyte of the binary. Every
//! value is required, so pages carry no levels. The metadata is Thrift's compact protocol.

use std::io::{self, Write};

use serde_json::Value;

/// Comments in memory at once.
const ROWS_PER_GROUP: usize = 50_000;
const MAGIC: &[u8; 4] = b"PAR1";

// Numbers of the format.
const INT64: i64 = 2;
const BYTE_ARRAY: i64 = 6;
const UTF8: i64 = 0;
const TIMESTAMP_MILLIS: i64 = 9;
const PLAIN: i64 = 0;
const RLE: i64 = 3;

/// How a column is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Number,
    Time,
    Text,
}

const COLUMNS: [(&str, Type); 14] = [
    ("id", Type::Number),
    ("room_id", Type::Text),
    ("session_id", Type::Number),
    ("user_id", Type::Text),
    ("username", Type::Text),
    ("level", Type::Text),
    ("content", Type::Text),
    ("mode", Type::Text),
    ("color", Type::Text),
    ("size", Type::Text),
    ("kind", Type::Text),
    ("created_at", Type::Time),
    ("offset_ms", Type::Number),
    ("like_count", Type::Number),
];

impl Type {
    const fn physical(self) -> i64 {
        match self {
            Self::Number | Self::Time => INT64,
            Self::Text => BYTE_ARRAY,
        }
    }
}

/// A group of rows that was written: its rows, and for each column where its page begins and how long it is.
struct Group {
    rows: usize,
    pages: Vec<(u64, usize)>,
}

/// Writes one file.
pub struct ParquetWriter<W: Write> {
    out: W,
    at: u64,
    columns: Vec<Vec<u8>>,
    rows: usize,
    groups: Vec<Group>,
}

impl<W: Write> ParquetWriter<W> {
    /// A writer to `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self { out, at: 0, columns: vec![Vec::new(); COLUMNS.len()], rows: 0, groups: Vec::new() }
    }

    /// Writes a comment as the API gives it.
    ///
    /// # Errors
    /// When writing fails, or the value is no comment.
    pub fn comment(&mut self, value: &Value) -> io::Result<()> {
        if !value["id"].is_string() || !value["content"].is_string() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no comment"));
        }
        for ((name, kind), column) in COLUMNS.iter().zip(&mut self.columns) {
            let field = if matches!(*name, "mode" | "color" | "size") { &value["style"][name] } else { &value[name] };
            match kind {
                Type::Text => {
                    let text = field.as_str().unwrap_or_default();
                    column.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
                    column.extend_from_slice(text.as_bytes());
                }
                Type::Number => {
                    let written = field.as_str().and_then(|text| text.parse().ok());
                    column.extend_from_slice(&written.or_else(|| field.as_i64()).unwrap_or(0).to_le_bytes());
                }
                Type::Time => {
                    let at = field.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
                    column.extend_from_slice(&at.map_or(0, |at| at.as_millisecond()).to_le_bytes());
                }
            }
        }
        self.rows += 1;
        if self.rows >= ROWS_PER_GROUP { self.end_group() } else { Ok(()) }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn end_group(&mut self) -> io::Result<()> {
        if self.at == 0 {
            self.put(MAGIC)?;
        }
        let rows = std::mem::take(&mut self.rows);
        let mut pages = Vec::new();
        for at in 0..COLUMNS.len() {
            let Some(column) = self.columns.get_mut(at).map(std::mem::take) else { continue };
            let (begins, mut header) = (self.at, Thrift::default());
            let size = column.len() as i64;
            header.number(1, 0).number(2, size).number(3, size);
            header.begin(5).number(1, rows as i64).number(2, PLAIN).number(3, RLE).number(4, RLE).end();
            header.end();
            self.put(&header.bytes)?;
            self.put(&column)?;
            pages.push((begins, header.bytes.len() + column.len()));
        }
        self.groups.push(Group { rows, pages });
        Ok(())
    }

    /// Writes the end.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<()> {
        if self.rows > 0 || self.at == 0 {
            self.end_group()?;
        }
        let footer = self.footer();
        self.put(&footer)?;
        self.put(&u32::try_from(footer.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        self.put(MAGIC)?;
        self.out.flush()
    }

    fn footer(&self) -> Vec<u8> {
        let mut file = Thrift::default();
        file.number(1, 1).list(2, STRUCT, COLUMNS.len() + 1);
        file.element().text(4, "comments").number(5, COLUMNS.len() as i64).end();
        for (name, kind) in COLUMNS {
            file.element().number(1, kind.physical()).number(3, 0).text(4, name);
            match kind {
                Type::Text => drop(file.number(6, UTF8)),
                Type::Time => drop(file.number(6, TIMESTAMP_MILLIS)),
                Type::Number => {}
            }
            file.end();
        }
        file.long(3, self.groups.iter().map(|group| group.rows as i64).sum());
        file.list(4, STRUCT, self.groups.len());
        for Group { rows, pages } in &self.groups {
            file.element().list(1, STRUCT, pages.len());
            for ((begins, bytes), (name, kind)) in pages.iter().zip(COLUMNS) {
                let (begins, bytes, rows) = (begins.cast_signed(), *bytes as i64, *rows as i64);
                file.element().long(2, begins).begin(3).number(1, kind.physical());
                file.list(2, I32, 1).varint(zigzag(PLAIN)).list(3, BINARY, 1).string(name);
                file.number(4, 0).long(5, rows).long(6, bytes).long(7, bytes).long(9, begins).end().end();
            }
            file.long(2, pages.iter().map(|(_, bytes)| *bytes as i64).sum()).long(3, *rows as i64).end();
        }
        file.text(6, "barrage").end();
        file.bytes
    }
}

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

/// Thrift's compact protocol, as far as it is needed: fields in ascending order.
#[derive(Default)]
struct Thrift {
    bytes: Vec<u8>,
    /// The last field of the struct that is open, and of those around it.
    last: u8,
    around: Vec<u8>,
}

impl Thrift {
    fn field(&mut self, id: u8, kind: u8) {
        self.bytes.push((id - self.last) << 4 | kind);
        self.last = id;
    }

    fn varint(&mut self, mut n: u64) -> &mut Self {
        while n >= 0x80 {
            self.bytes.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        self.bytes.push(n as u8);
        self
    }

    fn number(&mut self, id: u8, n: i64) -> &mut Self {
        self.field(id, I32);
        self.varint(zigzag(n))
    }

    fn long(&mut self, id: u8, n: i64) -> &mut Self {
        self.field(id, I64);
        self.varint(zigzag(n))
    }

    fn string(&mut self, text: &str) -> &mut Self {
        self.varint(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    fn text(&mut self, id: u8, text: &str) -> &mut Self {
        self.field(id, BINARY);
        self.string(text)
    }

    fn list(&mut self, id: u8, kind: u8, length: usize) -> &mut Self {
        self.field(id, LIST);
        if length < 15 {
            self.bytes.push((length as u8) << 4 | kind);
        } else {
            self.bytes.push(0xf0 | kind);
            self.varint(length as u64);
        }
        self
    }

    /// Opens a struct in a field.
    fn begin(&mut self, id: u8) -> &mut Self {
        self.field(id, STRUCT);
        self.element()
    }

    /// Opens a struct in a list.
    fn element(&mut self) -> &mut Self {
        self.around.push(self.last);
        self.last = 0;
        self
    }

    fn end(&mut self) -> &mut Self {
        self.bytes.push(0);
        self.last = self.around.pop().unwrap_or(0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_and_ends_as_parquet_does() {
        let mut out = Vec::new();
        let mut writer = ParquetWriter::new(&mut out);
        let comment = serde_json::json!({ "id": "7", "content": "哈", "created_at": "2026-01-02T03:04:05.006Z",
            "offset_ms": -1, "style": { "mode": "top", "color": "#FFFFFF", "size": "small" } });
        writer.comment(&comment).expect("written");
        assert!(writer.comment(&serde_json::json!({})).is_err());
        writer.finish().expect("finished");
        assert!(out.starts_with(MAGIC) && out.ends_with(MAGIC));
        let length = out[out.len() - 8..out.len() - 4].try_into().map(u32::from_le_bytes).expect("four bytes") as usize;
        assert!(length < out.len() - 12);
        let has = |part: &[u8]| out.windows(part.len()).any(|window| window == part);
        assert!(has(&7_i64.to_le_bytes()) && has("哈".as_bytes()) && has(&1_767_323_045_006_i64.to_le_bytes()));
    }
}
