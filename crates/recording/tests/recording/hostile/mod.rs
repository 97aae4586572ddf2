//! What must hold for any bytes. Shared by the property tests and the fuzz target.

use recording::{Format, LOCATIONS_MAX, OFFSET_MS_MAX, parse_from};

/// Longest sender or name kept, in characters.
const NAME_CHARS_MAX: usize = 64;

const FORMATS: [Format; 10] = [
    Format::Auto,
    Format::Bilibili,
    Format::BilibiliPb,
    Format::Niconico,
    Format::Dandanplay,
    Format::Dplayer,
    Format::Twitch,
    Format::Youtube,
    Format::Csv,
    Format::Jsonl,
];

/// Panics when a promise of the crate is broken. `format` chooses one, whatever its value.
pub fn check(bytes: &[u8], format: u8) {
    let format = FORMATS[usize::from(format) % FORMATS.len()];
    let Ok(recording) = parse_from(bytes, format) else { return };
    let report = &recording.report;
    assert_eq!(report.comments, recording.comments.len() as u64);
    assert!(recording.comments.is_sorted_by_key(|comment| comment.offset_ms));
    for comment in &recording.comments {
        assert!((0..=OFFSET_MS_MAX).contains(&comment.offset_ms));
        assert!(!comment.content.trim().is_empty());
        assert!(!comment.content.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')));
        assert!(comment.style.color <= 0xFF_FF_FF);
        for name in [&comment.sender, &comment.username].into_iter().flatten() {
            assert!((1..=NAME_CHARS_MAX).contains(&name.chars().count()));
        }
    }
    assert!(report.skipped.iter().all(|(_, noted)| noted.locations.len() <= LOCATIONS_MAX));
    // Nothing in a file expands without bound: a wrong byte becomes three, other encodings at most that.
    let texts: usize = recording.comments.iter().map(|comment| comment.content.len()).sum();
    assert!(texts <= bytes.len() * 3);
    assert!(recording.comments.len() as u64 + report.skipped.total() <= bytes.len() as u64);
}
