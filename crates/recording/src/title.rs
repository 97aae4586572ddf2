//! A recording's title from the name of its file.

use std::path::Path;

/// Endings that programs add before the last one: `talk.live_chat.json`, `film.danmaku.xml`.
const INNER: [&str; 6] = [".live_chat", ".rechat", ".danmaku", ".danmu", ".comments", ".chat"];
/// Longest title, in characters.
const CHARS_MAX: usize = 200;

/// The title that a file's name gives: without its folder and endings.
#[must_use]
pub fn title_of(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_string_lossy();
    let stem = INNER.iter().find_map(|inner| stem.strip_suffix(inner)).unwrap_or(&stem).trim();
    (!stem.is_empty()).then(|| stem.chars().take(CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_titles() {
        for (name, title) in [
            ("/tmp/千与千寻.xml", Some("千与千寻")),
            ("talk 3.live_chat.json", Some("talk 3")),
            ("a.b.xml", Some("a.b")),
            ("-", Some("-")),
            (".xml", Some(".xml")),
            ("/", None),
        ] {
            assert_eq!(title_of(Path::new(name)).as_deref(), title, "{name}");
        }
    }
}
