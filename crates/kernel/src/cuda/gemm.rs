//! Matrix products of row-major matrices by cuBLAS, summed in f32.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::{result, sys};
use candle_core::{CudaDevice, DType, Result, bail};

use super::{int, trace};

/// A row-major factor: where it lies and how far it is from one row to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    pub address: u64,
    pub ld: usize,
    /// What lies there is the transpose of what is meant.
    pub transposed: bool,
}

impl Factor {
    pub(super) fn new(address: u64, ld: usize) -> Self {
        Self { address, ld, transposed: false }
    }

    pub(super) fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn operation(self) -> sys::cublasOperation_t {
        if self.transposed { sys::cublasOperation_t::CUBLAS_OP_T } else { sys::cublasOperation_t::CUBLAS_OP_N }
    }
}

/// Where a product goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub address: u64,
    pub ld: usize,
    pub dtype: DType,
    /// The product is added to what is there.
    pub add: bool,
}

fn kind(dtype: DType) -> Result<sys::cudaDataType_t> {
    match dtype {
        DType::F32 => Ok(sys::cudaDataType_t::CUDA_R_32F),
        DType::BF16 => Ok(sys::cudaDataType_t::CUDA_R_16BF),
        other => bail!("no matrix products of {other:?}"),
    }
}

/// `c [m, n] = a [m, k] b [k, n]`; the factors hold `dtype`. Its bits depend on the shapes alone: one handle, one stream.
///
/// # Errors
/// Errors of cuBLAS.
pub(super) fn product(device: &CudaDevice, dtype: DType, [m, n, k]: [usize; 3], a: Factor, b: Factor, c: Target) -> Result<()> {
    if m == 0 || n == 0 {
        return Ok(());
    }
    let blas = device.cublas_handle();
    let (alpha, beta) = (1f32, if c.add { 1f32 } else { 0f32 });
    let asked = || {
        // cuBLAS counts by columns: what it sees are the transposes, and (a b)ᵀ = bᵀ aᵀ. SAFETY: the addresses are those of live
        // buffers that hold matrices of these sizes, which the callers see to; scale factors are f32 on the host, as the compute
        // type wants them.
        unsafe {
            result::gemm_ex(
                *blas.handle(),
                b.operation(),
                a.operation(),
                int(n)?,
                int(m)?,
                int(k)?,
                (&raw const alpha).cast(),
                b.address as *const _,
                kind(dtype)?,
                int(b.ld)?,
                a.address as *const _,
                kind(dtype)?,
                int(a.ld)?,
                (&raw const beta).cast(),
                c.address as *mut _,
                kind(c.dtype)?,
                int(c.ld)?,
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                // Not `DEFAULT_TENSOR_OP`, which may let cuBLAS round f32 on the way into tensor cores; bf16 gets them by default.
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .w()
    };
    // A long sum of few numbers is a weight's gradient, for which the library has to split it.
    let class = if k > m.max(n) { "cuBLAS product, long sums" } else { "cuBLAS product" };
    trace::timed(device, class, asked)
}
