//! Generates the Rust types of `proto/barrage/record/v1/record.proto`, which the feature `redis` needs.

#[cfg(feature = "redis")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}/barrage/record");
    let files = protox::compile(["barrage/record/v1/record.proto"], [root])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}

#[cfg(not(feature = "redis"))]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
}
