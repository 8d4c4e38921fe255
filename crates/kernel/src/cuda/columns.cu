// What convolutions need around their matrix products: the input laid out as a matrix and back, weights between the orders
// [out, in, k, k] (f32, as trained) and [out, k, k, in] (the type of the maps, as products and cuDNN take them).
#include "common.cuh"

// Maps and windows of a convolution, of some images of a batch.
struct Windows {
    int images, height, width, channels, kernel, stride, padding, rows, cols;
};

// col [images rows cols, kernel kernel channels] from x [images, height, width, channels]; zeros outside the image.
template <typename T, int V> __device__ void im2col(const T *x, Windows s, T *col) {
    const int packs = s.channels / V;
    const i64 count = (i64)s.images * s.rows * s.cols * s.kernel * s.kernel * packs;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        i64 rest = i;
        const int c = (int)(rest % packs) * V;
        rest /= packs;
        const int kx = (int)(rest % s.kernel);
        rest /= s.kernel;
        const int ky = (int)(rest % s.kernel);
        rest /= s.kernel;
        const int col_at = (int)(rest % s.cols);
        rest /= s.cols;
        const int row_at = (int)(rest % s.rows);
        const int image = (int)(rest / s.rows);
        const int y = row_at * s.stride + ky - s.padding, xx = col_at * s.stride + kx - s.padding;
        float value[V] = {};
        if (y >= 0 && y < s.height && xx >= 0 && xx < s.width)
            load<T, V>(x + (((i64)image * s.height + y) * s.width + xx) * s.channels + c, value);
        store<T, V>(value, col + i * V);
    }
}

// The reverse: dx gathers the values of `col` that its own went to, in a fixed order.
template <typename T, int V> __device__ void col2im(const T *col, Windows s, T *dx) {
    const int packs = s.channels / V;
    const i64 count = (i64)s.images * s.height * s.width * packs;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        i64 rest = i;
        const int c = (int)(rest % packs) * V;
        rest /= packs;
        const int xx = (int)(rest % s.width);
        rest /= s.width;
        const int y = (int)(rest % s.height);
        const int image = (int)(rest / s.height);
        float sum[V] = {};
        for (int ky = 0; ky < s.kernel; ky++) {
            const int down = y + s.padding - ky;
            if (down < 0 || down % s.stride != 0 || down / s.stride >= s.rows) continue;
            for (int kx = 0; kx < s.kernel; kx++) {
                const int across = xx + s.padding - kx;
                if (across < 0 || across % s.stride != 0 || across / s.stride >= s.cols) continue;
                const i64 position = ((i64)image * s.rows + down / s.stride) * s.cols + across / s.stride;
                float value[V];
                load<T, V>(col + ((position * s.kernel + ky) * s.kernel + kx) * s.channels + c, value);
#pragma unroll
                for (int v = 0; v < V; v++) sum[v] += value[v];
            }
        }
        store<T, V>(sum, dx + i * V);
    }
}

#define COLUMNS(T, NAME, V)                                                                                                            \
    extern "C" __global__ void im2col_##NAME##_##V(const T *x, int images, int height, int width, int channels, int kernel,          \
                                                   int stride, int padding, int rows, int cols, T *col) {                            \
        im2col<T, V>(x, Windows{images, height, width, channels, kernel, stride, padding, rows, cols}, col);                         \
    }                                                                                                                                \
    extern "C" __global__ void col2im_##NAME##_##V(const T *col, int images, int height, int width, int channels, int kernel,        \
                                                   int stride, int padding, int rows, int cols, T *dx) {                             \
        col2im<T, V>(col, Windows{images, height, width, channels, kernel, stride, padding, rows, cols}, dx);                        \
    }
FOR_ALL(COLUMNS)

// packed [outputs, area, inputs] from weight [outputs, inputs, area].
template <typename T> __device__ void pack_weight(const float *weight, int outputs, int inputs, int area, T *packed) {
    const i64 count = (i64)outputs * inputs * area;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        const int input = (int)(i % inputs), place = (int)(i / inputs % area);
        const i64 output = i / inputs / area;
        packed[i] = from_float<T>(weight[(output * inputs + input) * area + place]);
    }
}

// weight [outputs, inputs, area] from packed [outputs, area, inputs].
template <typename T> __device__ void unpack_weight(const T *packed, int outputs, int inputs, int area, float *weight) {
    const i64 count = (i64)outputs * inputs * area;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        const int place = (int)(i % area), input = (int)(i / area % inputs);
        const i64 output = i / area / inputs;
        weight[i] = to_float(packed[(output * area + place) * inputs + input]);
    }
}

#define WEIGHTS(T, NAME)                                                                                                               \
    extern "C" __global__ void pack_weight_##NAME(const float *weight, int outputs, int inputs, int area, T *packed) {               \
        pack_weight<T>(weight, outputs, inputs, area, packed);                                                                       \
    }                                                                                                                                \
    extern "C" __global__ void unpack_weight_##NAME(const T *packed, int outputs, int inputs, int area, float *weight) {             \
        unpack_weight<T>(packed, outputs, inputs, area, weight);                                                                     \
    }
WEIGHTS(float, f32)
WEIGHTS(bf16, bf16)
