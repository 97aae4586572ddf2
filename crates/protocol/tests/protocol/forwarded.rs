//! Addresses that proxies name: the forms in use, and bytes that nobody should send.

use std::net::IpAddr;

use proptest::prelude::*;
use protocol::forwarded::{ProxyHeader, ProxySource, Unreadable, forwarded, proxy_header, x_forwarded_for};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn x_forwarded_for_is_read_in_every_form_that_proxies_write() {
    for (written, address) in [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:51234", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("\"203.0.113.7:51234\"", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:51234", "2001:db8::7"),
        ("\"[2001:db8::7]:51234\"", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:443", "fe80::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ] {
        assert_eq!(x_forwarded_for(written).collect::<Vec<_>>(), [Ok(ip(address))], "{written}");
    }
    for unreadable in [
        "",
        " ",
        "unknown",
        "_hidden",
        "localhost",
        "203.0.113",
        "203.0.113.7:",
        "203.0.113.7:99999",
        "203.0.113.7:1:2",
        "[2001:db8::7",
        "2001:db8::7]",
        "[203.0.113.7]",
        "[2001:db8::7]x",
        "[2001:db8::7]:x",
        "1.2.3.4.5",
        "0x7f.1",
    ] {
        assert_eq!(x_forwarded_for(unreadable).collect::<Vec<_>>(), [Err(Unreadable)], "{unreadable}");
    }
    let hops: Vec<_> = x_forwarded_for("203.0.113.5, unknown, 198.51.100.9:80,10.0.0.2").collect();
    assert_eq!(hops, [Ok(ip("10.0.0.2")), Ok(ip("198.51.100.9")), Err(Unreadable), Ok(ip("203.0.113.5"))]);
}

#[test]
fn forwarded_is_read_as_rfc_7239_writes_it() {
    for (written, hops) in [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", &[Some("192.0.2.60")][..]),
        ("For=\"[2001:db8:cafe::17]:4711\"", &[Some("2001:db8:cafe::17")]),
        ("for=192.0.2.43, for=198.51.100.17", &[Some("198.51.100.17"), Some("192.0.2.43")]),
        ("for=\"_gazonk\"", &[None]),
        ("for=unknown", &[None]),
        ("proto=https", &[None]),
        ("host=\"a;b,c=\\\"d\\\"\" ; for=192.0.2.1", &[Some("192.0.2.1")]),
        ("for=192.0.2.1;for=192.0.2.2", &[None]),
        // What a client left open must not swallow what the proxy added.
        ("for=\"192.0.2.1, for=198.51.100.17", &[None]),
        ("by=\", for=\"198.51.100.17\"", &[None]),
        ("", &[None]),
        ("for", &[None]),
        ("for=192.0.2.1,", &[None]),
    ] {
        let hops: Vec<_> = hops.iter().map(|hop| hop.map(ip).ok_or(Unreadable)).collect();
        assert_eq!(forwarded(written).collect::<Vec<_>>(), hops, "{written}");
    }
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

#[test]
fn the_proxy_protocol_is_read_in_both_versions() {
    let client = |text: &str| ProxySource::Client(text.parse().expect("an address and port"));
    let v2 = |command: u8, family: u8, rest: &[u8]| {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [V2, &[0x20 | command, family], &length, rest].concat()
    };
    let v4: &[u8] = &[203, 0, 113, 7, 10, 0, 0, 1, 0xC8, 0x22, 0, 80];
    let tlv: &[u8] = &[0x04, 0, 3, 1, 2, 3];
    let mut v6 = [0; 36];
    v6[..16].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    v6[32..34].copy_from_slice(&443u16.to_be_bytes());
    for (header, source) in [
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 80\r\n".to_vec(), client("203.0.113.7:51234")),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 80\r\n".to_vec(), client("[2001:db8::7]:51234")),
        (b"PROXY UNKNOWN\r\n".to_vec(), ProxySource::Unknown),
        (v2(1, 0x11, v4), client("203.0.113.7:51234")),
        (v2(1, 0x11, &[v4, tlv].concat()), client("203.0.113.7:51234")),
        (v2(1, 0x21, &v6), client("[2001:db8::7]:443")),
        (v2(0, 0x00, &[]), ProxySource::Proxy),
        (v2(1, 0x00, &[]), ProxySource::Unknown),
    ] {
        let whole = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(proxy_header(&whole), ProxyHeader::Complete { bytes: header.len(), source }, "{header:?}");
        for end in 1..header.len() {
            assert_eq!(proxy_header(&header[..end]), ProxyHeader::Incomplete, "{end} bytes of {header:?}");
        }
    }
    for foreign in [&b"GET / HTTP/1.1\r\n"[..], b"G", b"PROXY TCP4 x y 1 2\r\n", b"\x16\x03\x01", b"PROXI"] {
        assert_eq!(proxy_header(foreign), ProxyHeader::Invalid, "{foreign:?}");
    }
    assert_eq!(proxy_header(&v2(1, 0x11, &[0; 2_000])), ProxyHeader::Invalid, "longer than any proxy sends");
}

fn written(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (IpAddr::V4(v4), None) => v4.to_string(),
        (IpAddr::V4(v4), Some(port)) => format!("{v4}:{port}"),
        (IpAddr::V6(v6), None) => format!("[{v6}]"),
        (IpAddr::V6(v6), Some(port)) => format!("[{v6}]:{port}"),
    }
}

proptest! {
    /// Whatever a client sends before it, the address that the nearest proxy appends is the first hop.
    #[test]
    fn what_the_nearest_proxy_appends_is_the_first_hop(junk in "[ -~]{0,64}", address: IpAddr, port: Option<u16>) {
        let node = written(address, port);
        let first = x_forwarded_for(&format!("{junk}, {node}")).next();
        prop_assert_eq!(first, Some(Ok(address.to_canonical())));
        // A `Forwarded` that a client has broken is unreadable as a whole, but never names another address.
        let first = forwarded(&format!("{junk}, for=\"{node}\"")).next();
        prop_assert!([Some(Ok(address.to_canonical())), Some(Err(Unreadable))].contains(&first), "{:?}", first);
    }

    #[test]
    fn no_header_is_fatal(text in ".{0,200}", bytes: Vec<u8>) {
        let _ = (x_forwarded_for(&text).count(), forwarded(&text).count());
        if let ProxyHeader::Complete { bytes: length, .. } = proxy_header(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn no_proxy_header_is_fatal(mut tail: Vec<u8>, v2: bool) {
        let mut bytes = if v2 { V2.to_vec() } else { b"PROXY ".to_vec() };
        bytes.append(&mut tail);
        if let ProxyHeader::Complete { bytes: length, .. } = proxy_header(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}
