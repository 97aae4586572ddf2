//! Generates the Rust types of `proto/barrage/v1/client.proto`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}");
    let files = protox::compile(["barrage/v1/client.proto"], [root])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
