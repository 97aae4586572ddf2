//! The formats that other programs write: what comes in of each, and how a broken or cut file ends.

// A test may panic.
#![allow(clippy::unwrap_used)]

use model::{Mode, Size, Style};
use prost::Message;
use recording::{Format, Recorded, Recording, Repair, SkipReason, parse, parse_from};

fn read(file: &str) -> Recording {
    parse(file.as_bytes()).unwrap()
}

fn contents(recording: &Recording) -> Vec<&str> {
    recording.comments.iter().map(|comment| comment.content.as_str()).collect()
}

fn skipped(recording: &Recording) -> Vec<(SkipReason, u64)> {
    recording.report.skipped.iter().map(|(reason, noted)| (reason, noted.count)).collect()
}

const NICONICO: &str = r##"{"meta":{"status":200},"data":{"globalComments":[],"threads":[
 {"id":"1","fork":"owner","commentCount":0,"comments":[]},
 {"id":"1","fork":"main","commentCount":3,"comments":[
  {"id":"5","no":1,"vposMs":12340,"body":"わこつ","commands":["184","shita","small","#ff8800"],"userId":"u1","isPremium":false,"score":0,"postedAt":"2024-05-01T20:00:00+09:00","nicoruCount":0,"source":"trunk"},
  {"id":"6","no":2,"vposMs":10,"body":"x","commands":[],"userId":"u2","deleted":1},
  {"id":"7","no":3,"vposMs":0,"body":"始","commands":["red"],"userId":"u2"}]}]}}"##;

#[test]
fn niconico_threads() {
    let threads = &NICONICO[NICONICO.find("[\n").unwrap()..NICONICO.len() - 2];
    let lines = NICONICO.replace('\n', "");
    for file in [NICONICO, threads, &lines, &format!(r#"{{"threads":{threads}}}"#)] {
        let recording = read(file);
        assert_eq!((recording.report.format, contents(&recording)), (Format::Niconico, vec!["始", "わこつ"]), "{file}");
        assert_eq!(skipped(&recording), [(SkipReason::Deleted, 1)]);
        let second = &recording.comments[1];
        assert_eq!(second.style, Style { mode: Mode::Bottom, color: 0xff_8800, size: Size::Small });
        assert_eq!((second.offset_ms, second.created_at_ms), (12_340, Some(1_714_561_200_000)));
        assert_eq!(second.sender.as_deref(), Some("u1"));
    }
}

#[test]
fn older_niconico() {
    let legacy = r#"[{"ping":{"content":"rs:0"}},{"thread":{"resultcode":0}},{"chat":{"thread":"1","no":1,"vpos":150,"date":1700000000,"mail":"ue cyan","user_id":"u","content":"上"}},{"chat":{"vpos":1,"deleted":1}}]"#;
    let recording = read(legacy);
    assert_eq!((recording.report.format, contents(&recording)), (Format::Niconico, vec!["上"]));
    assert_eq!(recording.comments[0].style, Style { mode: Mode::Top, color: 0x00_ffff, size: Size::Normal });
    assert_eq!(skipped(&recording), [(SkipReason::Deleted, 1), (SkipReason::NotAComment, 2)]);
    let formatted = r#"[{"id":1,"vpos":150,"content":"a","date":1700000000,"date_usec":0,"owner":false,"premium":false,"mail":["big"],"user_id":7,"layer":-1}]"#;
    let comment = &read(formatted).comments[0];
    assert_eq!((comment.offset_ms, comment.style.size, comment.sender.as_deref()), (1_500, Size::Large, Some("7")));
}

#[test]
fn dandanplay() {
    let file = r#"{"count":3,"comments":[{"cid":1,"p":"12.30,5,16711680,[x]user","m":"a <b>"},{"cid":2,"p":"1,1,25,255,1700000000,0,hash,2","m":"longer"},{"cid":3,"p":"x","m":"y"}]}"#;
    let recording = read(file);
    assert_eq!((recording.report.format, contents(&recording)), (Format::Dandanplay, vec!["longer", "a <b>"]));
    let [longer, short] = recording.comments.as_slice() else { panic!("{recording:?}") };
    assert_eq!(short.style, Style { mode: Mode::Top, color: 0xff_0000, size: Size::Normal });
    assert_eq!((short.offset_ms, short.sender.as_deref()), (12_300, Some("[x]user")));
    assert_eq!((longer.style.color, longer.sender.as_deref()), (255, Some("hash")));
    assert_eq!(skipped(&recording), [(SkipReason::NoTime, 1)]);
}

#[test]
fn dplayer() {
    let file = r##"{"code":0,"data":[[1.5,1,16711680,"Ann","&lt;b&gt; &amp; &#x2F;"],[2,0,"#00ff00","x","two"],["x",0,0,"x","no time"],[3,"bottom",255,"x","three"],[1]]}"##;
    let recording = read(file);
    assert_eq!((recording.report.format, contents(&recording)), (Format::Dplayer, vec!["<b> & /", "two", "three"]));
    let styles: Vec<_> = recording.comments.iter().map(|comment| (comment.style.mode, comment.style.color)).collect();
    assert_eq!(styles, [(Mode::Top, 0xff_0000), (Mode::Scroll, 0x00_ff00), (Mode::Bottom, 255)]);
    assert_eq!(recording.comments[0].username.as_deref(), Some("Ann"));
    assert_eq!(skipped(&recording), [(SkipReason::Broken, 1), (SkipReason::NoTime, 1)]);
    assert_eq!(recording.report.repaired.count(Repair::Color), 1);
}

#[test]
fn twitch() {
    let file = r##"{"FileInfo":{"Version":{"Major":1}},"streamer":{"name":"s","id":1},"video":{"title":"A stream","id":"1","created_at":"2024-05-01T20:00:00Z","length":10},
 "comments":[{"_id":"a","created_at":"2024-05-01T20:00:02.5Z","content_offset_seconds":2.5,"commenter":{"display_name":"Ann","_id":"7","name":"ann"},"message":{"body":"hi Kappa","fragments":[{"text":"hi "}],"user_color":"#FF0000"}},
 {"content_offset_seconds":1,"commenter":null,"message":{"fragments":[{"text":"from "},{"text":"pieces"}]}}],"embeddedData":{"big":"data"}}"##;
    let recording = read(file);
    assert_eq!((recording.report.format, contents(&recording)), (Format::Twitch, vec!["from pieces", "hi Kappa"]));
    let ann = &recording.comments[1];
    assert_eq!((ann.sender.as_deref(), ann.username.as_deref()), (Some("ann"), Some("Ann")));
    assert_eq!((ann.offset_ms, ann.created_at_ms, ann.style.color), (2_500, Some(1_714_593_602_500), 0xff_ffff));
    assert_eq!(recording.report.title.as_deref(), Some("A stream"));
    assert_eq!(recording.report.started_at_ms, Some(1_714_593_600_000));
    let edges = r#"{"data":{"video":{"id":"1","comments":{"edges":[{"cursor":"x","node":{"id":"a","contentOffsetSeconds":9,"createdAt":"2024-05-01T20:00:09Z","commenter":{"login":"bob","displayName":"Bob"},"message":{"fragments":[{"text":"yo"}]}}}]}}}}"#;
    let comment = &read(edges).comments[0];
    assert_eq!((comment.offset_ms, comment.username.as_deref(), comment.content.as_str()), (9_000, Some("Bob"), "yo"));
}

fn action(offset_ms: &str, action: &str) -> String {
    format!(
        r#"{{"clickTrackingParams":"x","replayChatItemAction":{{"actions":[{action}],"videoOffsetTimeMsec":"{offset_ms}"}}}}"#
    )
}

fn item(renderer: &str, more: &str) -> String {
    format!(
        r#"{{"addChatItemAction":{{"item":{{"{renderer}":{{"authorName":{{"simpleText":"Ann"}},"authorExternalChannelId":"UC1","timestampUsec":"1700000000123456"{more}}}}}}}}}"#
    )
}

#[test]
fn youtube() {
    let runs = r#","message":{"runs":[{"text":"go "},{"emoji":{"emojiId":"UC/x","shortcuts":[":gg:",":_gg:"],"isCustomEmoji":true}},{"emoji":{"emojiId":"😂","shortcuts":[":joy:"]}}]}"#;
    let paid = r#","purchaseAmountText":{"simpleText":"¥500"}"#;
    let lines = [
        action("1500", &item("liveChatTextMessageRenderer", runs)),
        action("2500", &item("liveChatPaidMessageRenderer", &format!("{paid}{runs}"))),
        action("3500", &item("liveChatPaidMessageRenderer", paid)),
        action("4500", &item("liveChatMembershipItemRenderer", "")),
        action("5500", r#"{"markChatItemAsDeletedAction":{"targetItemId":"x"}}"#),
        action("6500", r#"{"addLiveChatTickerItemAction":{}}"#),
        "{\"broken".to_owned(),
    ];
    let recording = read(&lines.join("\n"));
    assert_eq!(
        (recording.report.format, contents(&recording)),
        (Format::Youtube, vec!["go :gg:😂", "go :gg:😂", "¥500"])
    );
    let first = &recording.comments[0];
    assert_eq!((first.offset_ms, first.created_at_ms), (1_500, Some(1_700_000_000_123)));
    assert_eq!((first.sender.as_deref(), first.username.as_deref()), (Some("UC1"), Some("Ann")));
    assert_eq!(skipped(&recording), [(SkipReason::Cut, 1), (SkipReason::NotAComment, 3)]);
}

#[test]
fn tables() {
    let file = "offset_ms, content, user_id, username, mode, color, size, created_at\r\n\
        1500,\"a, \"\"quoted\"\"\nline\",u1,Ann,top,#FF0000,large,2024-05-01T20:00:00Z\r\n\
        100,first,,,,,,\r\n\
        x,no time,,,,,,\r\n\
        200,too,many,,,,,,,\r\n\
        300\r\n\
        400,odd forms,u,,5,255,18,1700000000\r\n";
    let recording = read(file);
    assert_eq!(
        (recording.report.format, contents(&recording)),
        (Format::Csv, vec!["first", "odd forms", "a, \"quoted\"\nline"])
    );
    let [first, odd, full] = recording.comments.as_slice() else { panic!("{recording:?}") };
    assert_eq!(first.style, Style::default());
    assert_eq!(odd.style, Style { mode: Mode::Top, color: 255, size: Size::Small });
    assert_eq!(full.style, Style { mode: Mode::Top, color: 0xff_0000, size: Size::Large });
    assert_eq!((full.created_at_ms, odd.created_at_ms), (Some(1_714_593_600_000), Some(1_700_000_000_000)));
    assert_eq!((full.sender.as_deref(), full.username.as_deref()), (Some("u1"), Some("Ann")));
    assert_eq!(skipped(&recording), [(SkipReason::Broken, 2), (SkipReason::NoTime, 1)]);
    assert_eq!(recording.report.repaired.count(Repair::Mode), 1);
    let (_, noted) = recording.report.skipped.iter().next().unwrap();
    assert_eq!(noted.locations[0].line, Some(6), "{:?}", noted.locations);

    let cut = parse(b"offset_ms,content\n1,one\n2,\"tw").unwrap();
    assert_eq!((contents(&cut), skipped(&cut)), (vec!["one"], vec![(SkipReason::Cut, 1)]));
    let wrong = parse_from(&b"time,text\n1,a"[..], Format::Csv).unwrap_err();
    assert!(wrong.to_string().contains("must name offset_ms and content"), "{wrong}");
}

const LINES: &str = r##"{"id":"1","room_id":"r","user_id":"ann","username":"Ann","content":"one","style":{"mode":"top","color":"#FF0000","size":"small"},"created_at":"2024-05-01T20:00:00.250Z","offset_ms":250,"like_count":0}

{"offset_ms":500,"content":"half \ud83d an emoji"}
{"offset_ms":750,"content":"raw	tab"}
{"offset_ms":900,"content":
{"offset_ms":-1,"content":"before"}
{"something":"else"}
[1,2]
"##;

#[test]
fn lines_of_our_own() {
    let recording = read(LINES);
    assert_eq!(
        (recording.report.format, contents(&recording)),
        (Format::Jsonl, vec!["one", "half \u{fffd} an emoji", "raw tab"])
    );
    let expected = Recorded {
        offset_ms: 250,
        content: "one".into(),
        style: Style { mode: Mode::Top, color: 0xff_0000, size: Size::Small },
        created_at_ms: Some(1_714_593_600_250),
        sender: Some("ann".into()),
        username: Some("Ann".into()),
    };
    assert_eq!(recording.comments[0], expected);
    assert_eq!(skipped(&recording), [(SkipReason::Broken, 3), (SkipReason::OutOfRange, 1)]);
    let (_, broken) = recording.report.skipped.iter().next().unwrap();
    assert_eq!(broken.locations[0].line, Some(5));
}

#[test]
fn a_cut_document_gives_what_stood_before_the_cut() {
    let whole = r#"{"count":3,"comments":[{"cid":1,"p":"1,1,255,u","m":"one"},{"cid":2,"p":"2,1,255,u","m":"two"},{"cid":3,"p":"3,1,255,u","m":"three"}]}"#;
    for end in 30..whole.len() {
        let Ok(recording) = parse(&whole.as_bytes()[..end]) else { panic!("cut at {end}") };
        // An entry is whole with its closing brace.
        let before = whole[..end].matches("\"}").count();
        assert_eq!(
            (recording.comments.len(), skipped(&recording)),
            (before, vec![(SkipReason::Cut, 1)]),
            "cut at {end}"
        );
        let (_, noted) = recording.report.skipped.iter().next().unwrap();
        assert_eq!(noted.locations[0].byte as usize, end);
    }
}

#[derive(Clone, PartialEq, Message)]
struct Element {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int32, tag = "2")]
    progress: i32,
    #[prost(int32, tag = "3")]
    mode: i32,
    #[prost(int32, tag = "4")]
    font_size: i32,
    #[prost(uint32, tag = "5")]
    color: u32,
    #[prost(string, tag = "6")]
    sender: String,
    #[prost(string, tag = "7")]
    content: String,
    #[prost(int64, tag = "8")]
    sent: i64,
    #[prost(string, tag = "12")]
    id_text: String,
}

#[derive(Clone, PartialEq, Message)]
struct Segment {
    #[prost(message, repeated, tag = "1")]
    elements: Vec<Element>,
    #[prost(int32, tag = "2")]
    state: i32,
}

#[test]
fn segments() {
    let element = |progress, mode, content: &str| Element {
        id: 9,
        progress,
        mode,
        font_size: 36,
        color: 255,
        sender: "hash".into(),
        content: content.into(),
        sent: 1_700_000_000,
        id_text: "9".into(),
    };
    let elements = vec![
        element(61_500, 5, "later"),
        element(0, 1, "first"),
        element(1, 8, "code"),
        element(2, 7, "[0,0,\"\",1,\"placed\"]"),
    ];
    let mut bytes = Segment { elements, state: 1 }.encode_to_vec();
    // An element that is none: its text is no UTF-8.
    bytes.extend([0x0a, 3, 0x3a, 1, 0xff]);
    let recording = parse(&bytes).unwrap();
    assert_eq!((recording.report.format, contents(&recording)), (Format::BilibiliPb, vec!["first", "placed", "later"]));
    let later = &recording.comments[2];
    assert_eq!(later.style, Style { mode: Mode::Top, color: 255, size: Size::Large });
    assert_eq!((later.created_at_ms, later.sender.as_deref()), (Some(1_700_000_000_000), Some("hash")));
    assert_eq!(skipped(&recording), [(SkipReason::Broken, 1), (SkipReason::Code, 1)]);
    assert_eq!(recording.report.repaired.count(Repair::Positioned), 1);
    let cut = parse(&bytes[..bytes.len() - 2]).unwrap();
    assert_eq!((cut.comments.len(), cut.report.skipped.count(SkipReason::Cut)), (3, 1));
}

#[test]
fn a_format_that_was_asked_for_is_the_only_one() {
    let wrong = parse_from(LINES.as_bytes(), Format::Bilibili).unwrap_err();
    assert_eq!(wrong.to_string(), "this is JSON, not bilibili");
    let other = parse_from(NICONICO.as_bytes(), Format::Twitch).unwrap();
    assert_eq!((other.comments.len(), skipped(&other)), (0, vec![(SkipReason::Broken, 3)]));
    for name in
        ["auto", "bilibili", "bilibili-pb", "niconico", "dandanplay", "dplayer", "twitch", "youtube", "csv", "jsonl"]
    {
        assert_eq!(name.parse::<Format>().unwrap().to_string(), name);
    }
    assert!("xml".parse::<Format>().unwrap_err().contains("expected one of auto, bilibili"));
}

#[test]
fn json_of_other_kinds_is_said_to_be_so() {
    let recording = read(r#"[{"name":"x"},{"name":"y"}]"#);
    assert_eq!(skipped(&recording), [(SkipReason::Broken, 2)]);
    assert!(parse(br#"{"name":"x","list":[1]}"#).is_err());
}
