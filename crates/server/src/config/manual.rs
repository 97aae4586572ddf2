//! The manual: every setting with its meaning and default, as TOML. `barrage default-config` prints it, and a test holds
//! `config/default.toml` against it.

use std::fmt::Write as _;

use settings::{HEAD, SECTIONS};
use toml::Value;

/// Longer lists take several lines.
const LINE_MAX: usize = 120;

/// `config/default.toml`.
pub fn manual() -> String {
    let mut text = HEAD.to_owned();
    for section in SECTIONS {
        // A section that turns something on would do so here as well.
        let off = if section.is_optional { "# " } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n{off}[{}]", section.name);
        for key in section.keys {
            key.doc.iter().for_each(|line| text.extend(["#", line, "\n"]));
            let _ = writeln!(text, "{off}{} = {}", key.name, written(&(key.default)()));
        }
    }
    text
}

fn written(value: &Value) -> String {
    let line = value.to_string();
    match value {
        Value::Array(items) if line.len() > LINE_MAX => {
            let items: Vec<_> = items.iter().map(Value::to_string).collect();
            // Four media types a line are easy to read.
            let lines: String = items.chunks(4).map(|items| format!("  {},\n", items.join(", "))).collect();
            format!("[\n{lines}]")
        }
        _ => line,
    }
}
