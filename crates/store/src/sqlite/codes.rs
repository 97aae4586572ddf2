//! The numbers by which enumerations are written to the database, whichever it is. They are in every user's:
//! a number once given keeps its meaning for ever, and a new variant takes a new number.

use model::chat::{ChangeKind, GroupRole};
use model::{Kind, Level, Mode, MsgType, Size};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::{BanKind, ReviewStatus, WordList};

/// An enumeration whose numbers are pinned.
pub(crate) trait Pinned: Copy {
    /// The number in the file.
    fn code(self) -> i64;
    /// The variant of a number.
    fn from_code(code: i64) -> Option<Self>;
}

/// A pinned enumeration as a column's value.
pub(super) struct Code<T>(pub T);

impl<T: Pinned> ToSql for Code<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.code()))
    }
}

impl<T: Pinned> FromSql for Code<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let code = value.as_i64()?;
        T::from_code(code).map(Self).ok_or(FromSqlError::OutOfRange(code))
    }
}

macro_rules! pinned {
    ($type:ident { $($variant:ident = $code:literal),+ }) => {
        impl Pinned for $type {
            fn code(self) -> i64 {
                match self { $(Self::$variant => $code),+ }
            }
            fn from_code(code: i64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

pinned!(Level { Normal = 0, Vip = 1, Owner = 2, Moderator = 3, Admin = 4 });
pinned!(Mode { Scroll = 0, Top = 1, Bottom = 2 });
pinned!(Size { Small = 0, Normal = 1, Large = 2 });
pinned!(Kind { Comment = 0, Imported = 1, Recorded = 2 });
pinned!(ReviewStatus { Pending = 0, Approved = 1, Rejected = 2 });
pinned!(BanKind { Ban = 0, Mute = 1 });
pinned!(WordList { Mask = 0, Review = 1, Block = 2 });
pinned!(MsgType { Text = 0, Image = 1, Video = 2, File = 3, Encrypted = 4 });
pinned!(GroupRole { Member = 0, Admin = 1, Owner = 2 });
pinned!(ChangeKind { Recalled = 0, Read = 1 });
