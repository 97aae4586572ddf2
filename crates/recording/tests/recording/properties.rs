//! Rules that hold for all files.

use crate::hostile;
use proptest::prelude::*;
use recording::{ExportFormat, Format, Recorded, Writer, parse_from};
use serde_json::{Value, json};

fn written(format: ExportFormat, comments: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(format, &mut out);
    comments.iter().for_each(|comment| writer.comment(comment).expect("a comment"));
    writer.finish().expect("memory");
    out
}

fn comment() -> impl Strategy<Value = Value> {
    let mode = prop_oneof![Just("scroll"), Just("top"), Just("bottom")];
    let size = prop_oneof![Just("small"), Just("normal"), Just("large")];
    let text = "[\\PC<>&\"'\\\\{}]{0,20}[a好😂][\\PC<>&\"']{0,20}";
    (0..600_000_000_i64, text, "[a-zA-Z0-9_:@-][a-zA-Z0-9_.:@-]{0,19}", "[a-z好<&\"]{1,20}", mode, size, 0..0x100_0000_u32, 1..i64::MAX as u64, 1_000..4_000_000_000_000_i64)
        .prop_map(|(offset_ms, content, user, name, mode, size, color, id, said_ms)| {
            // Half of DanDanPlay's unit may be rounded either way.
            let offset_ms = if offset_ms % 10 == 5 { offset_ms + 1 } else { offset_ms };
            let said = jiff::Timestamp::from_millisecond(said_ms).expect("a time");
            json!({
                "id": id.to_string(), "offset_ms": offset_ms, "content": content.trim(), "user_id": user, "username": name,
                "style": { "mode": mode, "size": size, "color": format!("#{color:06X}") },
                "created_at": format!("{said:.3}"),
            })
        })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), format in 0..10u8) {
        hostile::check(&bytes, format);
    }

    #[test]
    fn no_fields_panic(p in "[-0-9a-z.,e+#]{0,60}", text in "[^\\x00-\\x08]{0,20}") {
        hostile::check(format!("<i><d p=\"{p}\">{text}</d></i>").as_bytes(), 0);
    }

    #[test]
    fn no_markup_panics(parts in prop::collection::vec(prop_oneof![
        Just("<d p=\"1,1,25,0\">"), Just("</d>"), Just("<"), Just(">"), Just("\""), Just("&"), Just("&#55357;"), Just("&#56834;"),
        Just("<![CDATA["), Just("]]>"), Just("<!--"), Just("-->"), Just("<chat vpos=\"1\">"), Just("</chat>"), Just("</i>"), Just("text"),
        Just("<d p='2,5,25'/>"), Just("\n"), Just("<?"), Just("?>"),
    ], 0..40)) {
        hostile::check(format!("<i>{}", parts.concat()).as_bytes(), 0);
    }

    #[test]
    fn no_json_panics(parts in prop::collection::vec(prop_oneof![
        Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just("\"comments\":"), Just("\"p\":\"1,1,255,u\""), Just("\"m\":\"x\""),
        Just("\"data\":"), Just("[1,0,255,\"a\",\"b\"]"), Just("\\ud83d"), Just("\""), Just("null"), Just("1e999"), Just("\n"),
        Just("\"vpos\":1"), Just("\"content\":\"c\""), Just("\"offset_ms\":1"),
    ], 0..40), head in prop_oneof![Just("{"), Just("[")]) {
        hostile::check(format!("{head}{}", parts.concat()).as_bytes(), 0);
    }

    /// A file cut anywhere gives what stood before the cut.
    #[test]
    fn a_cut_loses_only_what_it_cuts(comments in prop::collection::vec(comment(), 2..6), at in 0.5..1.0f64) {
        for (format, read) in [(ExportFormat::Xml, Format::Bilibili), (ExportFormat::Jsonl, Format::Jsonl), (ExportFormat::Dandanplay, Format::Dandanplay)] {
            let file = written(format, &comments);
            let end = (file.len() as f64 * at) as usize;
            let Ok(recording) = parse_from(&file[..end], read) else { continue };
            prop_assert!(recording.comments.len() <= comments.len());
            let average = file.len() / comments.len();
            prop_assert!(recording.comments.len() + 2 + (file.len() - end) / (average / 3).max(1) >= comments.len());
        }
    }

    /// Nothing is lost but what `docs/recordings.md` lists, format by format.
    #[test]
    fn what_is_written_is_read_again(mut comments in prop::collection::vec(comment(), 1..8)) {
        comments.sort_by_key(|comment| comment["offset_ms"].as_i64());
        for (written_as, read, kept) in ROUND_TRIPS {
            let file = written(written_as, &comments);
            let mut given: Vec<_> = comments.iter().collect();
            given.sort_by_key(|comment| (comment["offset_ms"].as_i64().unwrap_or(0) + kept.time_ms / 2) / kept.time_ms);
            for asked in [read, Format::Auto] {
                let recording = parse_from(file.as_slice(), asked).expect("ours");
                prop_assert_eq!((recording.report.format, recording.comments.len()), (read, comments.len()), "{}", recording.report.skipped);
                prop_assert_eq!(recording.report.skipped.total(), 0);
                let mut read_again: Vec<_> = recording.comments.iter().map(|comment| kept.of_read(comment)).collect();
                let mut expected: Vec<_> = given.iter().map(|comment| kept.of_given(comment, written_as)).collect();
                // Within one unit of time the order is the file's.
                read_again.sort();
                expected.sort();
                prop_assert_eq!(read_again, expected, "{}", written_as);
            }
        }
        let ass = String::from_utf8(written(ExportFormat::Ass, &comments)).expect("UTF-8");
        prop_assert_eq!(ass.matches("\nDialogue: ").count(), comments.len());
    }
}

/// What a format has a place for, as `docs/recordings.md` has it. Text, mode and colour all have.
#[derive(Clone, Copy)]
struct Kept {
    time_ms: i64,
    size: bool,
    user_id: bool,
    name: bool,
    /// The unit of when it was said; 0 is not at all.
    said_ms: i64,
}

const WHOLE: Kept = Kept { time_ms: 1, size: true, user_id: true, name: true, said_ms: 1 };
const ROUND_TRIPS: [(ExportFormat, Format, Kept); 5] = [
    (ExportFormat::Jsonl, Format::Jsonl, WHOLE),
    (ExportFormat::Csv, Format::Csv, WHOLE),
    (ExportFormat::Xml, Format::Bilibili, Kept { said_ms: 1_000, ..WHOLE }),
    (
        ExportFormat::Dandanplay,
        Format::Dandanplay,
        Kept { time_ms: 10, size: false, user_id: true, name: false, said_ms: 0 },
    ),
    (ExportFormat::Dplayer, Format::Dplayer, Kept { time_ms: 1, size: false, user_id: false, name: true, said_ms: 0 }),
];

/// A comment's time, text, mode, colour, and what else its format keeps.
type Facts = (i64, String, String, String, [Option<String>; 4]);

impl Kept {
    fn of_read(self, comment: &Recorded) -> Facts {
        let style = json!(comment.style);
        let text = |name: &str| style[name].as_str().unwrap_or_default().to_owned();
        let rest = [
            self.size.then(|| text("size")),
            comment.sender.clone().filter(|_| self.user_id),
            comment.username.clone().filter(|_| self.name),
            comment.created_at_ms.filter(|_| self.said_ms > 0).map(|ms| ms.to_string()),
        ];
        let unit = (comment.offset_ms + self.time_ms / 2) / self.time_ms;
        (unit, comment.content.clone(), text("mode"), text("color"), rest)
    }

    fn of_given(self, given: &Value, written_as: ExportFormat) -> Facts {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let content = text(&given["content"]);
        // In these two characters mean a line break.
        let has_breaks = matches!(written_as, ExportFormat::Xml | ExportFormat::Dandanplay);
        let has_break = has_breaks && !content.contains("://");
        let content = if has_break { content.replace("/n", "\n") } else { content };
        let said: jiff::Timestamp = text(&given["created_at"]).parse().expect("a time");
        let said_ms = (self.said_ms > 0).then(|| said.as_millisecond() / self.said_ms * self.said_ms);
        let rest = [
            self.size.then(|| text(&given["style"]["size"])),
            self.user_id.then(|| text(&given["user_id"])),
            self.name.then(|| text(&given["username"])),
            said_ms.map(|ms| ms.to_string()),
        ];
        let unit = (given["offset_ms"].as_i64().unwrap_or(0) + self.time_ms / 2) / self.time_ms;
        (unit, content, text(&given["style"]["mode"]), text(&given["style"]["color"]), rest)
    }
}
