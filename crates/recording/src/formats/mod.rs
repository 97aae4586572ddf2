//! One file a format. `xml` and `json` know the shape of a document, the others what one entry means.

pub(crate) mod bilibili;
pub(crate) mod bilibili_pb;
pub(crate) mod comment;
pub(crate) mod csv;
pub(crate) mod dandanplay;
pub(crate) mod dplayer;
pub(crate) mod json;
mod json_mend;
pub(crate) mod niconico;
pub(crate) mod twitch;
pub(crate) mod xml;
pub(crate) mod youtube;
