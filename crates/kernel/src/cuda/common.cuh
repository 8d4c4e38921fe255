// What all kernels share. Maps are [positions, channels]: a position is a pixel of an image, its channels lie together (NHWC), and
// `ld` numbers lie from one position to the next. Numbers are float or bfloat16 in memory and float in arithmetic.
#pragma once
#include <cuda_bf16.h>

typedef __nv_bfloat16 bf16;
typedef long long i64;

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return __bfloat162float(value); }
template <typename T> __device__ __forceinline__ T from_float(float value);
template <> __device__ __forceinline__ float from_float<float>(float value) { return value; }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float value) { return __float2bfloat16(value); }

// V neighbouring numbers, read and written at once. The host sees to it that they are aligned.
template <typename T, int V> struct alignas(sizeof(T) * V) Pack {
    T values[V];
};

template <typename T, int V> __device__ __forceinline__ void load(const T *from, float (&to)[V]) {
    const Pack<T, V> pack = *reinterpret_cast<const Pack<T, V> *>(from);
#pragma unroll
    for (int v = 0; v < V; v++) to[v] = to_float(pack.values[v]);
}

template <typename T, int V> __device__ __forceinline__ void store(const float (&from)[V], T *to) {
    Pack<T, V> pack;
#pragma unroll
    for (int v = 0; v < V; v++) pack.values[v] = from_float<T>(from[v]);
    *reinterpret_cast<Pack<T, V> *>(to) = pack;
}

// What a block of threads works on: threadIdx.x is a pack of channels, threadIdx.y and blockIdx.y share the positions out.
struct Tile {
    int channel;
    i64 first, step;
};

template <int V> __device__ __forceinline__ Tile tile() {
    Tile tile;
    tile.channel = (blockIdx.x * blockDim.x + threadIdx.x) * V;
    tile.first = (i64)blockIdx.y * blockDim.y + threadIdx.y;
    tile.step = (i64)gridDim.y * blockDim.y;
    return tile;
}

// Each kernel for both types, with packs of 16 bytes and with single numbers: NAME_f32_4, NAME_f32_1, NAME_bf16_8, NAME_bf16_1.
#define FOR_ALL(DEFINE) DEFINE(float, f32, 4) DEFINE(float, f32, 1) DEFINE(bf16, bf16, 8) DEFINE(bf16, bf16, 1)
