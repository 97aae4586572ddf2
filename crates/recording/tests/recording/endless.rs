//! Files that are made to take memory or time: what is held is bounded, and each byte is looked at a few times at most.

use std::io::{self, Read, repeat};

use recording::{Format, Report, SkipReason, read};

/// No reader holds more of a file than this, and a little.
const HELD_MAX: u64 = 8 << 20;

/// How much was read of a file.
struct Counted<R> {
    input: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// The report of a file that begins so and repeats this without an end, and how much of it was read.
fn endless(begins: &str, repeats: &'static [u8], format: Format) -> (Report, u64) {
    struct Cycle(&'static [u8], usize);
    impl Read for Cycle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            for byte in &mut *buffer {
                *byte = self.0[self.1 % self.0.len()];
                self.1 += 1;
            }
            Ok(buffer.len())
        }
    }
    let mut input = Counted { input: begins.as_bytes().chain(Cycle(repeats, 0)), read: 0 };
    let report = read(&mut input, format, &mut |_| {}).expect("a report");
    (report, input.read)
}

#[test]
fn what_never_ends_is_given_up_before_it_takes_memory() {
    let good = r#"{"offset_ms":1,"content":"a"}"#;
    for (begins, repeats, reason) in [
        // A text, a name, an array, members, and values in one another.
        (format!(r#"{{"comments":[{good},{{"offset_ms":1,"content":""#), &b"x"[..], SkipReason::TooLong),
        (format!(r#"{{"comments":[{good},{{""#), b"x", SkipReason::TooLong),
        (format!(r#"{{"comments":[{good},{{"x":["#), b"[],", SkipReason::TooLong),
        (format!(r#"{{"comments":[{good},{{"#), br#""a":1,"data":[],"#, SkipReason::TooLong),
        (format!(r#"{{"comments":[{good}],"x":"#), b"[", SkipReason::Broken),
        (format!(r#"{{"comments":[{good}],"x":"#), br#"{"a":"#, SkipReason::Broken),
    ] {
        let (report, read) = endless(&begins, repeats, Format::Auto);
        assert_eq!((report.comments, report.skipped.count(reason)), (1, 1), "{begins}: {}", report.skipped);
        assert!(read < HELD_MAX, "{begins}: {read} bytes");
    }
    for (begins, repeats) in [("offset_ms,content\n1,a\n2,\"", &b"x"[..]), ("offset_ms,content\n1,a\n2,", b",")] {
        let (report, read) = endless(begins, repeats, Format::Auto);
        assert_eq!((report.comments, report.skipped.count(SkipReason::TooLong)), (1, 1), "{begins}");
        assert!(read < HELD_MAX, "{begins}: {read} bytes");
    }
    let mut header = Counted { input: b"offset_ms,content,".chain(repeat(b'x')), read: 0 };
    assert!(read(&mut header, Format::Csv, &mut |_| {}).is_err() && header.read < HELD_MAX);
}

/// Something large in a document that is no entry is passed by, and takes no memory: archives of chats carry pictures.
#[test]
fn what_a_document_has_beside_its_comments_may_be_large() {
    let picture = "A".repeat(5 << 20);
    let file = format!(
        r#"{{"emotes":["{picture}"],"comments":[{{"content_offset_seconds":1,"message":{{"body":"a"}}}}],"embedded":{{"data":"{picture}"}}}}"#
    );
    let report = read(file.as_bytes(), Format::Auto, &mut |_| {}).expect("a report");
    assert_eq!((report.comments, report.skipped.total()), (1, 0), "{}", report.skipped);
}

/// A reader that searches on from every beginning would take hours for these.
#[test]
fn beginnings_without_an_end_are_read_in_linear_time() {
    let comment = "<d p=\"1,1,25,0\">a</d>";
    let times = 1 << 13;
    for begun in ["<!--", "<![CDATA[", "<?", "<d p=\"", "<d ", "</", "&#"] {
        let file = format!("<i>{}{comment}</i>", begun.repeat(times));
        let report = read(file.as_bytes(), Format::Auto, &mut |_| {}).expect("a report");
        assert!(report.comments <= 1, "{begun}");
        // The same within a text.
        let text = format!("<d p=\"1,1,25,0\">{}</d>", begun.repeat(20_000 / begun.len()));
        let file = format!("<i>{}{comment}</i>", text.repeat(3));
        let report = read(file.as_bytes(), Format::Auto, &mut |_| {}).expect("a report");
        assert!(report.comments >= 1, "{begun}: {}", report.skipped);
        let text = format!("<d p=\"1,1,25,0\">{}</d>-->", begun.repeat(20_000 / begun.len()));
        let file = format!("<i>{}{comment}</i>", text.repeat(3));
        read(file.as_bytes(), Format::Auto, &mut |_| {}).expect("a report");
    }
}

/// No entity of a file's own is known, so none grows.
#[test]
fn entities_of_a_file_are_not_expanded() {
    let mut file = String::from("<?xml version=\"1.0\"?><!DOCTYPE i [<!ENTITY a \"aaaaaaaaaa\">");
    for (name, inner) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d")] {
        file.push_str(&format!("<!ENTITY {name} \"{}\">", format!("&{inner};").repeat(10)));
    }
    file.push_str("<!ENTITY x SYSTEM \"file:///etc/passwd\">]><i><d p=\"1,1,25,0\">&e; &x;</d></i>");
    let mut texts = Vec::new();
    read(file.as_bytes(), Format::Auto, &mut |comment| texts.push(comment.content)).expect("a report");
    assert_eq!(texts, ["&e; &x;"]);
}
