//! With the feature `cuda`: compiles the CUDA kernels of `src/cuda` to PTX, which the program carries. Needs `nvcc`, but no
//! GPU. Without the feature it does nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const KERNELS: &str = "src/cuda";

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    for name in ["CUDA_HOME", "CUDA_COMPUTE_CAP", "NVCC"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed={KERNELS}");
    // 80 makes PTX that every GPU since Ampere translates when it is loaded.
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".to_owned());
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo has not set OUT_DIR")?);
    let entries = fs::read_dir(KERNELS).map_err(|error| format!("{KERNELS}: {error}"))?;
    let mut sources: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    sources.sort();
    for source in sources {
        let ptx = out.join(source.with_extension("ptx").file_name().ok_or("a kernel without a name")?);
        compile(&source, &ptx, &capability)?;
    }
    Ok(())
}

fn compile(source: &Path, ptx: &Path, capability: &str) -> Result<(), String> {
    let nvcc = nvcc();
    let output = Command::new(&nvcc)
        .args(["-ptx", "-O3", "-std=c++17", &format!("-arch=compute_{capability}"), "-o"])
        .args([ptx, source])
        .output()
        .map_err(|error| format!("{}: {error}; the feature `cuda` needs a CUDA toolkit (CUDA_HOME)", nvcc.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{} does not compile:\n{}", source.display(), String::from_utf8_lossy(&output.stderr)))
}

fn nvcc() -> PathBuf {
    let of_home = || env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc")).filter(|path| path.exists());
    env::var_os("NVCC").map(PathBuf::from).or_else(of_home).unwrap_or_else(|| "nvcc".into())
}
