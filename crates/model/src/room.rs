//! A room's settings, its state, and its live sessions.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::moderation::{Moderation, Pin, RoomRoles};
use crate::{RoomId, Snowflake, UserId};

/// Who may speak in a room. Owner, moderators of the room and admins always may, except under `Nobody`
/// where only admins and the owner do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speakers {
    /// Anyone with an identity.
    #[default]
    Everyone,
    /// VIPs and above.
    Vip,
    /// Owner, moderators and admins.
    Moderators,
    /// The room is silent but for its owner and admins.
    Nobody,
}

/// A room's own limits; what is absent follows the deployment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoomLimits {
    /// Comments a second one normal user may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub user_per_s: Option<u32>,
    /// Comments a second the whole room takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub room_per_s: Option<u32>,
    /// Characters of one comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_000)]
    pub comment_chars_max: Option<u32>,
    /// Comments a second one viewer is given at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub viewer_per_s_max: Option<u32>,
}

/// Everything that can be set about a room; the names are those of `PUT /admin/rooms/{room_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct RoomSettings {
    /// The shown name, 0–64 characters; empty means the room id is shown.
    #[schema(max_length = 64)]
    pub name: String,
    /// Who owns it and may moderate it.
    pub owner_id: Option<UserId>,
    /// What the viewer page plays.
    #[schema(max_length = 2_048, pattern = "^(https?://.+|/(?!/).*)$")]
    pub video_url: Option<String>,
    /// A disabled room can be neither entered nor spoken in.
    pub enabled: bool,
    /// A private room admits only tokens that name it, its owner and admins.
    pub private: bool,
    /// Larger is served first when workers lag.
    #[schema(minimum = -100, maximum = 100)]
    pub priority: i32,
    /// Who may speak.
    pub speakers: Speakers,
    /// Seconds between two comments of one normal or VIP user; 0 is off.
    #[schema(minimum = 0, maximum = 86_400)]
    pub slow_mode_s: u32,
    /// The room's own limits.
    pub limits: RoomLimits,
    /// Longest time a comment waits for company before it is sent, in milliseconds (0–100).
    #[schema(minimum = 0, maximum = 100)]
    pub window_ms_max: Option<u32>,
    /// Into how many groups viewers fall when the room sheds; each is given another sample.
    #[schema(minimum = 1, maximum = 64)]
    pub reader_groups: u16,
    /// Whether comments are kept at all.
    pub store: bool,
    /// Days until kept comments go to the archive or are removed; absent follows the deployment's.
    #[schema(minimum = 1, maximum = 36_500)]
    pub retention_days: Option<u32>,
    /// The rules that the room's owner switched on; `None` while there are none.
    #[serde(with = "crate::moderation::optional")]
    #[schema(value_type = Moderation)]
    pub moderation: Option<Box<Moderation>>,
    /// What `moderation` becomes when the shield goes down.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub unshielded: Option<Box<Moderation>>,
    /// Who has a role here; given with `PUT /admin/roles`.
    #[serde(skip_serializing_if = "RoomRoles::is_empty")]
    #[schema(ignore)]
    pub roles: RoomRoles,
    /// The pinned comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub pin: Option<Box<Pin>>,
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            owner_id: None,
            video_url: None,
            enabled: true,
            private: false,
            priority: 0,
            speakers: Speakers::Everyone,
            slow_mode_s: 0,
            limits: RoomLimits::default(),
            window_ms_max: None,
            reader_groups: 1,
            store: true,
            retention_days: None,
            moderation: None,
            unshielded: None,
            roles: RoomRoles::new(),
            pin: None,
        }
    }
}

/// A change of settings: absent fields stay, `null` clears what can be empty.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(default)]
#[allow(missing_docs)] // The fields are those of [`RoomSettings`].
pub struct RoomPatch {
    #[schema(max_length = 64)]
    pub name: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<UserId>)]
    pub owner_id: Option<Option<UserId>>,
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 2_048, pattern = "^(https?://.+|/(?!/).*)$")]
    pub video_url: Option<Option<String>>,
    pub enabled: Option<bool>,
    pub private: Option<bool>,
    #[schema(minimum = -100, maximum = 100)]
    pub priority: Option<i32>,
    pub speakers: Option<Speakers>,
    #[schema(minimum = 0, maximum = 86_400)]
    pub slow_mode_s: Option<u32>,
    pub limits: Option<RoomLimits>,
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 100)]
    pub window_ms_max: Option<Option<u32>>,
    #[schema(minimum = 1, maximum = 64)]
    pub reader_groups: Option<u16>,
    pub store: Option<bool>,
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 36_500)]
    pub retention_days: Option<Option<u32>>,
    /// Merged key by key; null removes.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<Moderation>)]
    pub moderation: Option<Option<Map<String, Value>>>,
}

/// Tells an explicit `null` (clear it) from an absent field (leave it).
fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

/// A setting out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {expected}")]
pub struct InvalidSetting {
    /// The field of `PUT /admin/rooms/{room_id}`.
    pub field: Cow<'static, str>,
    /// What was expected.
    pub expected: Cow<'static, str>,
}

impl RoomPatch {
    /// The settings with this change applied.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first field that is out of range; nothing is applied then.
    pub fn apply(self, to: &RoomSettings) -> Result<RoomSettings, InvalidSetting> {
        let settings = RoomSettings {
            name: self.name.unwrap_or_else(|| to.name.clone()),
            owner_id: self.owner_id.unwrap_or_else(|| to.owner_id.clone()),
            video_url: self.video_url.unwrap_or_else(|| to.video_url.clone()),
            enabled: self.enabled.unwrap_or(to.enabled),
            private: self.private.unwrap_or(to.private),
            priority: self.priority.unwrap_or(to.priority),
            speakers: self.speakers.unwrap_or(to.speakers),
            slow_mode_s: self.slow_mode_s.unwrap_or(to.slow_mode_s),
            limits: self.limits.unwrap_or(to.limits),
            window_ms_max: self.window_ms_max.unwrap_or(to.window_ms_max),
            reader_groups: self.reader_groups.unwrap_or(to.reader_groups),
            store: self.store.unwrap_or(to.store),
            retention_days: self.retention_days.unwrap_or(to.retention_days),
            moderation: to.moderation.clone(),
            unshielded: to.unshielded.clone(),
            roles: to.roles.clone(),
            pin: to.pin.clone(),
        };
        settings.check()?;
        match self.moderation {
            None => Ok(settings),
            Some(None) => Ok(RoomSettings { moderation: None, unshielded: None, ..settings }),
            Some(Some(changes)) => settings.with_moderation(&changes),
        }
    }
}

impl RoomSettings {
    /// These settings with changes of `moderation`. `shield` raises it with the usual preset, or lowers it; other keys
    /// also outlive a shield that is up.
    fn with_moderation(self, changes: &Map<String, Value>) -> Result<Self, InvalidSetting> {
        let mut changes = changes.clone();
        let shield = changes.remove("shield");
        let current = self.moderation.as_deref().cloned().unwrap_or_default();
        let shielded = match &self.unshielded {
            None => Self { moderation: boxed(current.merged(&changes)?), ..self },
            Some(below) => {
                let unshielded = Some(Box::new(below.merged(&changes)?));
                Self { moderation: boxed(current.merged(&changes)?), unshielded, ..self }
            }
        };
        match shield {
            None => Ok(shielded),
            Some(Value::Bool(true)) => shielded.shield(&Moderation::shield_preset()),
            Some(Value::Bool(false) | Value::Null) => Ok(shielded.without_shield()),
            Some(_) => Err(InvalidSetting { field: "moderation.shield".into(), expected: "true or false".into() }),
        }
    }

    /// These settings with the shield up: `preset` over `moderation`.
    ///
    /// # Errors
    /// Names the key of the preset that cannot be.
    pub fn shield(self, preset: &Map<String, Value>) -> Result<Self, InvalidSetting> {
        let below = self.unshielded.clone().or_else(|| self.moderation.clone()).unwrap_or_default();
        let mut above = below.merged(preset)?;
        above.shield = Some(true);
        Ok(Self { moderation: Some(Box::new(above)), unshielded: Some(below), ..self })
    }

    /// These settings with the shield down, as they were before.
    #[must_use]
    pub fn without_shield(self) -> Self {
        match self.unshielded {
            None => self,
            Some(below) => Self { moderation: boxed(*below), unshielded: None, ..self },
        }
    }

    fn check(&self) -> Result<(), InvalidSetting> {
        let wrong = |field: &'static str, expected: &'static str| {
            Err(InvalidSetting { field: field.into(), expected: expected.into() })
        };
        let positive = |limit: Option<u32>| limit.is_none_or(|n| (1..=1_000_000).contains(&n));
        if self.name.chars().count() > 64 {
            return wrong("name", "at most 64 characters");
        }
        if self.video_url.as_ref().is_some_and(|url| url.len() > 2048 || !is_web_url(url)) {
            return wrong("video_url", "an http(s) URL or a path of this site, at most 2048 bytes");
        }
        if !(-100..=100).contains(&self.priority) {
            return wrong("priority", "a number from -100 to 100");
        }
        if self.slow_mode_s > 86_400 {
            return wrong("slow_mode_s", "at most 86400 seconds");
        }
        if self.window_ms_max.is_some_and(|ms| ms > 100) {
            return wrong("window_ms_max", "at most 100 milliseconds");
        }
        if !(1..=64).contains(&self.reader_groups) {
            return wrong("reader_groups", "a number from 1 to 64");
        }
        if self.retention_days.is_some_and(|days| !(1..=36_500).contains(&days)) {
            return wrong("retention_days", "a number of days from 1 to 36500");
        }
        let RoomLimits { user_per_s, room_per_s, comment_chars_max, viewer_per_s_max } = self.limits;
        if !(positive(user_per_s) && positive(room_per_s) && positive(viewer_per_s_max)) {
            return wrong("limits", "rates from 1 to 1000000 a second");
        }
        if comment_chars_max.is_some_and(|n| !(1..=2_000).contains(&n)) {
            return wrong("limits.comment_chars_max", "a number from 1 to 2000");
        }
        Ok(())
    }
}

/// Absent rather than empty, so that a comment's way through a room without rules is one comparison.
fn boxed(moderation: Moderation) -> Option<Box<Moderation>> {
    (!moderation.is_empty()).then(|| Box::new(moderation))
}

/// A browser plays it or refuses it, but never runs it: no `javascript:` and the like.
fn is_web_url(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://") || (url.starts_with('/') && !url.starts_with("//"))
}

/// Where a room stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoomState {
    /// No live session.
    #[default]
    Idle,
    /// A session is being opened.
    Starting,
    /// A session is on.
    Live,
    /// A session is being closed.
    Closing,
}

/// One broadcast of a room, from open to close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Unique in the deployment.
    pub id: Snowflake,
    /// The room.
    pub room_id: RoomId,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// Unix milliseconds; `None` while it is on.
    pub ended_at_ms: Option<i64>,
    /// Whether somebody opened it, rather than the first comment of an unopened room.
    pub explicit: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: &str) -> RoomPatch {
        serde_json::from_str(json).expect("a patch")
    }

    #[test]
    fn absent_fields_stay_and_null_clears() {
        let before =
            patch(r#"{"name":"N","owner_id":"o","window_ms_max":20}"#).apply(&RoomSettings::default()).expect("valid");
        let after = patch(r#"{"owner_id":null,"slow_mode_s":3}"#).apply(&before).expect("valid");
        assert_eq!((after.name.as_str(), after.owner_id), ("N", None));
        assert_eq!((after.window_ms_max, after.slow_mode_s), (Some(20), 3));
    }

    #[test]
    fn a_shield_goes_up_and_comes_down_to_what_was_before() {
        let before = patch(r#"{"moderation":{"delay_s":3}}"#).apply(&RoomSettings::default()).expect("valid");
        let up = patch(r#"{"moderation":{"shield":true}}"#).apply(&before).expect("valid");
        let rules = up.moderation.as_deref().expect("rules");
        assert_eq!((rules.shield, rules.delay_s, rules.first_time.is_some()), (Some(true), Some(3), true));
        let changed = patch(r#"{"moderation":{"delay_s":4}}"#).apply(&up).expect("valid");
        let down = patch(r#"{"moderation":{"shield":false}}"#).apply(&changed).expect("valid");
        assert_eq!(
            down.moderation.as_deref().map(|rules| (rules.delay_s, rules.links.is_none())),
            Some((Some(4), true))
        );
        let off = patch(r#"{"moderation":{"delay_s":null}}"#).apply(&down).expect("valid");
        assert_eq!((off.moderation, off.unshielded), (None, None));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for (json, field) in [
            (r#"{"window_ms_max":101}"#, "window_ms_max"),
            (r#"{"reader_groups":0}"#, "reader_groups"),
            (r#"{"video_url":"javascript:alert(1)"}"#, "video_url"),
            (r#"{"limits":{"room_per_s":0}}"#, "limits"),
        ] {
            let error = patch(json).apply(&RoomSettings::default()).expect_err(json);
            assert_eq!(error.field, field);
        }
    }
}
