//! Generates the Rust types of the records, the services between roles, and the part of etcd's API that is spoken.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}/barrage/record");
    println!("cargo:rerun-if-changed={root}/barrage/cluster");
    println!("cargo:rerun-if-changed={root}/etcd");
    let ours = ["barrage/record/v1/record.proto", "barrage/record/v1/people.proto", "barrage/cluster/v1/cluster.proto"];
    let ours = protox::compile(ours, [root])?;
    // A batch is encoded once and shared by the streams of all gateways.
    tonic_prost_build::configure().bytes(".barrage.cluster.v1.PushRequest").compile_fds(ours)?;
    // Nobody here is an etcd.
    tonic_prost_build::configure().build_server(false).compile_fds(protox::compile(["etcd/etcd.proto"], [root])?)?;
    Ok(())
}
