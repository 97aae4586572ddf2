//! Files of comments, clean and dirty.

mod dirty_xml;
mod endless;
mod formats;
mod hostile;
mod properties;
