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

// What is the same for all positions of V channels: the affine map that normalises, scales and shifts.
template <int V> struct Norm {
    float mean[V], inverse[V], scale[V], shift[V];

    __device__ __forceinline__ Norm(const float *means, const float *variances, const float *weights, const float *biases, float eps,
                                    int channel, int channels) {
#pragma unroll
        for (int v = 0; v < V; v++) {
            const int c = channel + v < channels ? channel + v : channels - 1;
            mean[v] = means[c];
            inverse[v] = 1.0f / sqrtf(variances[c] + eps);
            scale[v] = weights[c] * inverse[v];
            shift[v] = fmaf(-mean[v], scale[v], biases[c]);
        }
    }

    // The normalised value, before the rectifier: the same bits wherever it is computed.
    __device__ __forceinline__ float apply(float x, int v) const { return fmaf(x, scale[v], shift[v]); }
};

// y = relu((x - mean) / sqrt(variance + eps) weight + bias), the rectifier only where `relu`; a NaN stays.
template <typename T, int V>
__device__ void normalise(const T *x, i64 ld, const float *mean, const float *variance, const float *weight, const float *bias,
                          float eps, int relu, i64 positions, int channels, T *y, i64 y_ld) {
    const Tile at = tile<V>();
    if (at.channel >= channels) return;
    const Norm<V> norm(mean, variance, weight, bias, eps, at.channel, channels);
    for (i64 p = at.first; p < positions; p += at.step) {
        float value[V];
        load<T, V>(x + p * ld + at.channel, value);
#pragma unroll
        for (int v = 0; v < V; v++) {
            value[v] = norm.apply(value[v], v);
            if (relu && value[v] <= 0.0f) value[v] = 0.0f;
        }
        store<T, V>(value, y + p * y_ld + at.channel);
    }
}

#define NORMALISE(T, NAME, V)                                                                                                          \
    extern "C" __global__ void normalise_##NAME##_##V(const T *x, i64 ld, const float *mean, const float *variance,                  \
                                                      const float *weight, const float *bias, float eps, int relu, i64 positions,    \
                                                      int channels, T *y, i64 y_ld) {                                                \
        normalise<T, V>(x, ld, mean, variance, weight, bias, eps, relu, positions, channels, y, y_ld);                               \
    }
FOR_ALL(NORMALISE)

// Sums of g and of g x̂, with x̂ the normalised input and g the gradient dy where the rectifier was on. Where `add` is given, the part
// of the input's gradient that needs no sums, scale g, is added there. partial [blocks, 2, channels].
template <typename T, int V>
__device__ void gradient_sums(const T *x, i64 ld, const T *dy, i64 dy_ld, const float *mean, const float *variance,
                              const float *weight, const float *bias, float eps, int relu, T *add, i64 add_ld, i64 positions,
                              int channels, float *partial) {
    const Tile at = tile<V>();
    float sum[V] = {}, dot[V] = {};
    if (at.channel < channels) {
        const Norm<V> norm(mean, variance, weight, bias, eps, at.channel, channels);
        for (i64 p = at.first; p < positions; p += at.step) {
            float value[V], g[V];
            load<T, V>(x + p * ld + at.channel, value);
            load<T, V>(dy + p * dy_ld + at.channel, g);
#pragma unroll
            for (int v = 0; v < V; v++) {
                if (relu && norm.apply(value[v], v) <= 0.0f) g[v] = 0.0f;
                sum[v] += g[v];
                dot[v] = fmaf(g[v], (value[v] - norm.mean[v]) * norm.inverse[v], dot[v]);
            }
            if (add) {
                float before[V];
                load<T, V>(add + p * add_ld + at.channel, before);
#pragma unroll
                for (int v = 0; v < V; v++) before[v] = fmaf(norm.scale[v], g[v], before[v]);
                store<T, V>(before, add + p * add_ld + at.channel);
            }
        }
    }
    add_up<V>(sum, dot, channels, partial);
}

#define GRADIENT_SUMS(T, NAME, V)                                                                                                      \
    extern "C" __global__ void gradient_sums_##NAME##_##V(const T *x, i64 ld, const T *dy, i64 dy_ld, const float *mean,             \
                                                          const float *variance, const float *weight, const float *bias, float eps,  \
                                                          int relu, T *add, i64 add_ld, i64 positions, int channels,                 \
                                                          float *partial) {                                                          \
        gradient_sums<T, V>(x, ld, dy, dy_ld, mean, variance, weight, bias, eps, relu, add, add_ld, positions, channels, partial);   \
    }
FOR_ALL(GRADIENT_SUMS)

// From the sums of `gradient_sums`: the gradients of weight and bias. Where `pending` [2, total] is given, what is still to be taken off
// the input's gradient, a multiple of 1 and one of x̂, is added to it. Blocks of 32 x 8 threads.
extern "C" __global__ void join_sums(const float *partial, int blocks, i64 positions, int channels, const float *variance,
                                     const float *weight, float eps, float *dweight, float *dbias, float *pending, int total) {
    const int channel = blockIdx.x * 32 + threadIdx.x;
    double sum, dot;
    join(partial, blocks, channels, channel, sum, dot);
    if (channel >= channels || threadIdx.y > 0) return;
    dweight[channel] = (float)dot;
    dbias[channel] = (float)sum;
    if (pending) {
        const double factor = (double)weight[channel] / sqrt((double)variance[channel] + (double)eps) / (double)positions;
        pending[channel] += (float)(factor * sum);
        pending[total + channel] += (float)(factor * dot);
    }
}

// dx = weight / deviation (g - mean(g) - x̂ mean(g x̂)), with the sums as `join_sums` leaves them; dx may be dy.
template <typename T, int V>
__device__ void normalise_back(const T *x, i64 ld, const T *dy, const float *mean, const float *variance, const float *weight,
                               const float *bias, float eps, int relu, const float *dweight, const float *dbias, i64 positions,
                               int channels, T *dx) {
    const Tile at = tile<V>();
    if (at.channel >= channels) return;
    const Norm<V> norm(mean, variance, weight, bias, eps, at.channel, channels);
    float average[V], slope[V];
#pragma unroll
    for (int v = 0; v < V; v++) {
        average[v] = dbias[at.channel + v] / (float)positions;
        slope[v] = dweight[at.channel + v] / (float)positions;
    }
    for (i64 p = at.first; p < positions; p += at.step) {
        float value[V], g[V];
        load<T, V>(x + p * ld + at.channel, value);
        load<T, V>(dy + p * channels + at.channel, g);
#pragma unroll
        for (int v = 0; v < V; v++) {
            if (relu && norm.apply(value[v], v) <= 0.0f) g[v] = 0.0f;
            g[v] = norm.scale[v] * (g[v] - average[v] - (value[v] - norm.mean[v]) * norm.inverse[v] * slope[v]);
        }
        store<T, V>(g, dx + p * channels + at.channel);
    }
}

#define NORMALISE_BACK(T, NAME, V)                                                                                                     \
    extern "C" __global__ void normalise_back_##NAME##_##V(const T *x, i64 ld, const T *dy, const float *mean,                       \
                                                           const float *variance, const float *weight, const float *bias, float eps, \
                                                           int relu, const float *dweight, const float *dbias, i64 positions,        \
                                                           int channels, T *dx) {                                                    \
        normalise_back<T, V>(x, ld, dy, mean, variance, weight, bias, eps, relu, dweight, dbias, positions, channels, dx);           \
    }
FOR_ALL(NORMALISE_BACK)

// Takes what is pending off the gradients of some channels of a dense block: out = d - (pending[0] + x̂ pending[1]).
template <typename T, int V>
__device__ void settle(const T *x, i64 ld, const T *d, i64 d_ld, const float *mean, const float *variance, float eps,
                       const float *constant, const float *slope, i64 positions, int channels, T *out) {
    const Tile at = tile<V>();
    if (at.channel >= channels) return;
    float centre[V], steep[V], still[V];
#pragma unroll
    for (int v = 0; v < V; v++) {
        centre[v] = mean[at.channel + v];
        still[v] = constant[at.channel + v];
        steep[v] = slope[at.channel + v] / sqrtf(variance[at.channel + v] + eps);
    }
    for (i64 p = at.first; p < positions; p += at.step) {
        float value[V], g[V];
        load<T, V>(x + p * ld + at.channel, value);
        load<T, V>(d + p * d_ld + at.channel, g);
#pragma unroll
        for (int v = 0; v < V; v++) g[v] -= fmaf(value[v] - centre[v], steep[v], still[v]);
        store<T, V>(g, out + p * channels + at.channel);
    }
}

#define SETTLE(T, NAME, V)                                                                                                             \
    extern "C" __global__ void settle_##NAME##_##V(const T *x, i64 ld, const T *d, i64 d_ld, const float *mean,                      \
                                                   const float *variance, float eps, const float *constant, const float *slope,      \
                                                   i64 positions, int channels, T *out) {                                            \
        settle<T, V>(x, ld, d, d_ld, mean, variance, eps, constant, slope, positions, channels, out);                                \
    }
FOR_ALL(SETTLE)

// Moves running statistics towards a batch's: running = keep running + add batch, for mean and variance.
extern "C" __global__ void absorb(float *mean, float *variance, const float *batch_mean, const float *batch_variance, float keep,
                                  float add, int channels) {
    for (int c = blockIdx.x * blockDim.x + threadIdx.x; c < channels; c += gridDim.x * blockDim.x) {
        mean[c] = keep * mean[c] + add * batch_mean[c];
        variance[c] = keep * variance[c] + add * batch_variance[c];
    }
}
