//! The languages of moderation services: how a call is written and its answer read, as a template in TOML.
//!
//! Pure. Those in `dialects/` are built in; an operator may name a file of their own. [`super::Hook`] posts what
//! [`Dialect::calls`] gives and passes the answer to [`Dialect::opinions`]. Texts are filled in as JSON values, so that no
//! text can change the document around it.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::moderation::Verdict;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};
use store::LabelScore;
use url::Url;

use super::provider_sign::{self, Sign};
use super::wire::{Item, LABELS_MAX, Opinion};

/// The name of the hook's own language, which needs no template.
pub const OWN: &str = "barrage";
/// The templates that are built in.
const BUILT_IN: [(&str, &str); 6] = [
    ("openai", include_str!("dialects/openai.toml")),
    ("azure", include_str!("dialects/azure.toml")),
    ("perspective", include_str!("dialects/perspective.toml")),
    ("aliyun", include_str!("dialects/aliyun.toml")),
    ("tencent", include_str!("dialects/tencent.toml")),
    ("ivs", include_str!("dialects/ivs.toml")),
];
/// What a template may name of a comment; `texts` is the list of a whole batch.
const PLACES: [&str; 9] = ["text", "raw_text", "text_base64", "texts", "id", "room_id", "user_id", "user_name", "kind"];

/// Why there is no such dialect.
#[derive(Debug, thiserror::Error)]
pub enum DialectError {
    /// Neither built in nor a file.
    #[error("{0}: no dialect of that name, and no file: {1}")]
    Unknown(String, std::io::Error),
    /// The template does not parse; the message has its line.
    #[error("{0}: {1}")]
    Template(String, toml::de::Error),
    /// The template parses, and means nothing.
    #[error("{0}: {1}")]
    Meaningless(String, String),
}

/// A template.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// One call for a batch, with the answers in its order.
    #[serde(default)]
    batch: bool,
    /// The body is a form; lists and tables in it are JSON.
    #[serde(default)]
    form: bool,
    /// Longer texts are cut.
    #[serde(default = "chars_max")]
    chars_max: usize,
    #[serde(default)]
    headers: HashMap<String, String>,
    #[serde(default)]
    sign: Option<Sign>,
    body: Map<String, Value>,
    answer: Answer,
}

/// Where things are in an answer, as JSON pointers (RFC 6901).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// The list of a batch's answers.
    items: Option<String>,
    /// What a good answer has.
    expect: Option<Expect>,
    /// What a good answer has not.
    absent: Option<String>,
    /// An object from name to score, or a list.
    labels: Option<String>,
    label_name: Option<String>,
    label_score: Option<String>,
    /// The score that means 1.
    #[serde(default = "one")]
    label_scale: f64,
    verdict: Option<String>,
    #[serde(default)]
    verdicts: HashMap<String, Verdict>,
    /// Another text than the one asked about masks it.
    text: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    at: String,
    is: Value,
}

fn chars_max() -> usize {
    2_000
}

fn one() -> f64 {
    1.0
}

/// One call of a service.
#[derive(Debug)]
pub(super) struct Call {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Dialect {
    /// The dialect of this name, or in this file; `None` for the hook's own.
    ///
    /// # Errors
    /// [`DialectError`].
    pub fn load(name: &str) -> Result<Option<Self>, DialectError> {
        if name == OWN {
            return Ok(None);
        }
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let text = built_in.map_or_else(|| std::fs::read_to_string(name), Ok);
        Self::parse(name, &text.map_err(|error| DialectError::Unknown(name.to_owned(), error))?).map(Some)
    }

    fn parse(name: &str, text: &str) -> Result<Self, DialectError> {
        let dialect: Self = toml::from_str(text).map_err(|error| DialectError::Template(name.to_owned(), error))?;
        match dialect.meaningless() {
            Some(why) => Err(DialectError::Meaningless(name.to_owned(), why)),
            None => Ok(dialect),
        }
    }

    /// What is wrong with a template that parses.
    fn meaningless(&self) -> Option<String> {
        let answer = &self.answer;
        if answer.labels.is_none() && answer.verdict.is_none() {
            return Some("answer needs labels or verdict".into());
        }
        if self.batch != answer.items.is_some() {
            return Some("batch and answer.items go together".into());
        }
        if answer.label_scale <= 0.0 {
            return Some("answer.label_scale must be positive".into());
        }
        let pointers = [&answer.items, &answer.absent, &answer.labels, &answer.label_name, &answer.label_score]
            .into_iter()
            .chain([&answer.verdict, &answer.text, &answer.reason])
            .flatten()
            .chain(answer.expect.iter().map(|expect| &expect.at));
        if let Some(pointer) = pointers.into_iter().find(|pointer| !pointer.starts_with('/')) {
            return Some(format!("{pointer:?} is no JSON pointer: it must begin with /"));
        }
        let mut unknown = None;
        self.body.values().for_each(|value| unknown_place(value, &mut unknown));
        if let Some(place) = unknown {
            return Some(format!("{{{place}}} is none of {}", PLACES.join(", ")));
        }
        let bad = |(name, value): &(&String, &String)| {
            HeaderName::try_from(name.as_str()).is_err() || HeaderValue::try_from(value.as_str()).is_err()
        };
        self.headers.iter().find(bad).map(|(name, _)| format!("headers.{name} is no header"))
    }

    /// The calls that ask about these items, each with the items that it asks about.
    pub(super) fn calls<'a>(
        &self,
        items: &'a [&'a Item],
        url: &Url,
        secret: &str,
        now_s: i64,
    ) -> Vec<(Call, &'a [&'a Item])> {
        let size = if self.batch { items.len().max(1) } else { 1 };
        items.chunks(size).map(|some| (self.call(some, url, secret, now_s), some)).collect()
    }

    fn call(&self, items: &[&Item], url: &Url, secret: &str, now_s: i64) -> Call {
        let filled = |value: &Value| self.fill(value, items);
        let fields = self.body.iter().map(|(key, value)| (key.clone(), filled(value)));
        let (kind, body) = if self.form {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (key, value) in fields {
                form.append_pair(&key, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
            ("application/x-www-form-urlencoded", form.finish())
        } else {
            ("application/json; charset=utf-8", Value::Object(fields.collect()).to_string())
        };
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        for (name, value) in &self.headers {
            let value = HeaderValue::try_from(value.replace("{secret}", secret));
            if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name.as_str()), value) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        let body = body.into_bytes();
        if let Some(sign) = &self.sign {
            provider_sign::sign(sign, secret, url, &body, now_s, &mut headers);
        }
        Call { headers, body }
    }

    fn fill(&self, value: &Value, items: &[&Item]) -> Value {
        match value {
            Value::String(text) if text == "{texts}" => {
                items.iter().map(|item| Value::String(self.cut(&item.text))).collect()
            }
            Value::String(text) => Value::String(self.fill_text(text, items)),
            Value::Array(list) => list.iter().map(|value| self.fill(value, items)).collect(),
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), self.fill(value, items))).collect(),
            other => other.clone(),
        }
    }

    fn fill_text(&self, text: &str, items: &[&Item]) -> String {
        let Some(item) = items.first() else { return text.to_owned() };
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, place, after)) = next_place(rest) {
            filled.push_str(before);
            filled.push_str(&match place {
                "text" => self.cut(&item.text),
                "raw_text" => self.cut(&item.raw_text),
                "text_base64" => STANDARD.encode(self.cut(&item.text)),
                "id" => item.id.to_string(),
                "room_id" => item.room_id.as_ref().map(ToString::to_string).unwrap_or_default(),
                "user_id" => item.user.id.to_string(),
                "user_name" => item.user.name.clone(),
                _ => item.kind.as_str().to_owned(),
            });
            rest = after;
        }
        filled + rest
    }

    fn cut(&self, text: &str) -> String {
        text.chars().take(self.chars_max).collect()
    }

    /// The opinions of an answer about these items, in their order; `None` when it is no answer.
    pub(super) fn opinions(&self, body: &[u8], items: &[&Item]) -> Option<Vec<Opinion>> {
        let document: Value = serde_json::from_slice(body).ok()?;
        let answer = &self.answer;
        if answer.expect.as_ref().is_some_and(|expect| document.pointer(&expect.at) != Some(&expect.is)) {
            return None;
        }
        let refused = answer.absent.as_ref().and_then(|at| document.pointer(at));
        if refused.is_some_and(|value| !value.is_null()) {
            return None;
        }
        match &answer.items {
            None => Some(vec![self.opinion(&document, items.first()?)?]),
            Some(at) => {
                let list = document.pointer(at)?.as_array().filter(|list| list.len() == items.len())?;
                list.iter().zip(items).map(|(value, item)| self.opinion(value, item)).collect()
            }
        }
    }

    fn opinion(&self, value: &Value, item: &Item) -> Option<Opinion> {
        let answer = &self.answer;
        let text_at = |at: &Option<String>| at.as_ref().and_then(|at| value.pointer(at)?.as_str());
        let mut verdict = match &answer.verdict {
            Some(at) => Some(*answer.verdicts.get(value.pointer(at)?.as_str()?)?),
            None => None,
        };
        let labels = match &answer.labels {
            Some(at) => self.labels(value.pointer(at), verdict.is_some())?,
            None => Vec::new(),
        };
        let other = text_at(&answer.text).filter(|text| *text != self.cut(&item.text)).map(str::to_owned);
        if other.is_some() && verdict.is_none_or(|verdict| verdict == Verdict::Allow) {
            verdict = Some(Verdict::Mask);
        }
        let reason = text_at(&answer.reason).filter(|reason| !reason.is_empty()).map(str::to_owned);
        Some(Opinion { verdict, text: other, labels, reason, ttl_s: None })
    }

    /// The labels with a score. Without a verdict they are the answer and must be there.
    fn labels(&self, found: Option<&Value>, decided: bool) -> Option<Vec<LabelScore>> {
        let answer = &self.answer;
        let score = |value: &Value| {
            let score = answer.label_score.as_ref().map_or(Some(value), |at| value.pointer(at))?.as_f64()?;
            Some((score / answer.label_scale).clamp(0.0, 1.0))
        };
        let label = |name: &str, value: &Value| score(value).map(|score| LabelScore { name: name.to_owned(), score });
        let labels = match found {
            Some(Value::Object(map)) => {
                map.iter().filter_map(|(name, value)| label(name, value)).take(LABELS_MAX).collect()
            }
            Some(Value::Array(list)) => {
                let named = list.iter().filter_map(|value| {
                    let name = answer.label_name.as_ref().map_or(Some(value), |at| value.pointer(at))?;
                    label(name.as_str()?, value)
                });
                named.take(LABELS_MAX).collect()
            }
            None | Some(Value::Null) if decided => Vec::new(),
            _ => return None,
        };
        Some(labels)
    }
}

/// What stands before the next `{place}`, the place, and what stands after it.
fn next_place(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (place, after) = rest.split_once('}')?;
    Some((before, place, after))
}

fn unknown_place(value: &Value, unknown: &mut Option<String>) {
    match value {
        Value::String(text) => {
            let mut rest = text.as_str();
            while let Some((_, place, after)) = next_place(rest) {
                if !PLACES.contains(&place) || (place == "texts" && text != "{texts}") {
                    unknown.get_or_insert_with(|| place.to_owned());
                }
                rest = after;
            }
        }
        Value::Array(list) => list.iter().for_each(|value| unknown_place(value, unknown)),
        Value::Object(map) => map.values().for_each(|value| unknown_place(value, unknown)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use model::{Level, RoomId, Snowflake, UserId};
    use serde_json::json;

    use super::super::wire::{ItemKind, ItemUser};
    use super::*;

    fn item(id: u64, text: &str) -> Item {
        Item {
            id: Snowflake(id),
            kind: ItemKind::Comment,
            room_id: RoomId::new("lobby").ok(),
            user: ItemUser {
                id: UserId::new("ann").expect("an id"),
                name: "Ann".into(),
                level: Level::Normal,
                roles: Vec::new(),
                first_seen: String::new(),
            },
            text: text.into(),
            raw_text: text.into(),
            client_ip_hash: None,
            context: Vec::new(),
        }
    }

    fn dialect(name: &str) -> Dialect {
        Dialect::load(name).expect("it parses").expect("a template")
    }

    fn asked(name: &str, texts: &[&str]) -> Vec<Value> {
        let items: Vec<_> = (1..).zip(texts).map(|(id, text)| item(id, text)).collect();
        let items: Vec<_> = items.iter().collect();
        let url = Url::parse("https://example.com/").expect("a URL");
        let calls = dialect(name).calls(&items, &url, "the-id:the-secret-key", 1_700_000_000);
        calls.iter().map(|(call, _)| serde_json::from_slice(&call.body).expect("JSON")).collect()
    }

    fn said(name: &str, text: &str, answer: &Value) -> Option<Opinion> {
        let item = item(1, text);
        dialect(name).opinions(answer.to_string().as_bytes(), &[&item]).map(|mut all| all.remove(0))
    }

    fn scores(opinion: &Opinion) -> Vec<(&str, f64)> {
        opinion.labels.iter().map(|label| (label.name.as_str(), label.score)).collect()
    }

    #[test]
    fn a_batch_is_one_call_where_the_service_takes_lists() {
        assert_eq!(
            asked("openai", &["one", "\"},{"]),
            [json!({ "model": "omni-moderation-latest", "input": ["one", "\"},{"] })]
        );
        assert_eq!(asked("azure", &["one", "two"]).len(), 2);
        let (one, two) = (item(1, "one"), item(2, "two"));
        let score = |score: f64| json!({ "flagged": false, "category_scores": { "hate": score } });
        let answer = json!({ "id": "m", "results": [score(0.25), score(0.75)] }).to_string();
        let read = dialect("openai").opinions(answer.as_bytes(), &[&one, &two]).expect("an answer");
        assert_eq!(read.iter().map(scores).collect::<Vec<_>>(), [[("hate", 0.25)], [("hate", 0.75)]]);
        assert!(dialect("openai").opinions(answer.as_bytes(), &[&one]).is_none(), "one answer too many");
    }

    #[test]
    fn each_services_published_answers_are_read() {
        let azure = json!({ "blocklistsMatch": [], "categoriesAnalysis": [{ "category": "Hate", "severity": 6 },
            { "category": "Violence", "severity": 0 }] });
        assert_eq!(scores(&said("azure", "x", &azure).expect("read")), [("Hate", 1.0), ("Violence", 0.0)]);
        let perspective = json!({ "attributeScores": { "INSULT": { "spanScores": [],
            "summaryScore": { "value": 0.5, "type": "PROBABILITY" } } }, "languages": ["en"] });
        assert_eq!(scores(&said("perspective", "x", &perspective).expect("read")), [("INSULT", 0.5)]);
        let aliyun = json!({ "Code": 200, "Data": { "RiskLevel": "high",
            "Result": [{ "Label": "political_entity", "Confidence": 100.0 }, { "Label": "nonLabel" }] } });
        assert_eq!(scores(&said("aliyun", "x", &aliyun).expect("read")), [("political_entity", 1.0)]);
        let tencent = json!({ "Response": { "Suggestion": "Block", "Label": "Abuse", "Score": 90,
            "DetailResults": [{ "Label": "Abuse", "Suggestion": "Block", "Score": 90 }], "RequestId": "r" } });
        let read = said("tencent", "x", &tencent).expect("read");
        assert_eq!((read.verdict, read.reason.as_deref()), (Some(Verdict::Deny), Some("Abuse")));
        assert_eq!(scores(&read), [("Abuse", 0.9)]);
        let ivs = |result: &str, text: &str| json!({ "ReviewResult": result, "Content": text, "Attributes": {} });
        assert_eq!(said("ivs", "x", &ivs("ALLOW", "x")).expect("read").verdict, Some(Verdict::Allow));
        assert_eq!(said("ivs", "x", &ivs("DENY", "x")).expect("read").verdict, Some(Verdict::Deny));
        let masked = said("ivs", "rude", &ivs("ALLOW", "r***")).expect("read");
        assert_eq!((masked.verdict, masked.text.as_deref()), (Some(Verdict::Mask), Some("r***")));
    }

    #[test]
    fn errors_and_lies_are_no_answers() {
        for (name, answer) in [
            ("openai", json!({ "error": { "message": "no quota", "type": "insufficient_quota" } })),
            ("azure", json!({ "error": { "code": "InvalidRequestBody" } })),
            ("aliyun", json!({ "Code": 408, "Message": "Permission denied" })),
            ("tencent", json!({ "Response": { "Error": { "Code": "AuthFailure" }, "RequestId": "r" } })),
            ("tencent", json!({ "Response": { "Suggestion": "Maybe" } })),
            ("ivs", json!({ "ReviewResult": 1 })),
            ("perspective", json!([])),
        ] {
            assert!(said(name, "x", &answer).is_none(), "{name} {answer}");
        }
        assert!(dialect("ivs").opinions(b"<html>", &[&item(1, "x")]).is_none());
    }

    #[test]
    fn texts_are_values_and_cut_to_what_the_service_takes() {
        assert_eq!(asked("tencent", &["hello"])[0]["Content"], "aGVsbG8=");
        let hostile = "{id}\",\"x\":\"";
        assert_eq!(asked("azure", &[hostile])[0]["text"], hostile, "what a text names is not filled in");
        assert_eq!(asked("azure", &["长".repeat(20_000).as_str()])[0]["text"], "长".repeat(10_000));
    }

    #[test]
    fn a_template_that_means_nothing_is_refused() {
        let refused = |text: &str| Dialect::parse("t.toml", text).expect_err(text).to_string();
        assert!(refused("batch = tru\n").contains("line 1"), "{}", refused("batch = tru\n"));
        for (text, why) in [
            ("[body]\na = \"{txt}\"\n[answer]\nverdict = \"/v\"\n", "{txt}"),
            ("[body]\n[answer]\n", "labels or verdict"),
            ("batch = true\n[body]\n[answer]\nverdict = \"/v\"\n", "answer.items"),
            ("[body]\n[answer]\nverdict = \"v\"\n", "JSON pointer"),
            ("[body]\n[answer]\nverdict = \"/v\"\nverdicts = { x = \"burn\" }\n", "burn"),
            ("[headers]\n\"a b\" = \"c\"\n[body]\n[answer]\nverdict = \"/v\"\n", "headers.a b"),
        ] {
            assert!(refused(text).contains(why), "{}", refused(text));
        }
        assert!(Dialect::load("/nowhere/x.toml").is_err());
        assert!(Dialect::load(OWN).expect("our own").is_none());
    }
}
