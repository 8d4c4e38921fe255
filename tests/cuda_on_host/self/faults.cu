// Kernels of which the emulation must find the fault, and one that has none.
extern "C" __global__ void beyond(float *to, int count) { to[blockIdx.x * blockDim.x + threadIdx.x + count] = 1.0f; }

// No barrier between the writing and the reading of a neighbour's number.
extern "C" __global__ void no_barrier(const float *from, float *to) {
    __shared__ float shared[64];
    shared[threadIdx.x] = from[threadIdx.x];
    to[threadIdx.x] = shared[(threadIdx.x + 1) % 64];
}

extern "C" __global__ void unequal_barrier(float *to) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    to[threadIdx.x] = 1.0f;
}

// The sum over a block of any number of warps.
extern "C" __global__ void block_sum(const float *from, int count, float *to) {
    __shared__ float of_warp[32];
    float sum = threadIdx.x < count ? from[threadIdx.x] : 0.0f;
    for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffff, sum, step);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < blockDim.x / 32; warp++) sum += of_warp[warp];
        to[0] = sum;
    }
}
