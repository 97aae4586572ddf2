//! What is in `deploy/`, the scripts and the pages of operators names settings, options and files that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::BIN;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Text files under these places of the repository, with their names.
fn texts(places: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting: Vec<_> = places.iter().map(|place| root().join(place)).collect();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            found.push((path.strip_prefix(root()).unwrap().display().to_string(), text));
        }
    }
    assert!(found.len() >= places.len(), "{places:?}");
    found
}

fn printed(args: &[&str]) -> String {
    let output = Command::new(BIN).args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Every setting, as `BARRAGE__SECTION__KEY`.
fn settings() -> BTreeSet<String> {
    let (mut names, mut section) = (BTreeSet::new(), String::new());
    for line in printed(&["default-config"]).lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_uppercase().replace('.', "__");
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            names.insert(format!("BARRAGE__{section}__{}", key.to_uppercase()));
        }
    }
    names
}

#[test]
fn every_setting_that_is_named_in_the_environment_exists() {
    let settings = settings();
    assert!(settings.contains("BARRAGE__AUTH__ADMIN_KEY") && settings.contains("BARRAGE__MODERATION__HOOK__URL"));
    let (mut named, mut unknown) = (0, Vec::new());
    for (file, text) in texts(&["deploy", ".github", "docs", "scripts", "config", "README.md", "README.zh-CN.md"]) {
        for (at, prefix) in text.match_indices("BARRAGE__") {
            let rest = text[at + prefix.len()..].chars();
            let name: String = rest.take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let name = format!("{prefix}{name}");
            // The general form, and a group of names.
            if name == "BARRAGE__SECTION__KEY" || name.ends_with("__") {
                continue;
            }
            named += 1;
            if !settings.contains(&name) {
                unknown.push(format!("{file}: {name}"));
            }
        }
    }
    assert!(named > 50, "the test finds names: {named}");
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

/// The help of a command, and of the command in it that the next word names.
fn help(cache: &mut BTreeMap<String, String>, words: &[&str]) -> String {
    let asked = |cache: &mut BTreeMap<String, String>, words: &[&str]| {
        let key = words.join(" ");
        cache.entry(key).or_insert_with(|| printed(&[words, &["--help"]].concat())).clone()
    };
    let outer = asked(cache, &words[..1]);
    let names = |word: &str| outer.lines().any(|line| line.split_whitespace().next() == Some(word));
    match words.get(1) {
        Some(inner) if inner.bytes().all(|byte| byte.is_ascii_lowercase()) && names(inner) => {
            format!("{outer}{}", asked(cache, &words[..2]))
        }
        _ => outer,
    }
}

#[test]
fn every_option_that_is_named_behind_a_command_exists() {
    let commands: BTreeSet<String> = {
        let all = printed(&["--help"]);
        let listed = all.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
        listed.map_while(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    };
    assert!(commands.contains("serve") && commands.contains("upgrade"), "{commands:?}");
    let (mut cache, mut named, mut unknown) = (BTreeMap::new(), 0, Vec::new());
    for (file, text) in texts(&["deploy", ".github", "docs", "scripts", "README.md", "README.zh-CN.md"]) {
        // A command line goes on behind a backslash.
        let text = text.replace("\\\n", " ");
        for line in text.lines() {
            let plain = line.replace(['"', ',', '[', ']', '\''], " ");
            let words: Vec<&str> = plain.split_whitespace().collect();
            for at in 0..words.len() {
                let program = words[at].trim_start_matches('`');
                let is_ours = program == "barrage" || program.ends_with("/barrage") || program == "args:";
                let Some(command) = words.get(at + 1).filter(|word| is_ours && commands.contains(**word)) else {
                    continue;
                };
                let ends = |word: &&&str| !matches!(**word, "|" | "&" | "&&" | ";" | "#" | "\\");
                let rest: Vec<&str> = words[at + 2..].iter().take_while(ends).copied().collect();
                let help = help(&mut cache, &[&[*command], &rest[..]].concat());
                for word in &rest {
                    let option = word.trim_start_matches('`').split(['=', '`']).next().unwrap_or_default();
                    let option = option.trim_end_matches(['.', ')', ':', ';', '(']);
                    if option.starts_with("--") && option.len() > 2 {
                        named += 1;
                        let exists = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|w| w == option);
                        if !exists {
                            unknown.push(format!("{file}: barrage {command} … {option}: {}", line.trim()));
                        }
                    }
                    // The end of what is set as code.
                    if word.trim_start_matches('`').contains('`') {
                        break;
                    }
                }
            }
        }
    }
    assert!(named > 40, "the test finds options: {named}");
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn every_file_that_the_release_names_is_there_and_every_version_is_this_one() {
    let version = env!("CARGO_PKG_VERSION");
    let mut missing = Vec::new();
    for (file, text) in
        texts(&[".github", "scripts/release", "scripts/package", "scripts/image", "scripts/test", "deploy"])
    {
        for place in ["scripts/", "deploy/", "bench/", "config/"] {
            for (at, _) in text.match_indices(place) {
                let is_start = text[..at].chars().next_back().is_none_or(|c| " \"'(=\n`".contains(c));
                let rest = text[at..].chars();
                let path: String = rest.take_while(|c| c.is_ascii_alphanumeric() || "/._-*".contains(*c)).collect();
                let path = path.trim_end_matches(['.', '/']);
                let exists = match path.split_once('*') {
                    Some((before, _)) => root().join(before).parent().is_some_and(Path::is_dir),
                    None => root().join(path).exists(),
                };
                if is_start && !exists {
                    missing.push(format!("{file}: {path}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    assert!(read("deploy/compose.yaml").contains(&format!("barrage:${{BARRAGE_VERSION:-{version}}}")));
    assert!(read("deploy/helm/barrage/Chart.yaml").contains(&format!("appVersion: \"{version}\"")));
    // The workflow reads the version as the first of Cargo.toml.
    let cargo = read("Cargo.toml");
    assert_eq!(cargo.lines().find(|line| line.starts_with("version = ")), Some(&*format!("version = \"{version}\"")));
}

#[test]
fn compose_declares_the_volumes_that_it_mounts() {
    let text = std::fs::read_to_string(root().join("deploy/compose.yaml")).unwrap();
    let (services, declared) = text.split_once("\nvolumes:\n").expect("volumes");
    let declared: BTreeSet<_> = declared.lines().map(|line| line.trim().trim_end_matches(':')).collect();
    let mounted: BTreeSet<_> =
        services.lines().filter_map(|line| line.trim().strip_prefix("volumes: [\"")?.split(':').next()).collect();
    assert_eq!(mounted, declared);
}

#[test]
fn the_configuration_of_the_chart_is_one_that_the_server_takes() {
    let values = std::fs::read_to_string(root().join("deploy/helm/barrage/values.yaml")).unwrap();
    let block = values.split_once("\nconfig: |\n").expect("a configuration").1;
    let toml: String =
        block.lines().map_while(|line| line.strip_prefix("  ")).map(|line| format!("{line}\n")).collect();
    assert!(toml.contains("[server]"), "{toml}");
    let dir = tempfile::tempdir().unwrap();
    // What the chart gives by the environment.
    let rest = "[auth]\nhmac_secret = \"0123456789abcdef\"\n[redis]\nurl = \"redis://redis:6379\"\n[store]\n\
        url = \"mysql://barrage@mysql/barrage\"\n[kafka]\nbrokers = \"kafka:9092\"\n";
    let toml = toml.replace("[nodes]\n", "[nodes]\nadvertise = \"10.0.0.7:7070\"\n");
    std::fs::write(dir.path().join("barrage.toml"), toml + rest).unwrap();
    let output = Command::new(BIN).arg("check-config").arg(dir.path().join("barrage.toml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
