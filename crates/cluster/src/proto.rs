//! The generated types of `proto/etcd`: the part of etcd's API that membership speaks.
#![allow(missing_docs, clippy::all)]

pub(crate) mod etcd {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}
