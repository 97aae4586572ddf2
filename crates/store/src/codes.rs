//! The numbers by which every backend stores enumerations.
//!
//! They are in the databases of all users: a number keeps its meaning for ever, and a new variant takes a new number.

use model::chat::{ChangeKind, GroupRole, Reaction};
use model::{Kind, Level, Mode, MsgType, Size};

use crate::erasure::ErasureStatus;
use crate::{BanKind, ReviewStatus, WordList};

/// An enumeration with a number for each variant that never changes.
pub(crate) trait StableCode: Copy {
    /// The number in the database.
    fn code(self) -> i64;
    /// The variant of a number.
    fn from_code(code: i64) -> Option<Self>;
}

macro_rules! stable_codes {
    ($type:ident { $($variant:ident = $code:literal),+ }) => {
        impl StableCode for $type {
            fn code(self) -> i64 {
                match self { $(Self::$variant => $code),+ }
            }
            fn from_code(code: i64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

stable_codes!(Level { Normal = 0, Vip = 1, Owner = 2, Moderator = 3, Admin = 4 });
stable_codes!(Mode { Scroll = 0, Top = 1, Bottom = 2 });
stable_codes!(Size { Small = 0, Normal = 1, Large = 2 });
stable_codes!(Kind { Comment = 0, Imported = 1, Recorded = 2 });
stable_codes!(ReviewStatus { Pending = 0, Approved = 1, Rejected = 2, Delayed = 3 });
stable_codes!(ErasureStatus { Running = 0, Done = 1, Failed = 2 });
stable_codes!(BanKind { Ban = 0, Mute = 1 });
stable_codes!(WordList { Mask = 0, Review = 1, Block = 2 });
stable_codes!(MsgType { Text = 0, Image = 1, Video = 2, File = 3, Encrypted = 4 });
stable_codes!(GroupRole { Member = 0, Admin = 1, Owner = 2 });
stable_codes!(ChangeKind { Recalled = 0, Read = 1, Edited = 2, Reacted = 3 });

/// The counts of a message's reactions as both backends store them: `[["👍", 2], …]`; nothing when there are none.
pub(crate) fn reactions_to_json(reactions: &[Reaction]) -> Option<String> {
    let pairs: Vec<(&str, u32)> = reactions.iter().map(|reaction| (&*reaction.emoji, reaction.count)).collect();
    // Pairs of text and number always have a JSON form.
    (!pairs.is_empty()).then(|| serde_json::to_string(&pairs).unwrap_or_default())
}

/// Back from [`reactions_to_json`].
pub(crate) fn reactions_from_json(json: &str) -> Box<[Reaction]> {
    let pairs: Vec<(Box<str>, u32)> = serde_json::from_str(json).unwrap_or_default();
    pairs.into_iter().map(|(emoji, count)| Reaction { emoji, count }).collect()
}
