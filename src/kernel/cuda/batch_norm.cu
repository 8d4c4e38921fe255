// Batch normalisation with the rectifier behind it. Sums run in an order that depends on the shapes alone: each thread adds its
// positions, each block its threads, and one block adds the blocks, all in a fixed order and without atomics.
#include "common.cuh"

// Adds what the threads of a block that share channels have found: result[s] for the first V * blockDim.x threads' own channel.
template <int V> __device__ void add_up(const float (&first)[V], const float (&second)[V], int channels, float *partial) {
    __shared__ float sums[2][256 * V];
    const int width = blockDim.x * V;
#pragma unroll
    for (int v = 0; v < V; v++) {
        sums[0][threadIdx.y * width + threadIdx.x * V + v] = first[v];
        sums[1][threadIdx.y * width + threadIdx.x * V + v] = second[v];
    }
    __syncthreads();
    for (int i = threadIdx.y * blockDim.x + threadIdx.x; i < width; i += blockDim.x * blockDim.y) {
        const int channel = blockIdx.x * width + i;
        if (channel >= channels) continue;
        float a = 0, b = 0;
        for (int y = 0; y < blockDim.y; y++) {
            a += sums[0][y * width + i];
            b += sums[1][y * width + i];
        }
        partial[(i64)blockIdx.y * 2 * channels + channel] = a;
        partial[((i64)blockIdx.y * 2 + 1) * channels + channel] = b;
    }
}

// Sums of x - pivot and of its square, the pivot being a channel's first value: nothing drowns in the mean's square (Chan, Golub &
// LeVeque 1983). Where `copy` is given, x is copied there on the way. partial [blocks, 2, channels].
template <typename T, int V>
__device__ void moments(const T *x, i64 ld, T *copy, i64 copy_ld, i64 positions, int channels, float *partial) {
    const Tile at = tile<V>();
    float sum[V] = {}, squares[V] = {}, pivot[V] = {};
    if (at.channel < channels) {
        load<T, V>(x + at.channel, pivot);
        for (i64 p = at.first; p < positions; p += at.step) {
            float value[V];
            load<T, V>(x + p * ld + at.channel, value);
            if (copy) store<T, V>(value, copy + p * copy_ld + at.channel);
#pragma unroll
            for (int v = 0; v < V; v++) {
                const float apart = value[v] - pivot[v];
                sum[v] += apart;
                squares[v] = fmaf(apart, apart, squares[v]);
            }
        }
    }
    add_up<V>(sum, squares, channels, partial);
}

#define MOMENTS(T, NAME, V)                                                                                                            \
    extern "C" __global__ void moments_##NAME##_##V(const T *x, i64 ld, T *copy, i64 copy_ld, i64 positions, int channels,           \
                                                    float *partial) {                                                                \
        moments<T, V>(x, ld, copy, copy_ld, positions, channels, partial);                                                           \
    }
FOR_ALL(MOMENTS)

// One channel's sums over all blocks, added by threads that share the blocks out, in f64; the answer is right where threadIdx.y is 0.
__device__ void join(const float *partial, int blocks, int channels, int channel, double &first, double &second) {
    __shared__ double sums[2][8][32];
    double a = 0, b = 0;
    if (channel < channels) {
        for (int block = threadIdx.y; block < blocks; block += blockDim.y) {
            a += partial[(i64)block * 2 * channels + channel];
            b += partial[((i64)block * 2 + 1) * channels + channel];
        }
    }
    sums[0][threadIdx.y][threadIdx.x] = a;
    sums[1][threadIdx.y][threadIdx.x] = b;
    __syncthreads();
    first = second = 0;
    for (int y = 0; y < blockDim.y; y++) {
        first += sums[0][y][threadIdx.x];
        second += sums[1][y][threadIdx.x];
    }
}

// From the sums of `moments`: mean, variance and, divided by count - 1, unbiased variance. Blocks of 32 x 8 threads.
template <typename T>
__device__ void join_moments(const T *x, const float *partial, int blocks, i64 positions, int channels, float *mean, float *variance,
                             float *unbiased) {
    const int channel = blockIdx.x * 32 + threadIdx.x;
    double sum, squares;
    join(partial, blocks, channels, channel, sum, squares);
    if (channel >= channels || threadIdx.y > 0) return;
    const double count = (double)positions, apart = sum / count;
    const double spread = squares - sum * apart, all = spread > 0 ? spread : 0;
    mean[channel] = (float)((double)to_float(x[channel]) + apart);
    variance[channel] = (float)(all / count);
    unbiased[channel] = positions > 1 ? (float)(all / (count - 1)) : 0.0f;
}

#define JOIN_MOMENTS(T, NAME)                                                                                                          \
    extern "C" __global__ void join_moments_##NAME(const T *x, const float *partial, int blocks, i64 positions, int channels,        \
                                                   float *mean, float *variance, float *unbiased) {                                  \
        join_moments<T>(x, partial, blocks, positions, channels, mean, variance, unbiased);                                          \
    }
JOIN_MOMENTS(float, f32)
JOIN_MOMENTS(bf16, bf16)
