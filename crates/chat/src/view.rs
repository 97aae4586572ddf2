//! Answers of the rules in their wire form. Called by the gateway and the API.

use protocol::chat::{ChangeJson, MessageJson, Page, PresenceJson};

use crate::{PresenceOf, Synced};

impl<'a> From<&'a Synced> for Page<'a> {
    fn from(Synced { page, latest_id }: &'a Synced) -> Self {
        Self {
            messages: page.messages.iter().map(MessageJson).collect(),
            latest_id: *latest_id,
            changes: page.changes.iter().map(ChangeJson::from).collect(),
            latest_change: page.latest_change,
            more: page.more,
            expired: page.expired,
        }
    }
}

impl<'a> From<&'a PresenceOf> for PresenceJson<'a> {
    fn from(of: &'a PresenceOf) -> Self {
        Self::new(&of.user_id, of.online, of.last_seen_ms)
    }
}
