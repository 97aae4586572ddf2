//! What proxies say about a client's address.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::forwarded::{ProxyHeader, forwarded, proxy_header, x_forwarded_for};

fuzz_target!(|bytes: &[u8]| {
    if let ProxyHeader::Complete { bytes: length, .. } = proxy_header(bytes) {
        assert!(length <= bytes.len());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (x_forwarded_for(text).count(), forwarded(text).count());
    }
});
