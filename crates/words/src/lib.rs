//! What may be written: the word filter, the cleaning of comments, and the keys under which texts count as the same.
//!
//! `ingest` cleans every comment ([`sanitise`]), looks for its duplicates ([`same_text_key`]) and asks the lists
//! ([`Filter::check`]); the streams merge by [`fold_key`]; the admin API validates lists and tries them on a room's history
//! ([`dry_run`]). Pure: no I/O, no clock, no logging. Everything is linear in the text and never panics on one.
//!
//! ```
//! use words::{Filter, Lists, Verdict};
//!
//! let lists = Lists { mask: vec!["敏感词".into()], ..Lists::default() };
//! let filter = Filter::build(&lists)?;
//! assert_eq!(filter.check("这是敏*感 词！"), Verdict::Masked("这是*****！".into()));
//! # Ok::<(), words::BuildError>(())
//! ```

mod dry_run;
mod filter;
mod fold;
mod index;
mod keys;
mod letters;
mod patterns;
mod sanitise;

pub use dry_run::{DryRun, SAMPLES_MAX, Sample, WordHits, dry_run};
pub use filter::{BuildError, ENTRY_BYTES_MAX, Filter, List, Lists, Verdict, WORD_CHARS_MAX, WORDS_MAX, validate_word};
pub use keys::{fold_key, normalise, same_text_key};
pub use patterns::{PATTERN_CHARS_MAX, PATTERNS_MAX};
pub use sanitise::{NAME_CHARS_MAX, clean_name, sanitise, sanitise_lines};
