//! Compiles `proto/barrage/v1/client.proto` into the descriptors that Protobuf is read and written by.

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}");
    let schema = protox::compile(["barrage/v1/client.proto"], [root])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("client.binpb");
    std::fs::write(out, schema.encode_to_vec())?;
    Ok(())
}
