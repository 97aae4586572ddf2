//! Texts as people write them, and as evaders do.

mod evasions;
mod hostile;
mod properties;
mod texts;
