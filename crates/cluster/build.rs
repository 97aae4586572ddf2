//! Generates the part of etcd's API that the cluster's membership speaks.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}/etcd");
    tonic_prost_build::configure().build_server(false).compile_fds(protox::compile(["etcd/etcd.proto"], [root])?)?;
    Ok(())
}
