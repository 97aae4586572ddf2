//! Publishing by HTTP/1.1 on a kept connection: a request for each comment, answers in the same order.

use std::fmt::Write as _;

use super::find;
use crate::wire::Said;

/// Longest head of an answer.
const HEAD_MAX: usize = 16 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 64;

/// A request. `headers` are whole lines.
pub fn post(host: &str, path: &str, headers: &str, body: &str, out: &mut Vec<u8>) {
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}");
    if body.starts_with('{') {
        head.push_str("Content-Type: application/json\r\n");
    }
    // Writing to a String cannot fail.
    let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body.as_bytes());
}

/// Answers, as many as are whole.
pub fn read(bytes: &[u8], heard: &mut Vec<Said>) -> Result<usize, String> {
    let mut at = 0;
    while let Some((used, said)) = answer(bytes.get(at..).unwrap_or_default())? {
        heard.push(said);
        at += used;
    }
    Ok(at)
}

/// One answer and its length; none while it is not whole.
fn answer(bytes: &[u8]) -> Result<Option<(usize, Said)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let begin = match head.parse(bytes) {
        Ok(httparse::Status::Complete(begin)) => begin,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("http: the answer's head has no end".into()),
        Err(error) => return Err(format!("http: {error}")),
    };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        str::from_utf8(found.value).ok()
    };
    let status = head.code.unwrap_or(0);
    let body = bytes.get(begin..).unwrap_or_default();
    let length = match (header("content-length").and_then(|length| length.parse().ok()), header("transfer-encoding")) {
        (Some(length), _) if body.len() >= length => length,
        (Some(_), _) => return Ok(None),
        (None, Some("chunked")) => match find(body, b"0\r\n\r\n") {
            Some(end) => end + 5,
            None => return Ok(None),
        },
        (None, _) if status == 204 => 0,
        (None, _) => return Err("http: an answer without a length".into()),
    };
    let said = match (status, code(body.get(..length).unwrap_or_default())) {
        (200..300, 0) => Said::Accepted,
        (200..300, code) => Said::Refused(code.to_string()),
        (status, _) => Said::Refused(status.to_string()),
    };
    Ok(Some((begin + length, said)))
}

/// The code in an answer's body, 0 without one: Centrifugo and goim say 200 and put what went wrong there.
fn code(body: &[u8]) -> i64 {
    const NAME: &[u8] = br#""code":"#;
    let Some(at) = find(body, NAME) else { return 0 };
    let number = body.get(at + NAME.len()..).unwrap_or_default();
    let end = number.iter().position(|byte| !matches!(byte, b'-' | b'0'..=b'9')).unwrap_or(number.len());
    str::from_utf8(number.get(..end).unwrap_or_default()).ok().and_then(|code| code.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_where_they_say() {
        let one = b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nbody";
        let two = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n";
        let three = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{ }\r\n0\r\n\r\n";
        // Centrifugo's, then goim's.
        let four = b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"error\":{\"code\":107}}";
        let five = b"HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{\"code\":0,\"message\":\"\"}";
        let six = b"HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n{\"code\":-500,\"message\":\"kafka:\"}";
        let all = [&one[..], two, three, four, five, six].concat();
        for cut in 0..all.len() {
            let mut heard = Vec::new();
            let used = read(&all[..cut], &mut heard).unwrap();
            let rest = read(&all[used..], &mut heard).unwrap();
            assert_eq!(used + rest, all.len(), "cut at {cut}");
            let told = |said: &Said| match said {
                Said::Accepted => "accepted".to_owned(),
                Said::Refused(code) => code.clone(),
                _ => "something else".to_owned(),
            };
            let told: Vec<_> = heard.iter().map(told).collect();
            assert_eq!(told, ["accepted", "413", "accepted", "107", "accepted", "-500"]);
        }
        assert!(read(b"SSH-2.0-OpenSSH\r\n\r\n", &mut Vec::new()).is_err());
    }
}
