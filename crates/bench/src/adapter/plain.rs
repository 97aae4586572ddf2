//! Plain WebSocket, and nchan's: a message is the comment.

use super::comment;
use crate::wire::Said;

/// One message.
pub fn read(message: &[u8], heard: &mut Vec<Said>) -> Result<(), String> {
    heard.push(comment(message));
    Ok(())
}
