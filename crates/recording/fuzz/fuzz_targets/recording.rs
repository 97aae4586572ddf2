//! Any bytes are read without a panic, and what comes out can be shown: text, in the order of the video,
//! at a place within it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use recording::parse;

/// The farthest place in a recording: a week.
const OFFSET_MS_MAX: i64 = 7 * 86_400_000;
/// Longest sender kept, in characters.
const SENDER_CHARS_MAX: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let Ok(recording) = parse(bytes) else { return };
    assert!(recording.comments.is_sorted_by_key(|comment| comment.offset_ms));
    for comment in &recording.comments {
        assert!((0..=OFFSET_MS_MAX).contains(&comment.offset_ms));
        assert!(!comment.content.trim().is_empty());
        assert!(comment.style.color <= 0xFF_FF_FF);
        assert!(comment.sender.as_ref().is_none_or(|sender| (1..=SENDER_CHARS_MAX).contains(&sender.chars().count())));
    }
    // Every entry takes at least `<d/>` of the file: nothing in it expands to more than was written.
    let texts: usize = recording.comments.iter().map(|comment| comment.content.len()).sum();
    assert!(texts <= bytes.len());
    assert!(recording.comments.len() + recording.skipped as usize <= bytes.len() / 4);
});
