//! Comments as subtitles: each has a row of its own while it is on the stage, as far as there are rows.
//!
//! Owns the layout. Widths are estimated: a wide character is as wide as it is high, any other half of that.

use model::{Mode, Size};

use crate::collect::ParsedEntry;

const WIDTH: i64 = 1_920;
const HEIGHT: i64 = 1_080;
const ROW: i64 = 60;
const ROWS: usize = (HEIGHT / ROW) as usize;
/// How long a comment takes to cross the stage.
const CROSSING_MS: i64 = 9_000;
/// How long one stands at the top or bottom.
const STANDING_MS: i64 = 5_000;

pub(super) const HEAD: &str = "\
[Script Info]
ScriptType: v4.00+
PlayResX: 1920
PlayResY: 1080
WrapStyle: 2
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Comment,sans-serif,50,&H00FFFFFF,&H00FFFFFF,&H00000000,&H00000000,0,0,0,0,100,100,0,0,1,2,0,7,0,0,0,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
";

/// Which rows are taken, until when.
pub(super) struct Stage {
    crossing: [Row; ROWS],
    top: [i64; ROWS],
    bottom: [i64; ROWS],
}

impl Default for Stage {
    fn default() -> Self {
        Self { crossing: [Row::default(); ROWS], top: [0; ROWS], bottom: [0; ROWS] }
    }
}

/// The last comment in a row that comments cross.
#[derive(Clone, Copy, Default)]
struct Row {
    /// Its end has come in.
    entered_ms: i64,
    /// Its end has gone out.
    gone_ms: i64,
}

impl Stage {
    /// The comment as a line. They come in the order of the recording.
    pub(super) fn line(&mut self, entry: &ParsedEntry) -> String {
        let at_ms = entry.offset_ms.round() as i64;
        let font = match entry.style.size {
            Size::Small => 36,
            Size::Normal => 50,
            Size::Large => 72,
        };
        let lines = entry.content.lines().count().max(1) as i64;
        let width = entry.content.lines().map(|line| width(line, font)).max().unwrap_or(0);
        let span = ((lines * font * 6 / 5 + ROW - 1) / ROW).clamp(1, ROWS as i64) as usize;
        let (lasts_ms, motion) = match entry.style.mode {
            Mode::Scroll => {
                // It may enter when the one before has entered, and must not reach the far side before that has gone.
                let reaches_ms = CROSSING_MS * WIDTH / (WIDTH + width);
                let row = free(&self.crossing, span, at_ms, |row| row.entered_ms.max(row.gone_ms - reaches_ms));
                let entered_ms = at_ms + CROSSING_MS * width / (WIDTH + width);
                taken(&mut self.crossing, row, span, Row { entered_ms, gone_ms: at_ms + CROSSING_MS });
                let y = row as i64 * ROW;
                (CROSSING_MS, format!("\\move({WIDTH},{y},{},{y})", -width))
            }
            Mode::Top => {
                let row = free(&self.top, span, at_ms, |until| *until);
                taken(&mut self.top, row, span, at_ms + STANDING_MS);
                (STANDING_MS, format!("\\an8\\pos({},{})", WIDTH / 2, row as i64 * ROW))
            }
            Mode::Bottom => {
                let row = free(&self.bottom, span, at_ms, |until| *until);
                taken(&mut self.bottom, row, span, at_ms + STANDING_MS);
                (STANDING_MS, format!("\\an2\\pos({},{})", WIDTH / 2, HEIGHT - row as i64 * ROW))
            }
        };
        let (start, end) = (time(at_ms), time(at_ms + lasts_ms));
        let size = if font == 50 { String::new() } else { format!("\\fs{font}") };
        let (color, text) = (color(entry.style.color), escaped(&entry.content));
        format!("Dialogue: 0,{start},{end},Comment,,0,0,0,,{{{motion}{size}{color}}}{text}\n")
    }
}

/// The first of `span` rows together that are free at `at_ms`; otherwise of those that are soonest.
fn free<R>(rows: &[R], span: usize, at_ms: i64, free_ms: impl Fn(&R) -> i64) -> usize {
    let until = |rows: &[R]| rows.iter().map(&free_ms).max().unwrap_or(0);
    let best = rows.windows(span).enumerate().min_by_key(|(_, rows)| until(rows).max(at_ms));
    best.map_or(0, |(row, _)| row)
}

fn taken<R: Copy>(rows: &mut [R], row: usize, span: usize, by: R) {
    rows.iter_mut().skip(row).take(span).for_each(|row| *row = by);
}

fn width(line: &str, font: i64) -> i64 {
    let narrow = |c: char| (c as u32) < 0x1100;
    line.chars().map(|c| if narrow(c) { font / 2 } else { font }).sum()
}

/// `h:mm:ss.cc`
fn time(ms: i64) -> String {
    let cs = ms / 10;
    format!("{}:{:02}:{:02}.{:02}", cs / 360_000, cs / 6_000 % 60, cs / 100 % 60, cs % 100)
}

/// The colour, and a light outline around a dark one. White on black is the style's own.
fn color(rgb: u32) -> String {
    let [_, r, g, b] = rgb.to_be_bytes();
    let light = (u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114) / 1_000;
    let outline = if light < 64 { "\\3c&HFFFFFF&" } else { "" };
    match rgb {
        0xff_ffff => String::new(),
        _ => format!("\\c&H{b:02X}{g:02X}{r:02X}&{outline}"),
    }
}

/// Braces begin tags and backslashes line breaks: they stand as look-alikes, or apart from what follows.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\u{2060}").replace('{', "｛").replace('}', "｝").replace('\n', "\\N")
}

#[cfg(test)]
mod tests {
    use model::Style;

    use super::*;

    fn said(at_ms: i64, mode: Mode, content: &str) -> ParsedEntry {
        ParsedEntry {
            offset_ms: at_ms as f64,
            content: content.into(),
            style: Style { mode, ..Style::default() },
            ..ParsedEntry::default()
        }
    }

    #[test]
    fn comments_move_and_stand() {
        let mut stage = Stage::default();
        assert_eq!(
            stage.line(&said(3_661_230, Mode::Scroll, "你好ab")),
            "Dialogue: 0,1:01:01.23,1:01:10.23,Comment,,0,0,0,,{\\move(1920,0,-150,0)}你好ab\n"
        );
        assert_eq!(
            stage.line(&said(3_661_230, Mode::Bottom, "a{b}\\n\nc")),
            "Dialogue: 0,1:01:01.23,1:01:06.23,Comment,,0,0,0,,{\\an2\\pos(960,1080)}a｛b｝\\\u{2060}n\\Nc\n"
        );
        let dark = ParsedEntry {
            style: Style { color: 0x00_00ff, size: Size::Large, mode: Mode::Top },
            ..said(0, Mode::Top, "x")
        };
        assert!(stage.line(&dark).ends_with("{\\an8\\pos(960,0)\\fs72\\c&HFF0000&\\3c&HFFFFFF&}x\n"));
    }

    #[test]
    fn no_two_meet_while_there_are_rows() {
        let mut stage = Stage::default();
        let row = |line: String| {
            line.split("\\move(1920,").nth(1).and_then(|rest| rest.split(',').next()?.parse::<i64>().ok())
        };
        let rows: Vec<_> = (0..ROWS).filter_map(|_| row(stage.line(&said(0, Mode::Scroll, "一样")))).collect();
        assert_eq!(rows, (0..ROWS as i64).map(|row| row * ROW).collect::<Vec<_>>());
        // A short one has entered a second later; a longer one behind it would catch up, so it takes the soonest row.
        assert_eq!(row(stage.line(&said(1_000, Mode::Scroll, "一样"))), Some(0));
    }
}
