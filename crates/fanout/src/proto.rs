//! The generated types of `proto/barrage/cluster`: services between roles.
#![allow(missing_docs, clippy::all)]

/// The services between nodes.
pub mod cluster {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/barrage.cluster.v1.rs"));
    }
}
