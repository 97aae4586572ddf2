//! Finds links in a text: whatever a reader would copy into a browser.
//!
//! Called by [`crate::rules`]. A link is what follows a scheme, or a name that ends like a domain. Full-width letters and
//! dots count as what they look like.

/// Endings of domains that are written without a scheme. A name with another ending is a link only with a scheme, a
/// path, a port or `www.`.
const ENDINGS: &[&str] = &[
    "ai",
    "app",
    "art",
    "au",
    "biz",
    "br",
    "bz",
    "ca",
    "cc",
    "ch",
    "cl",
    "click",
    "cloud",
    "club",
    "cn",
    "co",
    "com",
    "cyou",
    "cz",
    "de",
    "dev",
    "edu",
    "es",
    "eu",
    "fi",
    "fr",
    "fun",
    "gd",
    "gg",
    "gl",
    "gov",
    "gr",
    "group",
    "hk",
    "icu",
    "id",
    "ie",
    "il",
    "in",
    "info",
    "ink",
    "io",
    "ir",
    "it",
    "jp",
    "kim",
    "kr",
    "la",
    "life",
    "link",
    "live",
    "ltd",
    "ly",
    "me",
    "mn",
    "mobi",
    "moe",
    "mx",
    "my",
    "name",
    "net",
    "news",
    "nl",
    "nz",
    "one",
    "online",
    "org",
    "ph",
    "pl",
    "plus",
    "pro",
    "pub",
    "pw",
    "red",
    "ren",
    "ro",
    "ru",
    "run",
    "sbs",
    "se",
    "sg",
    "sh",
    "shop",
    "site",
    "sk",
    "space",
    "st",
    "store",
    "su",
    "tech",
    "tel",
    "tk",
    "to",
    "top",
    "tr",
    "tv",
    "tw",
    "ua",
    "uk",
    "us",
    "video",
    "vip",
    "vn",
    "wang",
    "website",
    "win",
    "work",
    "world",
    "ws",
    "wtf",
    "xin",
    "xyz",
    "za",
    "zone",
    "中国",
    "公司",
    "网络",
    "网址",
    "在线",
    "中文网",
    "рф",
];

/// The hosts of all links in a text, in small letters.
pub(crate) fn hosts(text: &str) -> Vec<String> {
    let text: String = text.chars().map(plain).flat_map(char::to_lowercase).collect();
    text.split(|c: char| {
        c.is_whitespace() || matches!(c, '<' | '>' | '"' | '(' | ')' | '[' | ']' | '{' | '}' | ',' | '|')
    })
    .flat_map(hosts_of_word)
    .collect()
}

/// A full-width character as its narrow form; the dots of other scripts as a dot.
fn plain(c: char) -> char {
    match c {
        '。' | '｡' | '．' | '․' | '﹒' => '.',
        '，' | '、' | '；' | '！' | '？' => ' ',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    }
}

fn hosts_of_word(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("://") {
        let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if !scheme.is_empty() {
            found.push(host(after));
        }
        rest = after;
    }
    if found.is_empty()
        && let Some(bare) = bare_host(word)
    {
        found.push(bare);
    }
    found
}

/// The host at the beginning of what follows a scheme. What stands before an `@` is a user's name.
fn host(after_scheme: &str) -> String {
    let authority = after_scheme.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.split(':').next().unwrap_or_default().trim_matches('.').to_owned()
}

/// A domain without a scheme. Letters of scripts that use no spaces may stand right before it.
fn bare_host(word: &str) -> Option<String> {
    let (name, rest) = match word.find(['/', '?', '#', '\\']) {
        Some(at) => word.split_at(at),
        None => (word, ""),
    };
    let name = name.rsplit('@').next().unwrap_or_default();
    let (name, port) = name.split_once(':').unwrap_or((name, ""));
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
    // In `看example.com吧` the domain is what is written in Latin letters around the dots.
    let latin = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let widest = name.split(|c: char| !is_name(c)).find(|run| is_domain(run, rest, port));
    let narrow = || name.split(|c: char| !latin(c)).find(|run| is_domain(run, rest, port));
    widest.or_else(narrow).map(|run| run.trim_matches(['.', '-']).to_owned())
}

fn is_domain(run: &str, rest: &str, port: &str) -> bool {
    let run = run.trim_matches(['.', '-']);
    let Some((before, ending)) = run.rsplit_once('.') else { return false };
    if before.is_empty() || before.split('.').any(str::is_empty) {
        return false;
    }
    let ip = run.split('.').count() == 4 && run.split('.').all(|part| part.parse::<u8>().is_ok());
    if ip || ENDINGS.contains(&ending) || ending.starts_with("xn--") {
        // `3.5.co` is no host that anybody types, but `1.me` is; numbers alone are prices.
        return ip || before.chars().any(char::is_alphabetic);
    }
    let port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let named = ending.len() >= 2 && ending.chars().all(char::is_alphabetic);
    named && (run.starts_with("www.") || port || rest.len() > 1)
}

/// Whether a host is one of these or below one of them.
pub(crate) fn is_allowed(host: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|allowed| {
        let allowed = allowed.trim_start_matches("www.").to_lowercase();
        host == allowed || host.strip_suffix(allowed.as_str()).is_some_and(|before| before.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_however_they_are_written() {
        for (text, expected) in [
            ("see https://Example.com/a?b", "example.com"),
            ("see example.com", "example.com"),
            ("ＥＸＡＭＰＬＥ．ＣＯＭ", "example.com"),
            ("example。com", "example.com"),
            ("看example.com吧", "example.com"),
            ("加www.abc.zzz", "www.abc.zzz"),
            ("http://good.com@evil.net/", "evil.net"),
            ("(bit.ly/xyz)", "bit.ly"),
            ("go to 10.0.0.1", "10.0.0.1"),
            ("tg://join?x", "join"),
            ("http://host:8080/", "host"),
            ("abc.zzz/path", "abc.zzz"),
            ("例子.中国", "例子.中国"),
        ] {
            assert_eq!(hosts(text), [expected], "{text}");
        }
    }

    #[test]
    fn talk_is_no_link() {
        for text in
            ["3.14", "v1.2.3", "wait...what", "end.Then", "好的。在吗", "1.5 co", "a/b", "he said: no", "5:3", "ok."]
        {
            assert_eq!(hosts(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn hosts_below_an_allowed_one_are_allowed_and_those_that_look_like_it_are_not() {
        let allowed = ["example.com".to_owned()];
        for (host, expected) in [
            ("example.com", true),
            ("www.example.com", true),
            ("example.com.evil.net", false),
            ("badexample.com", false),
            ("com", false),
        ] {
            assert_eq!(is_allowed(host, &allowed), expected, "{host}");
        }
    }
}
