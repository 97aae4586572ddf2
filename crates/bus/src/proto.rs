//! The generated types of `proto/`, nested as their packages are. The schemas say what each means.
#![allow(missing_docs, clippy::all)]

/// Records and batches of records.
pub mod record {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/barrage.record.v1.rs"));
    }
}

/// What roles say to each other.
pub mod cluster {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/barrage.cluster.v1.rs"));
    }
}

/// The part of etcd's API that is spoken.
pub(crate) mod etcd {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}
