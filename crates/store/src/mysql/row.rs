//! Converts columns and parameters between the model's types and the database's.

use std::str::FromStr;

use model::Snowflake;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::mysql::MySqlRow;
use sqlx::{Error, Result, Row};

use crate::codes::StableCode;

/// A number as the database's signed integer. Ids, positions and counts stay far below its maximum.
pub(super) fn int(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// Back from [`int`].
pub(super) fn uint(row: &MySqlRow, index: usize) -> Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(index)?).unwrap_or(0))
}

pub(super) fn id(row: &MySqlRow, index: usize) -> Result<Snowflake> {
    uint(row, index).map(Snowflake)
}

pub(super) fn optional_id(row: &MySqlRow, index: usize) -> Result<Option<Snowflake>> {
    let id: Option<i64> = row.try_get(index)?;
    Ok(id.map(|id| Snowflake(u64::try_from(id).unwrap_or(0))))
}

pub(super) fn flag(row: &MySqlRow, index: usize) -> Result<bool> {
    Ok(row.try_get::<i16, _>(index)? != 0)
}

/// The number of an enumeration.
pub(super) fn code<T: StableCode>(value: T) -> i16 {
    i16::try_from(value.code()).unwrap_or(i16::MAX)
}

pub(super) fn coded<T: StableCode>(row: &MySqlRow, index: usize) -> Result<T> {
    let number: i16 = row.try_get(index)?;
    T::from_code(number.into()).ok_or_else(|| unreadable(index, format!("an unknown number {number}").into()))
}

/// A text column, parsed into its type.
pub(super) fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &MySqlRow,
    index: usize,
) -> Result<T> {
    row.try_get::<&str, _>(index)?.parse().map_err(|error| unreadable(index, Box::new(error)))
}

/// A text column that may be null, parsed into its type.
pub(super) fn optional_parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &MySqlRow,
    index: usize,
) -> Result<Option<T>> {
    match row.try_get::<Option<&str>, _>(index)? {
        None => Ok(None),
        Some(_) => parsed(row, index).map(Some),
    }
}

/// A text that is compared byte by byte, and so stored as bytes.
pub(super) fn text(row: &MySqlRow, index: usize) -> Result<Box<str>> {
    let text = String::from_utf8(row.try_get(index)?).map_err(|error| unreadable(index, Box::new(error)))?;
    Ok(text.into())
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Encode(Box::new(error)))
}

/// A JSON column that may be null.
pub(super) fn from_json<T: DeserializeOwned>(row: &MySqlRow, index: usize) -> Result<Option<T>> {
    let text: Option<&str> = row.try_get(index)?;
    text.map(serde_json::from_str).transpose().map_err(|error| unreadable(index, Box::new(error)))
}

pub(super) fn unreadable(index: usize, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::ColumnDecode { index: index.to_string(), source }
}
