// What many small networks side by side need around their matrix products. Values are [runs, outputs, batch]; `mask`, if any, is
// [outputs, batch]: what dropout multiplies the values of every run with.

typedef unsigned long long u64;

// y = z + bias [runs, outputs], with `rectified` no less than 0.
extern "C" __global__ void activate(const float *z, const float *bias, const float *mask, u64 total, u64 outputs, u64 batch, float *y,
                                    int rectified) {
    u64 area = outputs * batch;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += (u64)gridDim.x * blockDim.x) {
        float value = z[i] + bias[i / batch];
        // Not fmaxf: NaN stays NaN.
        value = rectified && value <= 0.0f ? 0.0f : value;
        y[i] = mask ? value * mask[i % area] : value;
    }
}

// dz = dy where y is above 0, nothing elsewhere.
extern "C" __global__ void deactivate(const float *dy, const float *y, const float *mask, u64 total, u64 outputs, u64 batch, float *dz) {
    u64 area = outputs * batch;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += (u64)gridDim.x * blockDim.x) {
        float value = mask ? dy[i] * mask[i % area] : dy[i];
        dz[i] = y[i] > 0.0f ? value : 0.0f;
    }
}
