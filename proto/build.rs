//! Compiles `xdt/v1/*.proto` with protox, so that no `protoc` has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=xdt");
    let descriptors = protox::compile(
        ["xdt/v1/transfer.proto", "xdt/v1/local.proto", "xdt/v1/node.proto"],
        ["."],
    )?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
