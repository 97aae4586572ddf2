//! Files of recorded comments.

/// A file in which each `(offset_s, sender, text)` is one comment: white, scrolling, of middle size.
#[must_use]
pub fn xml(comments: &[(f64, &str, &str)]) -> String {
    let lines: Vec<String> = comments
        .iter()
        .zip(1..)
        .map(|((offset_s, sender, text), row)| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            format!("<d p=\"{offset_s},1,25,16777215,1700000000,0,{sender},{row}\">{text}</d>")
        })
        .collect();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><i>{}</i>", lines.concat())
}
