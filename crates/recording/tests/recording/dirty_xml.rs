//! XML as it is found: each good comment comes in, each bad one is named with its location.

// A test may panic.
#![allow(clippy::unwrap_used)]

use model::{Mode, Size, Style};
use recording::{Format, Recording, Repair, SkipReason, parse};

fn whole(body: &str) -> Recording {
    parse(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><i><chatid>1</chatid>{body}</i>").as_bytes()).unwrap()
}

fn contents(recording: &Recording) -> Vec<&str> {
    recording.comments.iter().map(|comment| comment.content.as_str()).collect()
}

/// One comment with this text between two plain ones.
fn between(text: &str) -> Recording {
    let read =
        whole(&format!("<d p=\"1,1,25,0\">before</d>\n<d p=\"2,1,25,0\">{text}</d>\n<d p=\"3,1,25,0\">after</d>"));
    assert_eq!((contents(&read)[0], *contents(&read).last().unwrap()), ("before", "after"), "{text:?}");
    read
}

#[test]
fn fields_become_a_comment() {
    let read = whole(
        r#"<d p="2.5,5,36,255,1304950621,0,b82a51a3,26516962">凄い &lt;w&gt; &#33;</d><d p="1,1,25,16777215">a</d>"#,
    );
    let [first, second] = read.comments.as_slice() else { panic!("two comments: {read:?}") };
    assert_eq!((first.offset_ms, first.content.as_str()), (1_000, "a"));
    assert_eq!((second.offset_ms, second.content.as_str()), (2_500, "凄い <w> !"));
    assert_eq!(second.style, Style { mode: Mode::Top, color: 255, size: Size::Large });
    assert_eq!(second.created_at_ms, Some(1_304_950_621_000));
    assert_eq!(second.sender.as_deref(), Some("b82a51a3"));
    assert_eq!((read.report.skipped.total(), read.report.repaired.total()), (0, 0), "{}", read.report.repaired);
}

#[test]
fn a_text_is_mended_where_it_stands() {
    for (text, shown, repair) in [
        ("A&B 5 & 6", "A&B 5 & 6", Repair::Unescaped),
        ("1 < 2 and <3", "1 < 2 and <3", Repair::Unescaped),
        ("<b>loud</b>", "<b>loud</b>", Repair::Unescaped),
        ("<!-- 前方高能", "<!-- 前方高能", Repair::Unescaped),
        ("a&#55357;&#56834;b", "a😂b", Repair::Surrogates),
        ("a\u{b}b\u{1f}c\0d", "abcd", Repair::Control),
        ("a&#x0B;b&#31;c&#0;", "abc", Repair::Control),
        ("a&bomb;", "a&bomb;", Repair::Unescaped),
    ] {
        let read = between(text);
        assert_eq!(contents(&read).get(1), Some(&shown), "{text:?}");
        assert_eq!((read.report.repaired.count(repair), read.report.skipped.total()), (1, 0), "{text:?}");
        let (_, noted) = read.report.repaired.iter().next().unwrap();
        assert_eq!(noted.locations[0].line, Some(2), "{text:?}");
    }
    for (text, shown) in [
        ("a&nbsp;b", "a\u{a0}b"),
        ("<![CDATA[<d> & </d>]]>!", "<d> & </d>!"),
        ("a<!-- not shown -->b", "ab"),
        ("first/nsecond", "first\nsecond"),
        ("http://a/news", "http://a/news"),
        ("line\r\nline", "line\nline"),
    ] {
        let read = between(text);
        assert_eq!((contents(&read).get(1), read.report.repaired.total()), (Some(&shown), 0), "{text:?}");
    }
}

#[test]
fn wrong_bytes_are_replaced() {
    let read = parse(b"<i><d p=\"1,1,25,0\">a\xff\xfeb</d><d p=\"2,1,25,0\">c</d></i>").unwrap();
    assert_eq!(contents(&read), ["a\u{fffd}\u{fffd}b", "c"]);
    assert_eq!(read.report.repaired.count(Repair::BadBytes), 1);
}

#[test]
fn a_section_is_one_wherever_the_stream_is_parted() {
    for padding in (65_400..65_560).step_by(3) {
        let padding = " ".repeat(padding);
        let read = whole(&format!("{padding}<d p=\"1,1,25,0\"><![CDATA[<d> & </d>]]><!-- no -->!</d>"));
        assert_eq!((contents(&read), read.report.repaired.total()), (vec!["<d> & </d>!"], 0), "{}", padding.len());
    }
}

#[test]
fn a_cut_file_gives_what_stood_before_the_cut() {
    let file = "<i>\n<d p=\"1,1,25,0\">one</d>\n<d p=\"2,1,25,0\">two</d>\n</i>\n";
    for end in 0..file.len() {
        let Ok(read) = parse(&file.as_bytes()[..end]) else { continue };
        let whole = file[..end].matches("</d>").count();
        assert_eq!(read.comments.len(), whole, "cut at {end}");
        let open = file[..end].matches("<d").count() - whole;
        assert_eq!(read.report.skipped.count(SkipReason::Cut), open as u64, "cut at {end}");
        assert_eq!(read.report.repaired.count(Repair::Unfinished), u64::from(end < file.find("</i>").unwrap() + 3));
        if open == 1 {
            let (_, noted) = read.report.skipped.iter().next().unwrap();
            assert_eq!(noted.locations[0].byte as usize, file[..end].rfind("<d").unwrap());
        }
    }
}

#[test]
fn a_broken_element_is_skipped_alone() {
    let read = whole(
        "<d p=\"1,1,25,0\">a</d>\n<d p=\"2,1,25,0>lost</d>\n<d p=\"3,1,25,0\">unclosed\n<d p=\"4,1,25,0\">d</d>\n<d p='5,1,25,0'>e</d >",
    );
    assert_eq!(contents(&read), ["a", "unclosed\n", "d", "e"]);
    assert_eq!(read.report.skipped.count(SkipReason::Broken), 1);
    assert_eq!(read.report.skipped.to_string(), "  1 × it cannot be read: line 2 (byte 81)\n");
    assert_eq!(read.report.repaired.count(Repair::Unclosed), 1);
}

#[test]
fn what_cannot_be_shown_is_counted_by_reason() {
    let read = whole(
        r#"<d p="1,8,25,0">alert(1)</d><d p="1,9,25,0">{}</d><d p="nan,1,25,0">x</d><d p="-1,1,25,0">x</d><d>x</d>
           <d p="1,1,25,0"> </d><d p="1,1,25,0"/><d p="700000,1,25,0">x</d><d p="1,7,25,0">[0,0,"1-1",4,"shown"]</d>
           <d p="1,7,25,0">not json</d><d p="1,7,25,0">[0,0,"1-1",4,"/n /n"]</d>"#,
    );
    assert_eq!(contents(&read), ["shown"]);
    let count = |reason| read.report.skipped.count(reason);
    assert_eq!((count(SkipReason::Code), count(SkipReason::NoTime), count(SkipReason::OutOfRange)), (2, 2, 2));
    assert_eq!((count(SkipReason::Empty), count(SkipReason::Broken), read.report.skipped.total()), (3, 1, 10));
    assert_eq!(read.report.repaired.count(Repair::Positioned), 2, "one of them had nothing to show");
}

#[test]
fn other_forms_of_fields_are_read_and_said() {
    let read = whole(
        r##"<d p="1,1.0,25,-65536">a</d><d p="2,5,25,#ff0000">b</d><d p="3,,,">c</d><d p="4">d</d><d p="5,4,18.0,16711680.0">e</d>"##,
    );
    assert_eq!(contents(&read), ["a", "b", "c", "d", "e"]);
    let styles: Vec<_> = read.comments.iter().map(|c| (c.style.mode, c.style.color, c.style.size)).collect();
    assert_eq!(styles[0], (Mode::Scroll, 0xff_0000, Size::Normal));
    assert_eq!(styles[1], (Mode::Top, 0xff_0000, Size::Normal));
    assert_eq!(styles[4], (Mode::Bottom, 0xff_0000, Size::Small));
    let count = |repair| read.report.repaired.count(repair);
    assert_eq!((count(Repair::Color), count(Repair::Mode)), (3, 3));
}

#[test]
fn recorders_keep_time_and_name() {
    let file = r##"<?xml version="1.0" encoding="utf-8"?>
<?xml-stylesheet type="text/xsl" href="#s"?>
<i><!-- <d p="9,1,25,0">no comment</d> --><RecorderXmlStyle><z:stylesheet id="s"><html><div/></html></z:stylesheet></RecorderXmlStyle>
<BililiveRecorderRecordInfo roomid="1" name="Ann" title="Games &amp; talk" start_time="2024-05-01T20:00:00.0000000+08:00" />
<d p="1.500,1,25,16777215,1714564801500,0,10001,0" user="小明">第一条</d>
<sc ts="3.000" user="a" uid="3" price="30" time="60">paid</sc><gift ts="3" user="b" giftname="c" giftcount="5" />
<d user="Ann &amp; Bob" p="2.250,4,25,14893055,1714564802250,0,10002,0">第二条</d></i>"##;
    let read = parse(file.as_bytes()).unwrap();
    assert_eq!(contents(&read), ["第一条", "第二条"]);
    let [first, second] = read.comments.as_slice() else { panic!("{read:?}") };
    assert_eq!((first.created_at_ms, first.sender.as_deref()), (Some(1_714_564_801_500), Some("10001")));
    assert_eq!((first.username.as_deref(), second.username.as_deref()), (Some("小明"), Some("Ann & Bob")));
    assert_eq!(read.report.title.as_deref(), Some("Games & talk"));
    assert_eq!(read.report.started_at_ms, Some(1_714_564_800_000));
    assert_eq!(read.report.skipped.count(SkipReason::NotAComment), 2);
}

#[test]
fn the_comments_date_a_live_recording_and_no_other() {
    let live = whole(r#"<d p="1,1,25,0,1700000001,0,a,1">a</d><d p="61.5,1,25,0,1700000062,0,a,1">b</d>"#);
    assert_eq!(live.report.started_at_ms, Some(1_700_000_000_000));
    let video = whole(r#"<d p="1,1,25,0,1700000001,0,a,1">a</d><d p="61,1,25,0,1710000000,0,a,1">b</d>"#);
    assert_eq!(video.report.started_at_ms, None);
}

#[test]
fn the_other_order_of_fields_is_known_by_its_declaration() {
    let file = r#"<?xml version="2.0" encoding="UTF-8"?><i><d p="0,0,1500,4,36,255,1700000000">a</d></i>"#;
    let read = parse(file.as_bytes()).unwrap();
    assert_eq!((read.comments[0].offset_ms, read.comments[0].style.mode), (1_500, Mode::Bottom));
    assert_eq!((read.comments[0].style.color, read.comments[0].created_at_ms), (255, Some(1_700_000_000_000)));
}

#[test]
fn declared_encodings_are_decoded() {
    let body = |encoding: &str| {
        format!("<?xml version=\"1.0\" encoding=\"{encoding}\"?><i><d p=\"1,1,25,0\">弹幕很好</d></i>")
    };
    let units: Vec<u16> = body("utf-16").encode_utf16().collect();
    let wide = |bytes: fn(u16) -> [u8; 2]| units.iter().copied().flat_map(bytes).collect::<Vec<u8>>();
    let marked = |mark: [u8; 2], bytes: Vec<u8>| [mark.to_vec(), bytes].concat();
    let named = |encoding: &'static encoding_rs::Encoding, name: &str| encoding.encode(&body(name)).0.into_owned();
    for (name, file) in [
        ("UTF-16, little-endian", marked([0xff, 0xfe], wide(u16::to_le_bytes))),
        ("UTF-16, big-endian", marked([0xfe, 0xff], wide(u16::to_be_bytes))),
        ("UTF-16 without a mark", wide(u16::to_le_bytes)),
        ("GBK", named(encoding_rs::GBK, "gbk")),
        ("GB2312", named(encoding_rs::GBK, "GB2312")),
        ("GB 18030", named(encoding_rs::GB18030, "gb18030")),
        ("Big5", encoding_rs::BIG5.encode(&body("big5").replace("弹幕很好", "彈幕很好")).0.into_owned()),
        ("UTF-8 with a mark", [b"\xef\xbb\xbf".to_vec(), body("UTF-8").into_bytes()].concat()),
    ] {
        let read = parse(&file).unwrap();
        assert!(matches!(contents(&read)[..], ["弹幕很好" | "彈幕很好"]), "{name}: {read:?}");
        assert_eq!(read.report.repaired.total(), 0, "{name}: {}", read.report.repaired);
    }
    // Converted, with its declaration left as it was.
    let read = parse(body("gbk").as_bytes()).unwrap();
    assert_eq!((contents(&read), read.report.repaired.count(Repair::Encoding)), (vec!["弹幕很好"], 1));
}

#[test]
fn a_wrong_sequence_in_another_encoding_is_replaced() {
    let mut file = encoding_rs::GBK
        .encode("<?xml version=\"1.0\" encoding=\"gbk\"?><i>\n<d p=\"1,1,25,0\">好X</d></i>")
        .0
        .into_owned();
    let at = file.iter().position(|byte| *byte == b'X').unwrap();
    file[at] = 0xff;
    let read = parse(&file).unwrap();
    assert_eq!(contents(&read), ["好\u{fffd}"]);
    let (repair, noted) = read.report.repaired.iter().next().unwrap();
    assert_eq!((repair, noted.locations[0].line), (Repair::BadBytes, Some(2)));
}

#[test]
fn other_files_are_named() {
    let named = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
    assert_eq!(named(b"<i></i>"), "there are no comments in it (bilibili)");
    assert_eq!(named(b"\x1f\x8b\x08\0\0\0"), "this is gzip, which import does not read yet");
    assert_eq!(named(b"[Script Info]\nTitle: x"), "this is ASS subtitles, which import does not read yet");
    assert_eq!(named(b"\xef\xbb\xbf[Script Info]\r\n"), "this is ASS subtitles, which import does not read yet");
    assert_eq!(named(b"1\n00:00:01,000 --> 00:00:02,000\nhi"), "this is SRT subtitles, which import does not read yet");
    assert_eq!(named(b"<!DOCTYPE html><html>"), "this is an HTML page, which import does not read yet");
    assert_eq!(named(b"<rss><channel/></rss>"), "this is XML that begins with <rss>, which import does not read yet");
    assert_eq!(named(b"hello"), "this is text of an unknown kind, which import does not read yet");
    assert_eq!(named(b""), "this is an empty file, which import does not read yet");
}

#[test]
fn niconico_elements() {
    let file = r##"<packet><thread thread="1"/><chat thread="1" no="1" vpos="150" date="1700000000" mail="184 ue red big" user_id="u1" anonymity="1">上</chat>
<chat thread="1" no="2" vpos="250" mail="#00ff00" user_id="u2">a &amp; b</chat><chat thread="1" no="3" vpos="1" deleted="1"></chat></packet>"##;
    let read = parse(file.as_bytes()).unwrap();
    assert_eq!((read.report.format, contents(&read)), (Format::Niconico, vec!["上", "a & b"]));
    assert_eq!(read.comments[0].style, Style { mode: Mode::Top, color: 0xff_0000, size: Size::Large });
    assert_eq!((read.comments[0].offset_ms, read.comments[1].style.color), (1_500, 0x00_ff00));
    assert_eq!(read.report.skipped.count(SkipReason::Deleted), 1);
}
