//! Recordings as files that other programs read.
//!
//! The `export` command gives a [`Writer`] the comments as the API has them, in the order of the recording. Every format
//! but DanDanPlay's, whose head is a count, is written as the comments come.

mod ass;
mod parquet;

use std::fmt::{self, Display, Formatter};
use std::io::{self, Write};
use std::str::FromStr;

use model::clock::rfc3339_ms;
use model::{Mode, Size};
use serde_json::{Value, json};

use crate::COMMENTS_MAX;
use crate::collect::ParsedEntry;
use crate::formats::comment;

pub use self::parquet::ParquetWriter;

/// The formats that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// `<d p="…">text</d>`
    Xml,
    /// Subtitles (Advanced SubStation Alpha) that move as comments do.
    Ass,
    /// One comment a line, as the API gives it.
    Jsonl,
    /// A table with a header (RFC 4180).
    Csv,
    /// DPlayer's list; texts are escaped as HTML, because that player inserts them so.
    Dplayer,
    /// DanDanPlay's comments.
    Dandanplay,
}

const NAMES: [(ExportFormat, &str); 6] = [
    (ExportFormat::Xml, "xml"),
    (ExportFormat::Ass, "ass"),
    (ExportFormat::Jsonl, "jsonl"),
    (ExportFormat::Csv, "csv"),
    (ExportFormat::Dplayer, "dplayer"),
    (ExportFormat::Dandanplay, "dandanplay"),
];

impl Display for ExportFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(format, _)| format == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for ExportFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(format, _)| *format);
        found.ok_or_else(|| format!("expected one of {}", NAMES.map(|(_, name)| name).join(", ")))
    }
}

/// Writes one recording.
pub struct Writer<W: Write> {
    out: W,
    format: ExportFormat,
    written: usize,
    stage: ass::Stage,
    /// What waits for the count.
    held: Vec<String>,
}

impl<W: Write> Writer<W> {
    /// A writer to `out`, which should be buffered.
    pub fn new(format: ExportFormat, out: W) -> Self {
        Self { out, format, written: 0, stage: ass::Stage::default(), held: Vec::new() }
    }

    /// Writes a comment as the API gives it.
    ///
    /// # Errors
    /// When writing fails, the value is no comment, or DanDanPlay's form would have more than [`COMMENTS_MAX`].
    pub fn comment(&mut self, value: &Value) -> io::Result<()> {
        let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "this is no comment");
        let Some(Ok(entry)) = comment::entry(value) else { return Err(unreadable()) };
        let id = match &value["id"] {
            Value::String(id) => id.parse().ok(),
            id => id.as_u64(),
        };
        if self.written == 0 {
            self.head()?;
        }
        self.entry(id.unwrap_or(0), &entry, value)?;
        self.written += 1;
        Ok(())
    }

    /// Writes the end.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<()> {
        if self.written == 0 {
            self.head()?;
        }
        match self.format {
            ExportFormat::Xml => self.out.write_all(b"</i>\n")?,
            ExportFormat::Dplayer => self.out.write_all(b"]}\n")?,
            ExportFormat::Dandanplay => {
                writeln!(self.out, "{{\"count\":{},\"comments\":[{}]}}", self.held.len(), self.held.join(","))?;
            }
            ExportFormat::Ass | ExportFormat::Jsonl | ExportFormat::Csv => {}
        }
        self.out.flush()
    }

    fn head(&mut self) -> io::Result<()> {
        match self.format {
            // Some readers tell the format by these bytes: no line break between them.
            ExportFormat::Xml => self.out.write_all(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><i>"),
            ExportFormat::Ass => self.out.write_all(ass::HEAD.as_bytes()),
            ExportFormat::Csv => {
                self.out.write_all(b"offset_ms,content,user_id,username,mode,color,size,created_at\r\n")
            }
            ExportFormat::Dplayer => self.out.write_all(b"{\"code\":0,\"data\":["),
            ExportFormat::Jsonl | ExportFormat::Dandanplay => Ok(()),
        }
    }

    fn entry(&mut self, id: u64, entry: &ParsedEntry, value: &Value) -> io::Result<()> {
        match self.format {
            ExportFormat::Xml => writeln!(self.out, "{}", element(id, entry)),
            ExportFormat::Ass => self.out.write_all(self.stage.line(entry).as_bytes()),
            ExportFormat::Jsonl => writeln!(self.out, "{value}"),
            ExportFormat::Csv => self.out.write_all(&row(entry)?),
            ExportFormat::Dplayer => {
                let kind = match entry.style.mode {
                    Mode::Scroll => 0,
                    Mode::Top => 1,
                    Mode::Bottom => 2,
                };
                let (name, text) = (html(name_of(entry)), html(&entry.content));
                let line = json!([entry.offset_ms / 1_000.0, kind, entry.style.color, name, text]);
                write!(self.out, "{}{line}", if self.written == 0 { "" } else { "," })
            }
            ExportFormat::Dandanplay => {
                if self.held.len() >= COMMENTS_MAX {
                    return Err(io::Error::other(format!("this format takes at most {COMMENTS_MAX} comments")));
                }
                let seconds = entry.offset_ms / 1_000.0;
                let user = entry.sender.as_deref().unwrap_or_default();
                let p = format!("{seconds:.2},{},{},{user}", mode(entry.style.mode), entry.style.color);
                self.held.push(json!({ "cid": id, "p": p, "m": entry.content }).to_string());
                Ok(())
            }
        }
    }
}

fn name_of(entry: &ParsedEntry) -> &str {
    entry.username.as_deref().or(entry.sender.as_deref()).unwrap_or_default()
}

const fn mode(mode: Mode) -> u8 {
    match mode {
        Mode::Scroll => 1,
        Mode::Bottom => 4,
        Mode::Top => 5,
    }
}

fn element(id: u64, entry: &ParsedEntry) -> String {
    let size = match entry.style.size {
        Size::Small => 18,
        Size::Normal => 25,
        Size::Large => 36,
    };
    let sent_s = entry.created_at_ms.unwrap_or(0) / 1_000;
    let (user, name) = (xml(entry.sender.as_deref().unwrap_or_default()), xml(name_of(entry)));
    let (seconds, mode, color) = (entry.offset_ms / 1_000.0, mode(entry.style.mode), entry.style.color);
    let text = xml(&entry.content.replace('\n', "/n"));
    format!(r#"<d p="{seconds:.3},{mode},{size},{color},{sent_s},0,{user},{id}" user="{name}">{text}</d>"#)
}

/// Escaped, without what XML forbids.
fn xml(text: &str) -> String {
    let forbidden = |c: char| matches!(c, '\u{fffe}' | '\u{ffff}') || (c.is_control() && !matches!(c, '\n' | '\t'));
    escaped(text.chars().filter(|c| !forbidden(*c)))
}

/// Escaped for a program that inserts it as HTML.
fn html(text: &str) -> String {
    escaped(text.chars()).replace('/', "&#x2F;")
}

fn escaped(chars: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    for c in chars {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn row(entry: &ParsedEntry) -> io::Result<Vec<u8>> {
    let style = serde_json::to_value(entry.style)?;
    let part = |name: &str| style[name].as_str().unwrap_or_default();
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record([
        &format!("{}", entry.offset_ms),
        entry.content.as_str(),
        entry.sender.as_deref().unwrap_or_default(),
        entry.username.as_deref().unwrap_or_default(),
        part("mode"),
        part("color"),
        part("size"),
        &entry.created_at_ms.map(rfc3339_ms).unwrap_or_default(),
    ])?;
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}
