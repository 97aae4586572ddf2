//! The audit trail of a database file that a server may be using, for a command beside it. Reads only, and takes no lock.

use std::path::Path;

use rusqlite::{Connection, Result};

use super::{moderation, samples, schema};
use crate::audit::AuditLine;
use crate::samples::{Sample, SampleQuery};

/// An open file.
pub struct AuditFile(Connection);

impl AuditFile {
    /// Opens the database at `path`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        schema::open_reader(path).map(Self)
    }

    /// The lines after one, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn lines(&self, after: i64, limit: usize) -> Result<Vec<AuditLine>> {
        moderation::audit_lines(&self.0, after, limit)
    }

    /// The number and the hash of the last line; `None` before the first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn head(&self) -> Result<Option<(i64, String)>> {
        moderation::audit_head(&self.0)
    }

    /// Samples of passed comments, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn samples(&self, query: &SampleQuery) -> Result<Vec<Sample>> {
        samples::samples(&self.0, query)
    }
}
