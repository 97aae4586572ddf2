//! Takes out of pictures what tells about people: where and when they were taken, with what, and programs' notes.
//!
//! Called by [`crate::Uploads`] when all bytes have come. It goes by the bytes, not by the announced type, and knows JPEG, PNG
//! and WebP. It keeps the picture, its colours and its orientation; it decodes nothing.

use bytes::Bytes;
use img_parts::ImageEXIF;
use img_parts::jpeg::{Jpeg, markers};
use img_parts::png::Png;
use img_parts::webp::WebP;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG_SIGNATURE: &[u8] = b"\xFF\xD8\xFF";
/// Chunks that are no metadata, besides those that no picture is without (their names begin with a capital).
const PNG_KEPT: [&[u8; 4]; 16] = [
    b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"bKGD", b"hIST", b"pHYs",
    b"sPLT", b"acTL", b"fcTL", b"fdAT",
];
const WEBP_KEPT: [&[u8; 4]; 7] = [b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"];
/// The tag of the orientation, and its type: a number of two bytes (Exif 3.0, section 4.6.4).
const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;
/// Entries of a directory that are looked at.
const ENTRIES_MAX: u16 = 512;

/// The bytes begin as a picture does, but are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

impl From<img_parts::Error> for Broken {
    fn from(_: img_parts::Error) -> Self {
        Self
    }
}

/// The picture without metadata; `None` for bytes that are no picture of these kinds.
pub(crate) fn without_metadata(bytes: &Bytes) -> Result<Option<Bytes>, Broken> {
    if bytes.starts_with(JPEG_SIGNATURE) {
        jpeg(bytes.clone()).map(Some)
    } else if bytes.starts_with(PNG_SIGNATURE) {
        png(bytes.clone()).map(Some)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        webp(bytes.clone()).map(Some)
    } else {
        Ok(None)
    }
}

fn jpeg(bytes: Bytes) -> Result<Bytes, Broken> {
    let mut jpeg = Jpeg::from_bytes(bytes)?;
    let exif = jpeg.exif();
    jpeg.segments_mut().retain(|segment| match segment.marker() {
        markers::APP0 => segment.contents().starts_with(b"JFIF\0"),
        markers::APP2 => segment.contents().starts_with(b"ICC_PROFILE\0"),
        // Adobe's tells how colours are encoded.
        markers::APP14 => true,
        marker => !is_note(marker),
    });
    jpeg.set_exif(turned(exif));
    let bytes = jpeg.encoder().bytes();
    let kept = scans(&bytes).ok_or(Broken)?;
    Ok(kept.into())
}

fn is_note(marker: u8) -> bool {
    (markers::APP0..=markers::APP15).contains(&marker) || marker == markers::COM
}

/// The picture up to its end, without notes between its scans. What follows the end are other pictures, with metadata of
/// their own.
fn scans(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut kept = Vec::with_capacity(bytes.len());
    let (mut from, mut at, mut in_scans) = (0, 2, false);
    loop {
        let rest = bytes.get(at..)?;
        let next = rest.iter().position(|byte| *byte == markers::P).map(|n| at + n);
        let (Some(next), Some(&marker)) = (next, next.and_then(|next| bytes.get(next + 1))) else {
            // Some programs leave the end out.
            kept.extend_from_slice(bytes.get(from..).filter(|_| in_scans)?);
            return Some(kept);
        };
        match marker {
            markers::P => at = next + 1,
            markers::Z | 0x01 | markers::RST0..=markers::RST7 => at = next + 2,
            markers::EOI => {
                kept.extend_from_slice(bytes.get(from..next + 2)?);
                return Some(kept);
            }
            _ => {
                let length: [u8; 2] = bytes.get(next + 2..next + 4)?.try_into().ok()?;
                at = next + 2 + usize::from(u16::from_be_bytes(length));
                in_scans |= marker == markers::SOS;
                if in_scans && is_note(marker) {
                    kept.extend_from_slice(bytes.get(from..next)?);
                    from = at;
                }
            }
        }
    }
}

fn png(bytes: Bytes) -> Result<Bytes, Broken> {
    let mut png = Png::from_bytes(bytes)?;
    let exif = png.exif();
    png.chunks_mut().retain(|chunk| {
        let kind = chunk.kind();
        kind.first().is_some_and(u8::is_ascii_uppercase) || PNG_KEPT.contains(&&kind)
    });
    png.set_exif(turned(exif));
    Ok(png.encoder().bytes())
}

fn webp(bytes: Bytes) -> Result<Bytes, Broken> {
    let mut webp = WebP::from_bytes(bytes)?;
    let exif = webp.exif();
    webp.chunks_mut().retain(|chunk| WEBP_KEPT.contains(&&chunk.id()));
    webp.set_exif(turned(exif));
    Ok(webp.encoder().bytes())
}

/// Exif that says nothing but how to turn the picture; `None` when it stands as it is.
fn turned(exif: Option<Bytes>) -> Option<Bytes> {
    let orientation = orientation(&exif?).filter(|orientation| (2..=8).contains(orientation))?;
    let [high, low] = orientation.to_be_bytes();
    // One directory with one entry: tag, type, count, value.
    let (head, entry) = (*b"MM\0\x2A\0\0\0\x08\0\x01", [0x01, 0x12, 0, 3, 0, 0, 0, 1, high, low, 0, 0]);
    Some([&head[..], &entry, &[0; 4]].concat().into())
}

fn orientation(exif: &[u8]) -> Option<u16> {
    let is_little = match exif.get(..4)? {
        b"II\x2A\0" => true,
        b"MM\0\x2A" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = exif.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = exif.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = usize::try_from(long(4)?).ok()?;
    let entries = short(directory)?.min(ENTRIES_MAX);
    let entry = (0..usize::from(entries))
        .filter_map(|n| directory.checked_add(2 + 12 * n))
        .find(|at| short(*at) == Some(ORIENTATION) && at.checked_add(2).and_then(short) == Some(SHORT))?;
    short(entry.checked_add(8)?)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use img_parts::jpeg::JpegSegment;
    use img_parts::png::PngChunk;
    use img_parts::riff::{RiffChunk, RiffContent};
    use proptest::prelude::*;

    use super::*;

    /// Pictures of one pixel, as encoders write them.
    const JPEG: &str = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////\
                        ////////////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA=";
    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=";
    const WEBP: &str = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA";
    const GPS: &[u8] = b"52.5200 N 13.4050 E";

    fn picture(base64: &str) -> Bytes {
        BASE64.decode(base64.replace([' ', '\n'], "")).expect("base64").into()
    }

    /// Exif of a camera: orientation among others, and a place.
    fn exif(orientation: u16, is_little: bool) -> Bytes {
        let short = |n: u16| if is_little { n.to_le_bytes() } else { n.to_be_bytes() };
        let long = |n: u32| if is_little { n.to_le_bytes() } else { n.to_be_bytes() };
        let mut bytes = if is_little { b"II\x2A\0".to_vec() } else { b"MM\0\x2A".to_vec() };
        bytes.extend([long(8).as_slice(), &short(2)].concat());
        bytes.extend([&short(0x0100), &short(4), long(1).as_slice(), &long(640)].concat());
        bytes.extend([&short(ORIENTATION), &short(SHORT), long(1).as_slice(), &short(orientation), &[0, 0]].concat());
        bytes.extend(long(0));
        bytes.extend(GPS);
        bytes.into()
    }

    fn has(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    fn clean(bytes: &Bytes) -> Bytes {
        without_metadata(bytes).expect("a picture").expect("of a known kind")
    }

    #[test]
    fn a_photo_loses_its_place_and_keeps_its_orientation() {
        let whole = [&picture(JPEG)[..], b"\xFF\xD9"].concat();
        let mut jpeg = Jpeg::from_bytes(whole.into()).expect("a JPEG");
        jpeg.set_exif(Some(exif(6, true)));
        let at = jpeg.segments().len() - 1;
        for (marker, contents) in [(markers::COM, &b"GPS"[..]), (markers::APP1, b"http://ns.adobe.com/xap/1.0/\0GPS")] {
            jpeg.segments_mut().insert(at, JpegSegment::new_with_contents(marker, contents.into()));
        }
        let plain = jpeg.clone().encoder().bytes();
        // Phones hang further pictures behind the first.
        let photo: Bytes = [&plain[..], &plain].concat().into();
        let cleaned = clean(&photo);
        assert!(has(&photo, GPS) && !has(&cleaned, GPS) && !has(&cleaned, b"GPS"));
        let read = Jpeg::from_bytes(cleaned.clone()).expect("still a JPEG");
        assert_eq!(read.exif().as_deref().and_then(orientation), Some(6));
        assert_eq!(read.dimensions(), Some((1, 1)));
        assert_eq!(clean(&cleaned), cleaned, "a second time changes nothing");
    }

    #[test]
    fn so_do_png_and_webp() {
        let mut png = Png::from_bytes(picture(PNG)).expect("a PNG");
        png.set_exif(Some(exif(3, false)));
        png.chunks_mut().insert(1, PngChunk::new(*b"tEXt", Bytes::from_static(b"Comment\0GPS")));
        png.chunks_mut().insert(1, PngChunk::new(*b"sRGB", Bytes::from_static(b"\0")));
        let cleaned = clean(&png.encoder().bytes());
        assert!(!has(&cleaned, b"GPS") && !has(&cleaned, GPS));
        let read = Png::from_bytes(cleaned).expect("still a PNG");
        assert_eq!(read.exif().as_deref().and_then(orientation), Some(3));
        assert!(read.chunk_by_type(*b"sRGB").is_some() && read.dimensions() == Some((1, 1)));

        let mut webp = WebP::from_bytes(picture(WEBP)).expect("a WebP");
        webp.set_exif(Some(exif(8, true)));
        webp.chunks_mut().push(RiffChunk::new(*b"XMP ", RiffContent::Data(Bytes::from_static(b"GPS!"))));
        let cleaned = clean(&webp.encoder().bytes());
        assert!(!has(&cleaned, b"GPS!") && !has(&cleaned, GPS));
        let read = WebP::from_bytes(cleaned).expect("still a WebP");
        assert_eq!(read.exif().as_deref().and_then(orientation), Some(8));
        assert_eq!(read.dimensions(), Some((1, 1)));
    }

    #[test]
    fn a_picture_that_stands_upright_needs_no_exif() {
        let whole = [&picture(JPEG)[..], b"\xFF\xD9"].concat();
        let mut jpeg = Jpeg::from_bytes(whole.into()).expect("a JPEG");
        jpeg.set_exif(Some(exif(1, true)));
        assert_eq!(Jpeg::from_bytes(clean(&jpeg.encoder().bytes())).expect("a JPEG").exif(), None);
    }

    #[test]
    fn what_only_begins_as_a_picture_is_refused_and_the_rest_left_alone() {
        for broken in [&b"\xFF\xD8\xFF\xE1\xFF\xFFcut"[..], b"\x89PNG\r\n\x1a\n\0\0\0\x0DIHDR"] {
            assert_eq!(without_metadata(&broken.into()), Err(Broken), "{broken:?}");
        }
        for other in [&b""[..], b"GIF89a", b"\x89PNG not really", b"plain text"] {
            assert_eq!(without_metadata(&other.into()), Ok(None), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_fatal(kind in 0..3usize, tail: Vec<u8>, at in 0..200usize) {
            let mut bytes = picture([JPEG, PNG, WEBP][kind]).to_vec();
            let at = at.min(bytes.len());
            bytes.splice(at.., tail.iter().copied());
            let _ = without_metadata(&bytes.into());
            let _ = orientation(&tail);
        }
    }
}
