//! The limits and windows of chat, as configured.

/// The defaults are the contract's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Characters of a message.
    pub content_chars_max: u32,
    /// Bytes of an encrypted message's envelope.
    pub encrypted_bytes_max: u32,
    /// Messages a second of one user.
    pub messages_per_s: u32,
    /// Messages of one user at once.
    pub burst: u32,
    /// How long a message may be taken back, in seconds.
    pub recall_s: u32,
    /// Whether the store keeps what a recalled message said; no answer gives it in either case.
    pub recall_keeps_content: bool,
    /// Members of a group.
    pub group_members_max: u32,
    /// How far back sync goes, in days.
    pub offline_days: u32,
    /// How long messages are kept, in days; 0 is for ever. Not less than `offline_days` nor a week.
    pub history_days: u32,
    /// Whether direct messages are noted for the notification hook.
    pub hook_direct: bool,
    /// Whether messages to groups are noted for the notification hook.
    pub hook_group: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            content_chars_max: 4_000,
            encrypted_bytes_max: 65_536,
            messages_per_s: 20,
            burst: 100,
            recall_s: 120,
            recall_keeps_content: false,
            group_members_max: 500,
            offline_days: 7,
            history_days: 0,
            hook_direct: false,
            hook_group: false,
        }
    }
}
