//! Lines of IRC (<https://modern.ircdocs.horse/>, tags of IRCv3) as bytes, in both directions.
//!
//! Pure: no socket, no room. What comes in may be anything; what goes out is one line, whatever text it is given.

use std::fmt::Write as _;

/// Longest line with its tags: 8,191 bytes of tags, and 512 of the rest. A token in `PASS` needs as much.
pub(super) const LINE_BYTES_MAX: usize = 8_703;

/// A line that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadLine {
    /// Longer than [`LINE_BYTES_MAX`].
    TooLong,
    /// Not UTF-8, or with a NUL or a carriage return inside.
    Garbled,
}

/// Bytes as they come, cut into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// The rest of a line that was too long is still coming.
    skipping: bool,
}

impl Lines {
    /// Adds bytes. Between two calls all lines are to be taken.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The end of a message of a WebSocket ends a line.
    pub fn end_message(&mut self) {
        if !self.bytes.is_empty() {
            self.bytes.push(b'\n');
        }
    }

    /// The next whole line without its end; `None` when there is none yet.
    pub fn next_line(&mut self) -> Option<Result<String, BadLine>> {
        loop {
            let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
                if self.bytes.len() <= LINE_BYTES_MAX {
                    return None;
                }
                self.bytes.clear();
                if std::mem::replace(&mut self.skipping, true) {
                    continue;
                }
                return Some(Err(BadLine::TooLong));
            };
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            let line = line.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > LINE_BYTES_MAX {
                return Some(Err(BadLine::TooLong));
            }
            if line.is_empty() {
                continue;
            }
            let is_garbled = line.iter().any(|byte| matches!(byte, 0 | b'\r'));
            let text = String::from_utf8(line.to_vec()).ok().filter(|_| !is_garbled);
            return Some(text.ok_or(BadLine::Garbled));
        }
    }
}

/// A message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message<'a> {
    tags: &'a str,
    /// In capitals.
    pub command: String,
    /// The parameters; the last may have spaces.
    pub parameters: Vec<&'a str>,
}

/// Most parameters of a message.
const PARAMETERS_MAX: usize = 15;

impl<'a> Message<'a> {
    /// Parses a line; `None` when it has no command.
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut rest = line.trim_start_matches(' ');
        let mut tags = "";
        if let Some(tagged) = rest.strip_prefix('@') {
            (tags, rest) = tagged.split_once(' ').unwrap_or((tagged, ""));
            rest = rest.trim_start_matches(' ');
        }
        if rest.starts_with(':') {
            // Who a client says it is does not matter.
            rest = rest.split_once(' ').map_or("", |(_, rest)| rest).trim_start_matches(' ');
        }
        let (command, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if command.is_empty() || !command.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let mut parameters = Vec::new();
        loop {
            rest = rest.trim_start_matches(' ');
            if rest.is_empty() {
                break;
            }
            if let Some(last) = rest.strip_prefix(':') {
                parameters.push(last);
                break;
            }
            if parameters.len() + 1 == PARAMETERS_MAX {
                parameters.push(rest);
                break;
            }
            let (parameter, after) = rest.split_once(' ').unwrap_or((rest, ""));
            parameters.push(parameter);
            rest = after;
        }
        Some(Self { tags, command: command.to_ascii_uppercase(), parameters })
    }

    /// A parameter, empty when it is not there.
    pub fn parameter(&self, n: usize) -> &'a str {
        self.parameters.get(n).copied().unwrap_or_default()
    }

    /// A tag's value, unescaped.
    pub fn tag(&self, name: &str) -> Option<String> {
        let mut tags = self.tags.split(';').map(|tag| tag.split_once('=').unwrap_or((tag, "")));
        tags.find(|(key, _)| *key == name).map(|(_, value)| unescape(value))
    }
}

/// A tag's value as it is meant (<https://ircv3.net/specs/extensions/message-tags#escaping-values>).
fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(':') => out.push(';'),
                Some('s') => out.push(' '),
                Some('r') => out.push('\r'),
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}

/// A line that is sent.
#[derive(Debug, Default)]
pub(super) struct Line {
    tags: String,
    rest: String,
}

impl Line {
    /// A line of the server: `:tmi.twitch.tv COMMAND …`.
    pub fn server(command: &str) -> Self {
        Self { tags: String::new(), rest: format!(":{SERVER} {command}") }
    }

    /// A line of a user.
    pub fn user(nick: &str, command: &str) -> Self {
        Self { tags: String::new(), rest: format!(":{nick}!{nick}@{nick}.{SERVER} {command}") }
    }

    /// A line without a prefix.
    pub fn bare(command: &str) -> Self {
        Self { tags: String::new(), rest: command.to_owned() }
    }

    /// Adds a tag.
    pub fn tag(mut self, name: &str, value: impl AsRef<str>) -> Self {
        if !self.tags.is_empty() {
            self.tags.push(';');
        }
        self.tags.push_str(name);
        self.tags.push('=');
        for c in value.as_ref().chars() {
            match c {
                ';' => self.tags.push_str("\\:"),
                ' ' => self.tags.push_str("\\s"),
                '\\' => self.tags.push_str("\\\\"),
                '\r' => self.tags.push_str("\\r"),
                '\n' => self.tags.push_str("\\n"),
                '\0' => {}
                c => self.tags.push(c),
            }
        }
        self
    }

    /// Adds a parameter. What would end it early is left out.
    pub fn parameter(mut self, parameter: &str) -> Self {
        self.rest.push(' ');
        self.rest.extend(parameter.chars().filter(|c| !matches!(c, ' ' | '\r' | '\n' | '\0')));
        self
    }

    /// Adds the last parameter, which may be any text.
    pub fn text(mut self, text: &str) -> Self {
        self.rest.push_str(" :");
        self.rest.extend(text.chars().map(|c| if matches!(c, '\r' | '\n' | '\0') { ' ' } else { c }));
        self
    }

    /// Adds a number as a tag.
    pub fn number(self, name: &str, value: impl std::fmt::Display) -> Self {
        self.tag(name, value.to_string())
    }

    /// The bytes, with or without tags.
    pub fn encode(&self, with_tags: bool) -> Vec<u8> {
        let mut out = String::with_capacity(self.tags.len() + self.rest.len() + 4);
        if with_tags && !self.tags.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(out, "@{} ", self.tags);
        }
        out.push_str(&self.rest);
        out.push_str("\r\n");
        out.into_bytes()
    }
}

/// The name that clients of this dialect expect of a server.
pub(super) const SERVER: &str = "tmi.twitch.tv";

/// The nick of a user: small letters, digits and underscores.
pub(super) fn nick_of(user_id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    user_id.chars().map(plain).collect()
}

/// The token in `PASS oauth:…`: as it is, or in hexadecimal because a client changes its case.
pub(super) fn token_of(pass: &str) -> Option<String> {
    let token =
        pass.get(..6).filter(|start| start.eq_ignore_ascii_case("oauth:")).and_then(|_| pass.get(6..)).unwrap_or(pass);
    if token.contains('.') {
        return Some(token.to_owned());
    }
    let digits = token.as_bytes().chunks(2).map(|pair| {
        let pair = str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    String::from_utf8(digits.collect::<Option<Vec<u8>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Result<String, BadLine>> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in chunks {
            lines.push(chunk);
            while let Some(line) = lines.next_line() {
                found.push(line);
            }
        }
        found
    }

    #[test]
    fn lines_come_in_pieces_and_end_in_either_way() {
        let found = lines(&[b"NICK a\r\nUS", b"ER b", b"\n\r\n\nPING\n"]);
        assert_eq!(found, ["NICK a", "USER b", "PING"].map(|line| Ok(line.to_owned())));
    }

    #[test]
    fn a_line_without_end_is_told_once_and_skipped() {
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        let found = lines(&[&long, &long, &long, b"still it\nPING\n"]);
        assert_eq!(found, [Err(BadLine::TooLong), Ok("PING".to_owned())]);
    }

    #[test]
    fn nul_and_carriage_returns_are_no_text() {
        let found = lines(&[b"PRIVMSG #a :x\0y\n", b"@a=b\rQUIT :\n", b"PRIVMSG #a :\xff\n", b"PING\n"]);
        let garbled = Err(BadLine::Garbled);
        assert_eq!(found, [garbled.clone(), garbled.clone(), garbled, Ok("PING".to_owned())]);
    }

    #[test]
    fn a_message_has_tags_a_command_and_parameters() {
        let line = "@client-nonce=a\\sb;x :me!me@me privmsg  #room  :hello  there :)";
        let message = Message::parse(line).expect("a message");
        assert_eq!((message.command.as_str(), message.parameter(0)), ("PRIVMSG", "#room"));
        assert_eq!(message.parameter(1), "hello  there :)");
        assert_eq!(message.tag("client-nonce").as_deref(), Some("a b"));
        assert_eq!((message.tag("x").as_deref(), message.tag("y")), (Some(""), None));
        for none in ["", "   ", "@tags", "@a=b :prefix", ":only", "\u{1}X y"] {
            assert_eq!(Message::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_token_comes_as_it_is_or_in_hexadecimal() {
        assert_eq!(token_of("oauth:a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(token_of("a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(token_of("oauth:612e622e63").as_deref(), Some("a.b.c"));
        assert_eq!(token_of("OAUTH:612E622E63").as_deref(), Some("a.b.c"));
        assert_eq!(token_of("oauth:612e622e6"), None);
        assert_eq!(token_of("oauth:schmoopiie"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_fatal(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            for line in lines(&chunks).into_iter().flatten() {
                if let Some(message) = Message::parse(&line) {
                    prop_assert!(message.parameters.len() <= PARAMETERS_MAX);
                    let _ = message.tag("a");
                }
            }
        }

        /// Whatever texts it is given, a line is one line, and reads back as it was meant.
        #[test]
        fn a_line_stays_one_line(value in "\\PC{0,20}|[\r\n\0;\\\\ a:]{0,8}", text in "\\PC{0,20}|[\r\n\0 :a]{0,8}") {
            let bytes = Line::user("ann", "PRIVMSG").tag("display-name", &value).parameter("#r").text(&text).encode(true);
            let line = std::str::from_utf8(&bytes).expect("text").strip_suffix("\r\n").expect("an end");
            prop_assert!(!line.contains(['\r', '\n', '\0']));
            let message = Message::parse(line).expect("a message");
            prop_assert_eq!(message.tag("display-name"), Some(value.replace('\0', "")));
            prop_assert_eq!(message.parameter(1), text.replace(['\r', '\n', '\0'], " "));
        }
    }
}
