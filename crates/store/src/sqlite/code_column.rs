//! Enumerations as columns: their [`StableCode`].

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::codes::StableCode;

/// The number of an enumeration as a column's value.
pub(super) struct Code<T>(pub T);

impl<T: StableCode> ToSql for Code<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.code()))
    }
}

impl<T: StableCode> FromSql for Code<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let code = value.as_i64()?;
        T::from_code(code).map(Self).ok_or(FromSqlError::OutOfRange(code))
    }
}
