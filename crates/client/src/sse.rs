//! Server-Sent Events as bytes: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. Pure.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `comments` or `event`.
    pub name: String,
    /// What `Last-Event-ID` would be after it, when it sets that.
    pub id: Option<String>,
    /// Its data, lines joined by line feeds.
    pub data: String,
}

/// Longest block of lines; longer ones are no events of ours.
const BLOCK_BYTES_MAX: usize = 8 << 20;

/// Finds the events of a stream that comes in pieces.
#[derive(Debug, Default)]
pub struct Parser {
    bytes: Vec<u8>,
    /// Up to here no end was found.
    searched: usize,
}

impl Parser {
    /// Takes the next piece.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes.iter().copied().filter(|byte| *byte != b'\r'));
        if self.bytes.len() > BLOCK_BYTES_MAX {
            (self.bytes, self.searched) = (Vec::new(), 0);
        }
    }

    /// The next whole event. Comments and blocks without data are passed over.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let from = self.searched.saturating_sub(1);
            let end = self.bytes.get(from..)?.windows(2).position(|two| two == b"\n\n");
            let Some(end) = end.map(|end| from + end + 2) else {
                self.searched = self.bytes.len();
                return None;
            };
            let block: Vec<u8> = self.bytes.drain(..end).collect();
            self.searched = 0;
            if let Some(event) = event(&String::from_utf8_lossy(&block)) {
                return Some(event);
            }
        }
    }
}

fn event(block: &str) -> Option<Event> {
    let (mut event, mut data) = (Event::default(), Vec::new());
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "id" => event.id = Some(value.to_owned()),
            "data" => data.push(value),
            _ => {}
        }
    }
    event.data = data.join("\n");
    (!data.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_pieces_and_together() {
        let stream =
            "retry: 3000\n\n: keep-alive\n\nevent: comments\r\ndata: {\"a\":\r\ndata:1}\r\nid: 7\r\n\r\ndata: x\n\n";
        let expected = [
            Event { name: "comments".into(), id: Some("7".into()), data: "{\"a\":\n1}".into() },
            Event { data: "x".into(), ..Event::default() },
        ];
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                parser.push(piece);
                found.extend(std::iter::from_fn(|| parser.next_event()));
            }
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_stream_without_end_keeps_no_memory() {
        let mut parser = Parser::default();
        (0..12).for_each(|_| parser.push(&vec![b'x'; 1 << 20]));
        assert!(parser.bytes.len() <= BLOCK_BYTES_MAX && parser.next_event().is_none());
    }
}
