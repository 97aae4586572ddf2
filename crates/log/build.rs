//! Generates the Rust types of records as other nodes read them.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}/barrage/record");
    let schemas = ["barrage/record/v1/record.proto", "barrage/record/v1/people.proto"];
    prost_build::Config::new().compile_fds(protox::compile(schemas, [root])?)?;
    Ok(())
}
