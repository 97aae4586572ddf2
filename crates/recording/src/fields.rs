//! Values as the formats write them: colours, modes, sizes, moments, entities.
//!
//! Shared by the formats; each returns what it read and, where forms differ, whether it was the usual one.

use std::borrow::Cow;

use model::{Mode, Size};

/// A value, and whether it stood there in its usual form.
pub(crate) struct Read<T> {
    pub(crate) value: T,
    pub(crate) usual: bool,
}

impl<T> Read<T> {
    const fn usual(value: T) -> Self {
        Self { value, usual: true }
    }

    const fn other(value: T) -> Self {
        Self { value, usual: false }
    }
}

const WHITE: u32 = 0xFF_FF_FF;

/// A colour: usually a decimal RGB number; also with a sign and alpha as some systems keep it (`-65536`), with a
/// fraction, or `#RRGGBB`. None of these is white.
pub(crate) fn color(text: &str) -> Read<u32> {
    if let Ok(rgb) = text.parse::<u32>() {
        return Read { value: rgb & WHITE, usual: rgb <= WHITE };
    }
    if let Some(rgb) = hex_color(text) {
        return Read::other(rgb);
    }
    match text.parse::<f64>() {
        // Two's complement: the lowest 24 bits are the colour.
        Ok(rgb) if rgb.is_finite() && rgb.abs() < 1e12 => Read::other((rgb as i64 & i64::from(WHITE)) as u32),
        _ => Read::other(WHITE),
    }
}

/// `#RRGGBB`, `#RGB`, `0xRRGGBB`
pub(crate) fn hex_color(text: &str) -> Option<u32> {
    let hex = text.strip_prefix('#').or_else(|| text.strip_prefix("0x"))?;
    let rgb = u32::from_str_radix(hex, 16).ok().filter(|_| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
    match hex.len() {
        6 => Some(rgb),
        3 => Some(((rgb >> 8 & 0xf) * 0x11_0000) | ((rgb >> 4 & 0xf) * 0x1100) | ((rgb & 0xf) * 0x11)),
        _ => None,
    }
}

/// A mode's number; also with a fraction (`1.0`). Absent or no number: 1.
pub(crate) fn mode_number(text: Option<&str>) -> Read<u8> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Read::other(1) };
    if let Ok(mode) = text.parse::<u8>() {
        return Read::usual(mode);
    }
    match text.parse::<f64>() {
        Ok(mode) if (0.0..256.0).contains(&mode) && mode.fract() == 0.0 => Read::other(mode as u8),
        _ => Read::other(1),
    }
}

/// How a mode's number moves.
pub(crate) fn movement(mode: u8) -> Mode {
    match mode {
        4 => Mode::Bottom,
        5 => Mode::Top,
        _ => Mode::Scroll,
    }
}

/// A font size as text; absent or no number: normal.
pub(crate) fn size(text: Option<&str>) -> Size {
    text.and_then(|size| size.parse::<f64>().ok()).map_or(Size::Normal, |size| font(size as i32))
}

/// A font size: 18 small, 25 normal, 36 large; 0 is none.
pub(crate) fn font(size: i32) -> Size {
    match size {
        1..=18 => Size::Small,
        36.. => Size::Large,
        _ => Size::Normal,
    }
}

/// Unix milliseconds of a moment in seconds, milliseconds or microseconds: whichever lies nearest to our time.
pub(crate) fn moment_ms(text: &str) -> Option<i64> {
    let number = match text.parse::<i64>() {
        Ok(number) => number,
        Err(_) => text.parse::<f64>().ok().filter(|n| n.is_finite() && n.abs() < 1e18)? as i64,
    };
    match number {
        ..=0 => None,
        // Seconds until the year 5138; milliseconds from 1973.
        1..100_000_000_000 => number.checked_mul(1_000),
        100_000_000_000..100_000_000_000_000 => Some(number),
        _ => Some(number / 1_000),
    }
}

/// Unix milliseconds of an RFC 3339 time.
pub(crate) fn time_ms(text: &str) -> Option<i64> {
    text.trim().parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
}

/// What resolving references found.
#[derive(Default, Clone, Copy)]
pub(crate) struct Resolved {
    /// A `&` that begins none.
    pub(crate) unescaped: bool,
    /// References to control characters or to none, dropped.
    pub(crate) dropped: bool,
    /// Surrogate pairs, put together.
    pub(crate) surrogates: bool,
}

/// Resolves character references and HTML's named ones. Never makes a text longer.
pub(crate) fn unescape(text: &str) -> (Cow<'_, str>, Resolved) {
    let mut found = Resolved::default();
    if !text.contains('&') {
        return (text.into(), found);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        rest = match reference(from, &mut out, &mut found) {
            Some(after) => after,
            None => {
                found.unescaped = true;
                out.push('&');
                from.get(1..).unwrap_or_default()
            }
        };
    }
    out.push_str(rest);
    (out.into(), found)
}

/// Resolves the reference that `text` begins with; returns what follows it.
fn reference<'t>(text: &'t str, out: &mut String, found: &mut Resolved) -> Option<&'t str> {
    let (name, after) = name(text)?;
    let Some(number) = name.strip_prefix('#') else {
        out.push_str(quick_xml::escape::resolve_html5_entity(name)?);
        return Some(after);
    };
    let code = code(number)?;
    if let (0xd800..=0xdbff, Some((low, after))) = (code, low_surrogate(after)) {
        found.surrogates = true;
        out.extend(char::from_u32(0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00)));
        return Some(after);
    }
    match char::from_u32(code).filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')) {
        Some(c) => out.push(c),
        None => found.dropped = true,
    }
    Some(after)
}

/// What stands between `&` and `;`, and what follows. Looks no farther than the longest name.
fn name(text: &str) -> Option<(&str, &str)> {
    const NAME_MAX: usize = 32;
    let end = text.bytes().take(NAME_MAX + 2).position(|byte| byte == b';')?;
    Some((text.get(1..end).filter(|name| !name.is_empty())?, text.get(end + 1..)?))
}

fn low_surrogate(text: &str) -> Option<(u32, &str)> {
    let (name, after) = name(text.strip_prefix('&').map(|_| text)?)?;
    let number = name.strip_prefix('#')?;
    code(number).filter(|low| (0xdc00..=0xdfff).contains(low)).map(|low| (low, after))
}

fn code(number: &str) -> Option<u32> {
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(hex) => (hex, 16),
        None => (number, 10),
    };
    let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    // What does not fit is no character either way.
    valid.then(|| u32::from_str_radix(digits, radix).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_in_every_form() {
        for (text, rgb, usual) in [
            ("16711680", 0xff_0000, true),
            ("-65536", 0xff_0000, false),
            ("4294901760", 0xff_0000, false),
            ("#ff0000", 0xff_0000, false),
            ("#f00", 0xff_0000, false),
            ("0xff0000", 0xff_0000, false),
            ("255.0", 255, false),
            ("red", WHITE, false),
            ("", WHITE, false),
            ("inf", WHITE, false),
        ] {
            let read = color(text);
            assert_eq!((read.value, read.usual), (rgb, usual), "{text}");
        }
    }

    #[test]
    fn moments_in_every_unit() {
        for (text, ms) in [
            ("1700000000", Some(1_700_000_000_000)),
            ("1714564801500", Some(1_714_564_801_500)),
            ("1714564801500123", Some(1_714_564_801_500)),
            ("1304950621.5", Some(1_304_950_621_000)),
            ("0", None),
            ("-1", None),
            ("x", None),
        ] {
            assert_eq!(moment_ms(text), ms, "{text}");
        }
    }

    #[test]
    fn references_of_every_kind() {
        for (text, plain) in [
            ("a &lt;b&gt; &amp;&quot;&apos; &#33;&#x21;", "a <b> &\"' !!"),
            ("a&nbsp;b&eacute;", "a\u{a0}bé"),
            ("&#55357;&#56834;", "😂"),
            ("&#xD83D;&#xDE02;!", "😂!"),
            ("&#55357;x&#0;&#x0B;&#1114112;&#99999999999;", "x"),
            ("A&B 5 & 6 &none; &", "A&B 5 & 6 &none; &"),
            ("&amp;lt;", "&lt;"),
        ] {
            assert_eq!(unescape(text).0, plain, "{text}");
        }
    }
}
