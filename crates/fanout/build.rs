//! Generates the services that roles offer each other.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}/barrage/cluster");
    println!("cargo:rerun-if-changed={root}/barrage/record");
    let services = protox::compile(["barrage/cluster/v1/cluster.proto"], [root])?;
    // A batch is encoded once and shared by the streams of all gateways.
    tonic_prost_build::configure()
        .bytes(".barrage.cluster.v1.PushRequest")
        .extern_path(".barrage.record.v1", "::log::proto::record::v1")
        .compile_fds(services)?;
    Ok(())
}
