// libcublas.so.13 of the host emulation: the matrix products that Candle and this crate ask for, column-major, summed in f32
// (f64 for f64), one rounding at the end.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <algorithm>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <library_types.h>

#include "engine.h"

namespace {
enum Status { OK = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum Compute { COMPUTE_16F = 64, COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69, COMPUTE_64F = 70, COMPUTE_64F_PEDANTIC = 71, FAST_16F = 74, FAST_16BF = 75, FAST_TF32 = 77 };
struct Handle { void *stream; int math; void *workspace; };

size_t width(int type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }
double read(const void *from, int type, int64_t at) {
    switch (type) {
        case CUDA_R_64F: return static_cast<const double *>(from)[at];
        case CUDA_R_32F: return double(static_cast<const float *>(from)[at]);
        case CUDA_R_16BF: return double(__bfloat162float(static_cast<const __nv_bfloat16 *>(from)[at]));
        default: return double(__half2float(static_cast<const __half *>(from)[at]));
    }
}
void write(void *to, int type, int64_t at, double value) {
    switch (type) {
        case CUDA_R_64F: static_cast<double *>(to)[at] = value; break;
        case CUDA_R_32F: static_cast<float *>(to)[at] = float(value); break;
        case CUDA_R_16BF: static_cast<__nv_bfloat16 *>(to)[at] = __float2bfloat16(float(value)); break;
        default: static_cast<__half *>(to)[at] = __float2half(float(value));
    }
}
// rows x columns of op(X) as a plain row-major array: the product's inner loop is then over neighbours.
template <typename T> std::vector<T> unpack(const void *from, int type, bool transposed, int64_t rows, int64_t columns, int64_t lead) {
    std::vector<T> values(size_t(rows * columns));
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) values[size_t(i * columns + j)] = T(read(from, type, transposed ? j + i * lead : i + j * lead));
    return values;
}
template <typename T>
void product(bool ta, bool tb, int64_t m, int64_t n, int64_t k, T alpha, const void *a, int at, int64_t lda, const void *b, int bt, int64_t ldb, T beta,
             void *c, int ct, int64_t ldc) {
    const std::vector<T> left = unpack<T>(a, at, ta, m, k, lda), right = unpack<T>(b, bt, tb, k, n, ldb);
    std::vector<T> sums(static_cast<size_t>(n));
    for (int64_t i = 0; i < m; ++i) {
        std::fill(sums.begin(), sums.end(), T(0));
        for (int64_t p = 0; p < k; ++p) {
            const T factor = left[size_t(i * k + p)];
            for (int64_t j = 0; j < n; ++j) sums[size_t(j)] += factor * right[size_t(p * n + j)];
        }
        for (int64_t j = 0; j < n; ++j) {
            // With beta 0 what is there is not read: it may be NaN.
            const T before = beta == T(0) ? T(0) : beta * T(read(c, ct, i + j * ldc));
            write(c, ct, i + j * ldc, double(alpha * sums[size_t(j)] + before));
        }
    }
}
int gemm(void *handle, int ta, int tb, int64_t m, int64_t n, int64_t k, const void *alpha, const void *a, int at, int64_t lda, int64_t sa, const void *b,
         int bt, int64_t ldb, int64_t sb, const void *beta, void *c, int ct, int64_t ldc, int64_t sc, int64_t batch, int compute) {
    if (!handle) return 1;
    if (m < 0 || n < 0 || k < 0 || batch < 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m || !lda || !ldb || !ldc) {
        fprintf(stderr, "host emulation: gemm with m %ld n %ld k %ld, transposed %d %d, leading dimensions %ld %ld %ld\n", m, n, k, ta, tb, lda, ldb, ldc);
        return INVALID_VALUE;
    }
    const bool f64 = compute == COMPUTE_64F || compute == COMPUTE_64F_PEDANTIC;
    const bool f16 = compute == COMPUTE_16F;
    if (f64 != (at == CUDA_R_64F) || at != bt || (at != ct && (ct != CUDA_R_32F || f64))) return NOT_SUPPORTED;
    if (compute < COMPUTE_16F || compute > FAST_TF32) return NOT_SUPPORTED;
    if (m == 0 || n == 0 || batch == 0) return OK;
    // All that is touched must be the device's.
    auto reach = [&](bool t, int64_t rows, int64_t columns, int64_t lead, int64_t stride, int type) {
        return rows && columns ? size_t((batch - 1) * stride + ((t ? rows : columns) - 1) * lead + (t ? columns : rows)) * width(type) : 0;
    };
    if (!emu_is_device_memory(a, reach(ta, m, k, lda, sa, at), "left matrix of a gemm") || !emu_is_device_memory(b, reach(tb, k, n, ldb, sb, bt), "right matrix of a gemm") ||
        !emu_is_device_memory(c, reach(false, m, n, ldc, sc, ct), "result of a gemm"))
        emu_fail("a gemm outside its memory");
    for (int64_t i = 0; i < batch; ++i) {
        auto at_batch = [i](const void *from, int64_t stride, int type) { return static_cast<const char *>(from) + i * stride * int64_t(width(type)); };
        void *to = const_cast<char *>(at_batch(c, sc, ct));
        if (f64)
            product<double>(ta, tb, m, n, k, *static_cast<const double *>(alpha), at_batch(a, sa, at), at, lda, at_batch(b, sb, bt), bt, ldb, *static_cast<const double *>(beta), to, ct, ldc);
        else
            product<float>(ta, tb, m, n, k, f16 ? float(read(alpha, CUDA_R_16F, 0)) : *static_cast<const float *>(alpha), at_batch(a, sa, at), at, lda, at_batch(b, sb, bt), bt,
                           ldb, f16 ? float(read(beta, CUDA_R_16F, 0)) : *static_cast<const float *>(beta), to, ct, ldc);
    }
    return OK;
}
}  // namespace

extern "C" {
int cublasCreate_v2(Handle **made) { *made = new Handle{}; return OK; }
int cublasDestroy_v2(Handle *handle) { delete handle; return OK; }
int cublasSetStream_v2(Handle *handle, void *stream) { handle->stream = stream; return OK; }
int cublasGetStream_v2(Handle *handle, void **stream) { *stream = handle->stream; return OK; }
int cublasSetMathMode(Handle *handle, int mode) { handle->math = mode; return OK; }
int cublasGetMathMode(Handle *handle, int *mode) { *mode = handle->math; return OK; }
int cublasSetPointerMode_v2(Handle *, int mode) { return mode == 0 ? OK : NOT_SUPPORTED; }
int cublasSetWorkspace_v2(Handle *handle, void *workspace, size_t) { handle->workspace = workspace; return OK; }
int cublasSetAtomicsMode(Handle *, int) { return OK; }
const char *cublasGetStatusString(int) { return "a status of the host emulation"; }
const char *cublasGetStatusName(int) { return "CUBLAS_STATUS (host emulation)"; }

int cublasGemmStridedBatchedEx(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int at, int lda, long long sa, const void *b, int bt,
                               int ldb, long long sb, const void *beta, void *c, int ct, int ldc, long long sc, int batch, int compute, int) {
    return gemm(h, ta, tb, m, n, k, alpha, a, at, lda, sa, b, bt, ldb, sb, beta, c, ct, ldc, sc, batch, compute);
}
int cublasGemmEx(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int at, int lda, const void *b, int bt, int ldb, const void *beta,
                 void *c, int ct, int ldc, int compute, int) {
    return gemm(h, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct, ldc, 0, 1, compute);
}
int cublasSgemm_v2(Handle *h, int ta, int tb, int m, int n, int k, const float *alpha, const void *a, int lda, const void *b, int ldb, const float *beta, void *c, int ldc) {
    return gemm(h, ta, tb, m, n, k, alpha, a, CUDA_R_32F, lda, 0, b, CUDA_R_32F, ldb, 0, beta, c, CUDA_R_32F, ldc, 0, 1, COMPUTE_32F);
}
int cublasDgemm_v2(Handle *h, int ta, int tb, int m, int n, int k, const double *alpha, const void *a, int lda, const void *b, int ldb, const double *beta, void *c, int ldc) {
    return gemm(h, ta, tb, m, n, k, alpha, a, CUDA_R_64F, lda, 0, b, CUDA_R_64F, ldb, 0, beta, c, CUDA_R_64F, ldc, 0, 1, COMPUTE_64F);
}
int cublasSgemmStridedBatched(Handle *h, int ta, int tb, int m, int n, int k, const float *alpha, const void *a, int lda, long long sa, const void *b, int ldb, long long sb,
                              const float *beta, void *c, int ldc, long long sc, int batch) {
    return gemm(h, ta, tb, m, n, k, alpha, a, CUDA_R_32F, lda, sa, b, CUDA_R_32F, ldb, sb, beta, c, CUDA_R_32F, ldc, sc, batch, COMPUTE_32F);
}
int cublasDgemmStridedBatched(Handle *h, int ta, int tb, int m, int n, int k, const double *alpha, const void *a, int lda, long long sa, const void *b, int ldb, long long sb,
                              const double *beta, void *c, int ldc, long long sc, int batch) {
    return gemm(h, ta, tb, m, n, k, alpha, a, CUDA_R_64F, lda, sa, b, CUDA_R_64F, ldb, sb, beta, c, CUDA_R_64F, ldc, sc, batch, COMPUTE_64F);
}
}
