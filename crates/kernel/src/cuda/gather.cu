// Batches from a data set that lies on the device: rows by number, changed at random as the host has decided, mixed, normalised.
//
// An item of `items` is WORDS words: row, flip, down, right; the row it is mixed with (NONE: with none) and that one's flip, down, right;
// key and upper counter words of the stream of shares. One thread makes one number of the result.

#include "random.cuh"

#define WORDS 12
#define NONE 0xffffffffu

// Pixel (channel, y, x) of a changed image, normalised. `change`: row, flip, down, right.
static __device__ float pixel(const unsigned char *data, const unsigned *change, int channel, int y, int x, int channels, int height, int width,
                              float factor, float added) {
    x = change[1] ? width - 1 - x : x;
    y += (int)change[2];
    x += (int)change[3];
    float value = 0.0f;
    if (y >= 0 && y < height && x >= 0 && x < width) {
        value = (float)data[(((u64)change[0] * channels + channel) * height + y) * width + x];
    }
    return fmaf(value, factor, added);
}

// out [items, channels, height, width] from data [rows, channels, height, width].
extern "C" __global__ void gather_images(const unsigned char *data, const unsigned *items, const float *factor, const float *added,
                                           int channels, int height, int width, u64 total, float *out) {
    u64 area = (u64)height * width, values = area * channels;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += (u64)gridDim.x * blockDim.x) {
        const unsigned *item = items + i / values * WORDS;
        u64 place = i % values;
        int channel = (int)(place / area), y = (int)(place % area / width), x = (int)(place % width);
        float value = pixel(data, item, channel, y, x, channels, height, width, factor[channel], added[channel]);
        if (item[4] != NONE) {
            float other = pixel(data, item + 4, channel, y, x, channels, height, width, factor[channel], added[channel]);
            value += (float)uniform(item + 8, place) * (other - value);
        }
        out[i] = value;
    }
}

// out [items, width] from data [rows, width].
extern "C" __global__ void gather_features(const float *data, const unsigned *items, const float *taken, const float *factor, int width, u64 total,
                                           float *out) {
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += (u64)gridDim.x * blockDim.x) {
        const unsigned *item = items + i / width * WORDS;
        u64 column = i % width;
        float value = (data[(u64)item[0] * width + column] - taken[column]) * factor[column];
        if (item[4] != NONE) {
            float other = (data[(u64)item[4] * width + column] - taken[column]) * factor[column];
            value += (float)uniform(item + 8, column) * (other - value);
        }
        out[i] = value;
    }
}
