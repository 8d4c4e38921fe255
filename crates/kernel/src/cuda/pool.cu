// Pooling of maps [images, height, width, channels]. Gradients are gathered, each input from the windows over it in a fixed order.
#include "common.cuh"

struct Pool {
    int images, height, width, channels, kernel, stride, padding, rows, cols;
};

// A pack of channels at a pixel of maps `height` x `width`.
struct Place {
    int image, y, x, c;
};

template <int V> __device__ __forceinline__ Place place(i64 i, int height, int width, int channels) {
    Place at;
    const int packs = channels / V;
    at.c = (int)(i % packs) * V;
    i /= packs;
    at.x = (int)(i % width);
    i /= width;
    at.y = (int)(i % height);
    at.image = (int)(i / height);
    return at;
}

// The largest value of each window and its number in the window (row by row); the first of equals wins, a NaN beats all numbers.
template <typename T, int V> __device__ void max_pool(const T *x, Pool s, T *y, unsigned char *winners) {
    const i64 count = (i64)s.images * s.rows * s.cols * (s.channels / V);
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        const Place at = place<V>(i, s.rows, s.cols, s.channels);
        float best[V] = {};
        int winner[V] = {};
        bool none = true;
        for (int ky = 0; ky < s.kernel; ky++) {
            const int row = at.y * s.stride + ky - s.padding;
            if (row < 0 || row >= s.height) continue;
            for (int kx = 0; kx < s.kernel; kx++) {
                const int col = at.x * s.stride + kx - s.padding;
                if (col < 0 || col >= s.width) continue;
                float value[V];
                load<T, V>(x + (((i64)at.image * s.height + row) * s.width + col) * s.channels + at.c, value);
#pragma unroll
                for (int v = 0; v < V; v++) {
                    if (none || value[v] > best[v] || (value[v] != value[v] && best[v] == best[v])) {
                        best[v] = value[v];
                        winner[v] = ky * s.kernel + kx;
                    }
                }
                none = false;
            }
        }
        store<T, V>(best, y + i * V);
#pragma unroll
        for (int v = 0; v < V; v++) winners[i * V + v] = (unsigned char)winner[v];
    }
}

template <typename T, int V> __device__ void max_pool_back(const T *dy, const unsigned char *winners, Pool s, T *dx) {
    const i64 count = (i64)s.images * s.height * s.width * (s.channels / V);
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        const Place at = place<V>(i, s.height, s.width, s.channels);
        float sum[V] = {};
        for (int ky = 0; ky < s.kernel; ky++) {
            const int down = at.y + s.padding - ky;
            if (down < 0 || down % s.stride != 0 || down / s.stride >= s.rows) continue;
            for (int kx = 0; kx < s.kernel; kx++) {
                const int across = at.x + s.padding - kx;
                if (across < 0 || across % s.stride != 0 || across / s.stride >= s.cols) continue;
                const i64 window = (((i64)at.image * s.rows + down / s.stride) * s.cols + across / s.stride) * s.channels + at.c;
                float value[V];
                load<T, V>(dy + window, value);
#pragma unroll
                for (int v = 0; v < V; v++)
                    if (winners[window + v] == ky * s.kernel + kx) sum[v] += value[v];
            }
        }
        store<T, V>(sum, dx + i * V);
    }
}

// The mean of each kernel x kernel square; what is left over at the end is dropped.
template <typename T, int V> __device__ void avg_pool(const T *x, Pool s, T *y) {
    const i64 count = (i64)s.images * s.rows * s.cols * (s.channels / V);
    const float share = 1.0f / (float)(s.kernel * s.kernel);
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        const Place at = place<V>(i, s.rows, s.cols, s.channels);
        float sum[V] = {};
        for (int ky = 0; ky < s.kernel; ky++) {
            for (int kx = 0; kx < s.kernel; kx++) {
                const i64 row = (i64)at.image * s.height + at.y * s.kernel + ky;
                float value[V];
                load<T, V>(x + (row * s.width + at.x * s.kernel + kx) * s.channels + at.c, value);
#pragma unroll
                for (int v = 0; v < V; v++) sum[v] += value[v];
            }
        }
#pragma unroll
        for (int v = 0; v < V; v++) sum[v] *= share;
        store<T, V>(sum, y + i * V);
    }
}

template <typename T, int V> __device__ void avg_pool_back(const T *dy, Pool s, T *dx) {
    const i64 count = (i64)s.images * s.height * s.width * (s.channels / V);
    const float share = 1.0f / (float)(s.kernel * s.kernel);
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        const Place at = place<V>(i, s.height, s.width, s.channels);
        const int row = at.y / s.kernel, col = at.x / s.kernel;
        float value[V] = {};
        if (row < s.rows && col < s.cols) {
            load<T, V>(dy + (((i64)at.image * s.rows + row) * s.cols + col) * s.channels + at.c, value);
#pragma unroll
            for (int v = 0; v < V; v++) value[v] *= share;
        }
        store<T, V>(value, dx + i * V);
    }
}

// The mean of each map: y [images, channels] in f32.
template <typename T, int V> __device__ void global_pool(const T *x, int images, int area, int channels, float *y) {
    const i64 count = (i64)images * (channels / V);
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        const Place at = place<V>(i, 1, 1, channels);
        float sum[V] = {};
        for (int p = 0; p < area; p++) {
            float value[V];
            load<T, V>(x + ((i64)at.image * area + p) * channels + at.c, value);
#pragma unroll
            for (int v = 0; v < V; v++) sum[v] += value[v];
        }
#pragma unroll
        for (int v = 0; v < V; v++) y[i * V + v] = sum[v] / (float)area;
    }
}

template <typename T, int V> __device__ void global_pool_back(const float *dy, int images, int area, int channels, T *dx) {
    const i64 count = (i64)images * area * (channels / V);
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        const Place at = place<V>(i, area, 1, channels);
        float value[V];
#pragma unroll
        for (int v = 0; v < V; v++) value[v] = dy[(i64)at.image * channels + at.c + v] / (float)area;
        store<T, V>(value, dx + i * V);
    }
}

#define WINDOWS int images, int height, int width, int channels, int kernel, int stride, int padding, int rows, int cols
#define GIVEN Pool{images, height, width, channels, kernel, stride, padding, rows, cols}
#define POOLS(T, NAME, V)                                                                                                              \
    extern "C" __global__ void max_pool_##NAME##_##V(const T *x, WINDOWS, T *y, unsigned char *winners) {                            \
        max_pool<T, V>(x, GIVEN, y, winners);                                                                                        \
    }                                                                                                                                \
    extern "C" __global__ void max_pool_back_##NAME##_##V(const T *dy, const unsigned char *winners, WINDOWS, T *dx) {               \
        max_pool_back<T, V>(dy, winners, GIVEN, dx);                                                                                 \
    }                                                                                                                                \
    extern "C" __global__ void avg_pool_##NAME##_##V(const T *x, WINDOWS, T *y) { avg_pool<T, V>(x, GIVEN, y); }                     \
    extern "C" __global__ void avg_pool_back_##NAME##_##V(const T *dy, WINDOWS, T *dx) { avg_pool_back<T, V>(dy, GIVEN, dx); }       \
    extern "C" __global__ void global_pool_##NAME##_##V(const T *x, int images, int area, int channels, float *y) {                  \
        global_pool<T, V>(x, images, area, channels, y);                                                                             \
    }                                                                                                                                \
    extern "C" __global__ void global_pool_back_##NAME##_##V(const float *dy, int images, int area, int channels, T *dx) {           \
        global_pool_back<T, V>(dy, images, area, channels, dx);                                                                      \
    }
FOR_ALL(POOLS)
