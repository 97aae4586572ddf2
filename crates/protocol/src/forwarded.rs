//! What proxies say about a client's address: `X-Forwarded-For`, `Forwarded` (RFC 7239), the PROXY protocol.
//!
//! Called by `state::addresses`, which knows whom to believe. Reads bytes into addresses and decides nothing. What it cannot
//! read is [`Unreadable`], never a guess: the caller counts all such clients as one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ppp::{HeaderResult, PartialResult as _, v1, v2};

/// The longest PROXY header that is read: version 2 with what load balancers add to it.
pub const PROXY_BYTES_MAX: usize = 1_024;

/// The header names no address, or is not well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no address can be read from what the proxy sent")]
pub struct Unreadable;

/// The hops of `X-Forwarded-For`, the nearest first. Several header lines are joined by commas.
pub fn x_forwarded_for(value: &str) -> impl Iterator<Item = Result<IpAddr, Unreadable>> {
    value.rsplit(',').map(node)
}

/// The hops of `Forwarded`, the nearest first. A header that is not well-formed is one hop that cannot be read.
pub fn forwarded(value: &str) -> impl Iterator<Item = Result<IpAddr, Unreadable>> {
    let hops = elements(value).unwrap_or_else(|error| vec![Err(error)]);
    hops.into_iter().rev()
}

/// One node: an address with or without brackets, port, zone and quotes. `unknown` and names of the proxy's own are no
/// address.
fn node(text: &str) -> Result<IpAddr, Unreadable> {
    let text = text.trim_ascii();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(Unreadable)?;
        let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if port_fits { v6(address) } else { Err(Unreadable) };
    }
    match text.split_once(':') {
        None => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Unreadable),
        Some((address, port)) if is_port(port) && address.contains('.') => {
            address.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Unreadable)
        }
        Some(_) => v6(text),
    }
}

/// A port, or an obfuscated one (RFC 7239, section 6.2).
fn is_port(text: &str) -> bool {
    let obfuscated = text.strip_prefix('_').is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    obfuscated || text.parse::<u16>().is_ok()
}

/// An IPv6 address; its zone has a meaning on the proxy alone.
fn v6(text: &str) -> Result<IpAddr, Unreadable> {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<Ipv6Addr>().map(|address| IpAddr::V6(address).to_canonical()).map_err(|_| Unreadable)
}

/// The hops of a `Forwarded` header, the farthest first.
fn elements(value: &str) -> Result<Vec<Result<IpAddr, Unreadable>>, Unreadable> {
    let mut hops = Vec::new();
    let mut rest = value;
    loop {
        let (hop, after) = element(rest)?;
        hops.push(hop);
        match after {
            Some(next) => rest = next,
            None => return Ok(hops),
        }
    }
}

/// One element's address, and what follows its comma.
fn element(text: &str) -> Result<(Result<IpAddr, Unreadable>, Option<&str>), Unreadable> {
    let mut found = None;
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once('=').ok_or(Unreadable)?;
        let (value, after) = parameter(after)?;
        if name.trim_ascii().eq_ignore_ascii_case("for") && found.replace(node(&value)).is_some() {
            return Err(Unreadable);
        }
        let after = after.trim_ascii_start();
        match after.as_bytes().first() {
            None => return Ok((found.unwrap_or(Err(Unreadable)), None)),
            Some(b',') => return Ok((found.unwrap_or(Err(Unreadable)), after.get(1..))),
            Some(b';') => rest = after.get(1..).unwrap_or_default(),
            Some(_) => return Err(Unreadable),
        }
    }
}

/// A token or a quoted string (RFC 9110, section 5.6.4), and what follows it.
fn parameter(text: &str) -> Result<(String, &str), Unreadable> {
    let text = text.trim_ascii_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        let token = token.trim_ascii();
        return if token.contains('"') { Err(Unreadable) } else { Ok((token.to_owned(), rest)) };
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((value, quoted.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(chars.next().ok_or(Unreadable)?.1),
            char => value.push(char),
        }
    }
    Err(Unreadable)
}

/// The beginning of a connection that speaks the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// More bytes are needed.
    Incomplete,
    /// The connection begins with something else, or with a header that nobody can read.
    Invalid,
    /// A whole header.
    Complete {
        /// Its length. What the client sent follows.
        bytes: usize,
        /// Who is at the other end of the proxy.
        source: ProxySource,
    },
}

/// The source that a PROXY header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxySource {
    /// The proxy itself, such as a health check.
    Proxy,
    /// A client.
    Client(SocketAddr),
    /// One that the proxy cannot name.
    Unknown,
}

/// Reads the PROXY header, version 1 or 2, at the start of `bytes`
/// (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
#[must_use]
pub fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    let head = bytes.get(..PROXY_BYTES_MAX).unwrap_or(bytes);
    let result = HeaderResult::parse(head);
    match result {
        HeaderResult::V1(Ok(header)) => {
            let source = match header.addresses {
                v1::Addresses::Unknown => ProxySource::Unknown,
                v1::Addresses::Tcp4(ip) => client(ip.source_address, ip.source_port),
                v1::Addresses::Tcp6(ip) => client(ip.source_address, ip.source_port),
            };
            ProxyHeader::Complete { bytes: header.header.len(), source }
        }
        HeaderResult::V2(Ok(header)) => {
            let source = match (header.command, header.addresses) {
                (v2::Command::Local, _) => ProxySource::Proxy,
                (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => client(ip.source_address, ip.source_port),
                (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => client(ip.source_address, ip.source_port),
                (v2::Command::Proxy, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => ProxySource::Unknown,
            };
            ProxyHeader::Complete { bytes: header.len(), source }
        }
        other if (other.is_incomplete() || is_begun_line(head)) && bytes.len() < PROXY_BYTES_MAX && may_begin(head) => {
            ProxyHeader::Incomplete
        }
        _ => ProxyHeader::Invalid,
    }
}

/// Whether more bytes can make this a header: the parser takes any short line for the beginning of one.
fn may_begin(head: &[u8]) -> bool {
    [&b"PROXY "[..], b"\r\n\r\n\0\r\nQUIT\n"].into_iter().any(|sign| {
        let shared = head.len().min(sign.len());
        head.get(..shared) == sign.get(..shared)
    })
}

/// Whether these are the first bytes of a line of version 1, which has 107 at most. The parser calls some of them invalid: cut
/// within the last port, for instance.
fn is_begun_line(head: &[u8]) -> bool {
    head.starts_with(b"PROXY ") && head.len() < 107 && !head.contains(&b'\n')
}

fn client(address: impl Into<IpAddr>, port: u16) -> ProxySource {
    ProxySource::Client(SocketAddr::new(address.into().to_canonical(), port))
}
