//! The generated types of `proto/barrage/record`, nested as their packages are. The schemas say what each field means.
#![allow(missing_docs, clippy::all)]

/// Records, batches of records, and notices to users.
pub mod record {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/barrage.record.v1.rs"));
    }
}
