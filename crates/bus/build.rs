//! Generates the Rust types of `proto/barrage/record/v1`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}/barrage/record");
    let files = protox::compile(["barrage/record/v1/record.proto", "barrage/record/v1/people.proto"], [root])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
