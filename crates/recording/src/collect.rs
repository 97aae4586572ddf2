//! Takes what a format reads: checks it, hands it on, and keeps the report.
//!
//! Every rule that holds for all formats is here. The formats call it; it knows none of them.

use crate::report::{Repair, Report, SkipReason, SourceLocation};
use crate::{Format, OFFSET_MS_MAX, Recorded};

/// Most characters kept of a sender or a name; the server cuts names further.
pub(crate) const NAME_CHARS_MAX: usize = 64;

/// The sink of all formats.
pub(crate) struct Collector<'a> {
    pub(crate) report: Report,
    each: &'a mut dyn FnMut(Recorded),
    comments_max: u64,
    /// Earliest and latest `created_at - offset`, while every comment so far has a `created_at`.
    start_ms: Option<(i64, i64)>,
    all_dated: bool,
}

/// An entry as its format has it, before the rules.
#[derive(Default)]
pub(crate) struct ParsedEntry {
    /// Milliseconds into the recording; NaN when there is no usable time.
    pub(crate) offset_ms: f64,
    pub(crate) content: String,
    pub(crate) style: model::Style,
    pub(crate) created_at_ms: Option<i64>,
    pub(crate) sender: Option<String>,
    pub(crate) username: Option<String>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(format: Format, comments_max: u64, each: &'a mut dyn FnMut(Recorded)) -> Self {
        let report = Report {
            format,
            comments: 0,
            skipped: Default::default(),
            repaired: Default::default(),
            title: None,
            started_at_ms: None,
        };
        Self { report, each, comments_max, start_ms: None, all_dated: true }
    }

    pub(crate) fn skip(&mut self, reason: SkipReason, location: SourceLocation) {
        self.report.skipped.note(reason, location);
    }

    pub(crate) fn repaired(&mut self, repair: Repair, location: SourceLocation) {
        self.report.repaired.note(repair, location);
    }

    /// Takes an entry in, or counts why not.
    pub(crate) fn accept(&mut self, entry: Result<ParsedEntry, SkipReason>, location: SourceLocation) {
        match entry.and_then(|entry| self.comment(entry, location)) {
            Ok(comment) => {
                self.report.comments += 1;
                self.date(&comment);
                (self.each)(comment);
            }
            Err(reason) => self.skip(reason, location),
        }
    }

    fn comment(&mut self, entry: ParsedEntry, location: SourceLocation) -> Result<Recorded, SkipReason> {
        let ParsedEntry { offset_ms, content, style, created_at_ms, sender, username } = entry;
        if offset_ms.is_nan() {
            return Err(SkipReason::NoTime);
        }
        if !(0.0..=OFFSET_MS_MAX as f64).contains(&offset_ms) {
            return Err(SkipReason::OutOfRange);
        }
        let content = self.without_controls(content, location);
        if content.trim().is_empty() {
            return Err(SkipReason::Empty);
        }
        if self.report.comments >= self.comments_max {
            return Err(SkipReason::TooMany);
        }
        let offset_ms = offset_ms.round() as i64;
        Ok(Recorded { offset_ms, content, style, created_at_ms, sender: short(sender), username: short(username) })
    }

    fn without_controls(&mut self, content: String, location: SourceLocation) -> String {
        let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        if !content.contains(is_control) {
            return content;
        }
        if content.contains(|c| is_control(c) && c != '\r') {
            self.repaired(Repair::Control, location);
        }
        content.replace("\r\n", "\n").replace('\r', "\n").replace(is_control, "")
    }

    fn date(&mut self, comment: &Recorded) {
        let start = comment.created_at_ms.and_then(|at| at.checked_sub(comment.offset_ms));
        match start {
            Some(start) if self.all_dated => {
                let (first, last) = self.start_ms.unwrap_or((start, start));
                self.start_ms = Some((first.min(start), last.max(start)));
            }
            _ => (self.all_dated, self.start_ms) = (false, None),
        }
    }

    /// The report. The file's own word about its start wins; otherwise the comments tell it when they agree: those of
    /// a live recording do, those written about a video over the years do not.
    pub(crate) fn finish(mut self) -> Report {
        const AGREE_MS: i64 = 60_000;
        if let (None, Some((first, last))) = (self.report.started_at_ms, self.start_ms)
            && last - first <= AGREE_MS
        {
            self.report.started_at_ms = Some(first);
        }
        self.report
    }
}

fn short(name: Option<String>) -> Option<String> {
    let name = name?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.chars().take(NAME_CHARS_MAX).collect())
}
