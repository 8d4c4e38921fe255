// What dropout multiplies numbers with.
#include "random.cuh"

// 0 with `probability`, else `keep`, by the first `total` numbers of a stream, whose name is key (a, b) and upper counter words (c, d).
extern "C" __global__ void dropout_mask(int a, int b, int c, int d, double probability, float keep, u64 total, float *mask) {
    const unsigned stream[4] = {(unsigned)a, (unsigned)b, (unsigned)c, (unsigned)d};
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += (u64)gridDim.x * blockDim.x) {
        mask[i] = uniform(stream, i) < probability ? 0.0f : keep;
    }
}
