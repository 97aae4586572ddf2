//! NATS client protocol (docs.nats.io, "Client Protocol"): lines, and payloads after their length. Over WebSocket
//! it is the same stream in binary frames, whose edges mean nothing.

use super::{comment, find};
use crate::wire::Said;

/// A sign of life, answered with PONG.
pub const PING: &[u8] = b"PING\r\n";
/// Longest line: INFO has grown with the years.
const LINE_MAX: usize = 64 * 1024;

/// Connects, subscribes to a subject, and asks for the answer that says that both are done.
pub fn hello(subject: Option<&String>) -> Vec<u8> {
    let subscribe = subject.map_or_else(String::new, |subject| format!("SUB {subject} 1\r\n"));
    let options =
        r#"{"verbose":false,"pedantic":false,"echo":false,"lang":"barrage-bench","version":"1","protocol":1}"#;
    format!("CONNECT {options}\r\n{subscribe}PING\r\n").into_bytes()
}

/// A message to a subject.
pub fn publish(subject: &str, content: &str) -> Vec<u8> {
    format!("PUB {subject} {}\r\n{content}\r\n", content.len()).into_bytes()
}

/// Lines and payloads, as many as are whole.
pub fn read(bytes: &[u8], heard: &mut Vec<Said>) -> Result<usize, String> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(end) = find(rest, b"\r\n") else {
            return if rest.len() > LINE_MAX { Err("nats: a line without end".into()) } else { Ok(at) };
        };
        let line = str::from_utf8(rest.get(..end).unwrap_or_default()).map_err(|_| "nats: not text")?;
        let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let mut used = end + 2;
        match verb {
            "MSG" => {
                let length: usize =
                    arguments.rsplit(' ').next().and_then(|length| length.parse().ok()).ok_or("nats: a wrong MSG")?;
                let Some(payload) = rest.get(used..used + length + 2) else { return Ok(at) };
                heard.push(comment(payload));
                used += length + 2;
            }
            "PING" => heard.push(Said::Reply(b"PONG\r\n")),
            "PONG" => heard.push(Said::Ready),
            "-ERR" => return Err(format!("nats: {arguments}")),
            _ => heard.push(Said::Other),
        }
        at += used;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{self, Mark};

    #[test]
    fn a_stream_cut_anywhere() {
        let mut text = String::new();
        content::write(Mark { seq: 7, due_us: 70 }, 48, &mut text);
        let stream = format!(
            "INFO {{\"server_id\":\"N\"}} \r\nPONG\r\nMSG bench-0 1 {0}\r\n{text}\r\nMSG bench-0 1 answer.to {0}\r\n{text}\r\nPING\r\n",
            text.len()
        );
        for cut in 0..stream.len() {
            let mut heard = Vec::new();
            let used = read(&stream.as_bytes()[..cut], &mut heard).unwrap();
            assert_eq!(used + read(&stream.as_bytes()[used..], &mut heard).unwrap(), stream.len(), "cut at {cut}");
            assert!(matches!(
                *heard,
                [
                    Said::Other,
                    Said::Ready,
                    Said::Comment(Mark { seq: 7, .. }),
                    Said::Comment(_),
                    Said::Reply(b"PONG\r\n")
                ]
            ));
        }
        let refused = read(b"-ERR 'Authorization Violation'\r\n", &mut Vec::new());
        assert_eq!(refused, Err("nats: 'Authorization Violation'".into()));
    }
}
