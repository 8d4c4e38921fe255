// What a .cu file finds when g++ compiles it for the host emulation: CUDA's built-in variables, barriers, shuffles, atomics and the
// few device functions that the toolkit's headers give to nvcc alone. build.py includes it before the source.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <vector_functions.h>
#include <vector_types.h>
#if __has_include(<cuda/std/limits>)
#include <cuda/std/limits>
#endif

#include "engine.h"

#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __forceinline__
#undef __launch_bounds__
#undef __restrict__
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define threadIdx (emu_now->thread)
#define blockIdx (emu_now->block)
#define blockDim (emu_now->block_dim)
#define gridDim (emu_now->grid_dim)
#define warpSize 32

// Shared memory: build.py writes `auto &name = emu_shared<type[...], number>()` for `__shared__ type name[...]`. Every variable
// has its place in one arena, which the engine fills with NaN before each block: what a block reads unwritten shows.
template <typename T, int Place> T &emu_shared() {
    static const size_t offset = emu_shared_place(sizeof(T), std::max<size_t>(alignof(std::remove_all_extents_t<T>), 16));
    return *reinterpret_cast<T *>(emu_shared_arena() + offset);
}

#define __syncthreads() emu_barrier(__FILE__, __LINE__)
#define __syncwarp(...) emu_warp_barrier(emu_mask(__VA_ARGS__), __FILE__, __LINE__)
#define __threadfence()
#define __threadfence_block()
#define __trap() emu_fail("__trap()")
inline unsigned emu_mask(unsigned mask = 0xffffffffu) { return mask; }

template <typename T> T emu_shuffle(unsigned mask, T value, int from, const char *file, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most eight bytes");
    uint64_t bits = 0, taken;
    std::memcpy(&bits, &value, sizeof(T));
    taken = emu_exchange(mask, bits, from, file, line);
    T result;
    std::memcpy(&result, &taken, sizeof(T));
    return result;
}
template <typename T> T emu_shfl_xor(const char *f, int l, unsigned mask, T value, int lanes, int width = 32) {
    int lane = emu_lane(), from = lane ^ lanes, end = (lane / width + 1) * width;
    return emu_shuffle(mask, value, from >= end ? lane : from, f, l);
}
template <typename T> T emu_shfl_down(const char *f, int l, unsigned mask, T value, unsigned delta, int width = 32) {
    int lane = emu_lane(), from = lane + int(delta), end = (lane / width + 1) * width;
    return emu_shuffle(mask, value, from >= end ? lane : from, f, l);
}
template <typename T> T emu_shfl_up(const char *f, int l, unsigned mask, T value, unsigned delta, int width = 32) {
    int lane = emu_lane(), from = lane - int(delta), start = lane / width * width;
    return emu_shuffle(mask, value, from < start ? lane : from, f, l);
}
template <typename T> T emu_shfl(const char *f, int l, unsigned mask, T value, int source, int width = 32) {
    return emu_shuffle(mask, value, emu_lane() / width * width + (source & (width - 1)), f, l);
}
#define __shfl_xor_sync(...) emu_shfl_xor(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) emu_shfl_down(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) emu_shfl_up(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_sync(...) emu_shfl(__FILE__, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, test) emu_ballot(mask, test, __FILE__, __LINE__)
#define __any_sync(mask, test) (emu_ballot(mask, test, __FILE__, __LINE__) != 0)
#define __all_sync(mask, test) (emu_ballot(mask, !(test), __FILE__, __LINE__) == 0)

// Threads run one after another and change only at a barrier, so plain reads and writes are atomic here.
template <typename T> T emu_replace(T *at, T value) { T old = *at; *at = value; return old; }
template <typename T, typename U> T atomicAdd(T *at, U value) { return emu_replace(at, static_cast<T>(*at + static_cast<T>(value))); }
template <typename T, typename U> T atomicSub(T *at, U value) { return emu_replace(at, static_cast<T>(*at - static_cast<T>(value))); }
template <typename T, typename U> T atomicMax(T *at, U value) { return emu_replace(at, std::max<T>(*at, value)); }
template <typename T, typename U> T atomicMin(T *at, U value) { return emu_replace(at, std::min<T>(*at, value)); }
template <typename T, typename U> T atomicOr(T *at, U value) { return emu_replace(at, static_cast<T>(*at | value)); }
template <typename T, typename U> T atomicAnd(T *at, U value) { return emu_replace(at, static_cast<T>(*at & value)); }
template <typename T, typename U> T atomicExch(T *at, U value) { return emu_replace(at, static_cast<T>(value)); }
template <typename T, typename U, typename V> T atomicCAS(T *at, U expected, V value) {
    T old = *at;
    if (old == static_cast<T>(expected)) *at = static_cast<T>(value);
    return old;
}

// CUDA's min and max take mixed integer types; std's do not.
template <typename A, typename B> constexpr std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    return T(b) < T(a) ? T(b) : T(a);
}
template <typename A, typename B> constexpr std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    return T(a) < T(b) ? T(b) : T(a);
}
template <typename To, typename From> To emu_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
#define __float_as_uint(x) emu_bits<unsigned, float>(x)
#define __float_as_int(x) emu_bits<int, float>(x)
#define __uint_as_float(x) emu_bits<float, unsigned>(x)
#define __int_as_float(x) emu_bits<float, int>(x)
#define __double_as_longlong(x) emu_bits<long long, double>(x)
#define __longlong_as_double(x) emu_bits<double, long long>(x)
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float normcdff(float x) { return float(0.5 * erfc(-double(x) * M_SQRT1_2)); }
inline double normcdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { volatile float product = a * b; return product; }
inline float __fadd_rn(float a, float b) { volatile float sum = a + b; return sum; }
inline float __fsub_rn(float a, float b) { volatile float difference = a - b; return difference; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned __int128)(a) * b >> 64; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }
template <typename T> T __ldg(const T *at) { return *at; }
using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

// The toolkit declares these for nvcc only.
#define EMU_HALF_FUNCTIONS(T, TO, FROM)                                             \
    inline T hsqrt(T a) { return FROM(sqrtf(TO(a))); }                             \
    inline T hcos(T a) { return FROM(cosf(TO(a))); }                               \
    inline T hsin(T a) { return FROM(sinf(TO(a))); }                               \
    inline T hlog(T a) { return FROM(logf(TO(a))); }                               \
    inline T hexp(T a) { return FROM(expf(TO(a))); }
EMU_HALF_FUNCTIONS(__half, __half2float, __float2half)
EMU_HALF_FUNCTIONS(__nv_bfloat16, __bfloat162float, __float2bfloat16)

#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
