//! The kernels to PTX, by the compiler and for the card that candle's own are compiled by and for.

#[cfg(feature = "cuda")]
fn main() -> cudaforge::Result<()> {
    cudaforge::KernelBuilder::new().source_files(["src/kernels.cu"]).arg("-O3").build_ptx()?; // in $OUT_DIR/kernels.ptx
    Ok(())
}

#[cfg(not(feature = "cuda"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
