// Updates of many tensors in one launch, and the norm of many gradients in two; of one network, or of many side by side.
//
// A row of `table` is one tensor: {parameter, first, second, gradient, numbers, first chunk, means, inputs}, addresses of f32 numbers;
// `means`, if any, has the mean square of the gradient of each neuron, which has `inputs` weights. A block takes one
// chunk of one tensor; `grid` is the number of chunks of all. Sums run in a fixed order: equal bits every time.

typedef unsigned long long u64;

#define WORDS 8
#define CHUNK 4096
#define THREADS 256

// The row that chunk `chunk` belongs to: the last that begins at it or before.
static __device__ int row_of(const u64 *table, int rows, u64 chunk) {
    int low = 0, high = rows - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (table[(u64)middle * WORDS + 5] <= chunk) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

// What a number moves by.
struct Adam {
    float decay, keep, add, keep_square, add_square, rate, shrink, eps, root;
};

struct Sgd {
    float decay, keep, add, rate, momentum;
    bool nesterov;
};

// m <- keep m + add (g + decay p), v the same of its square, p <- shrink p - rate m / (sqrt(v) root + eps).
// `shared`, if any: what is added to v instead of the square.
static __device__ void move(const Adam &by, float g, const float *shared, float factor, float *p, float *m, float *v) {
    float slope = g + by.decay * *p;
    float mean = by.keep * *m + by.add * slope;
    float square = by.keep_square * *v + by.add_square * (shared ? *shared * (factor * factor) : slope * slope);
    *m = mean;
    *v = square;
    *p = by.shrink * *p - by.rate * mean / (sqrtf(square) * by.root + by.eps);
}

// m <- keep m + add (g + decay p), p <- p - rate m, or with `nesterov` p <- p - rate (g + decay p + momentum m), of the old p.
static __device__ void move(const Sgd &by, float g, float *p, float *m) {
    float slope = g + by.decay * *p;
    float mean = by.keep * *m + by.add * slope;
    *m = mean;
    *p = *p - by.rate * (by.nesterov ? slope + by.momentum * mean : mean);
}

// `scale`, if any: what gradients are still to be multiplied with.
extern "C" __global__ void update_adam(const u64 *table, int rows, const double *scale, float decay, float keep, float add,
                                       float keep_square, float add_square, float rate, float shrink, float eps, float root) {
    u64 chunk = blockIdx.x;
    const u64 *row = table + (u64)row_of(table, rows, chunk) * WORDS;
    float *p = (float *)row[0], *m = (float *)row[1], *v = (float *)row[2];
    const float *g = (const float *)row[3], *means = (const float *)row[6];
    u64 start = (chunk - row[5]) * CHUNK, end = start + CHUNK < row[4] ? start + CHUNK : row[4], inputs = row[7];
    float factor = scale ? (float)scale[0] : 1.0f;
    Adam by = {decay, keep, add, keep_square, add_square, rate, shrink, eps, root};
    for (u64 i = start + threadIdx.x; i < end; i += blockDim.x) {
        move(by, g[i] * factor, means ? means + i / inputs : nullptr, factor, p + i, m + i, v + i);
    }
}

extern "C" __global__ void update_sgd(const u64 *table, int rows, const double *scale, float decay, float keep, float add, float rate,
                                      float momentum, int nesterov) {
    u64 chunk = blockIdx.x;
    const u64 *row = table + (u64)row_of(table, rows, chunk) * WORDS;
    float *p = (float *)row[0], *m = (float *)row[1];
    const float *g = (const float *)row[3];
    u64 start = (chunk - row[5]) * CHUNK, end = start + CHUNK < row[4] ? start + CHUNK : row[4];
    float factor = scale ? (float)scale[0] : 1.0f;
    Sgd by = {decay, keep, add, rate, momentum, nesterov != 0};
    for (u64 i = start + threadIdx.x; i < end; i += blockDim.x) {
        move(by, g[i] * factor, p + i, m + i);
    }
}

// Networks side by side: tensors are [runs, ...], and each run has its own rule, NUMBERS numbers of `columns`, and scale.
#define NUMBERS 11

extern "C" __global__ void update_runs(const u64 *table, int rows, const double *scales, const float *columns, int runs) {
    u64 chunk = blockIdx.x;
    const u64 *row = table + (u64)row_of(table, rows, chunk) * WORDS;
    float *p = (float *)row[0], *m = (float *)row[1], *v = (float *)row[2];
    const float *g = (const float *)row[3], *means = (const float *)row[6];
    u64 start = (chunk - row[5]) * CHUNK, end = start + CHUNK < row[4] ? start + CHUNK : row[4], inputs = row[7];
    u64 size = row[4] / runs;
    for (u64 i = start + threadIdx.x; i < end; i += blockDim.x) {
        u64 run = i / size;
        const float *by = columns + run * NUMBERS;
        float factor = scales ? (float)scales[run] : 1.0f, slope = g[i] * factor;
        bool mini = by[0] == 3.0f;
        if (by[0] == 0.0f || mini) {
            const float *shared = mini && means ? means + i / inputs : nullptr;
            move(Adam{by[1], by[2], by[3], by[4], by[5], by[6], by[7], by[8], by[9]}, slope, shared, factor, p + i, m + i, v + i);
        } else {
            move(Sgd{by[1], by[2], by[3], by[6], by[10], by[0] == 2.0f}, slope, p + i, m + i);
        }
    }
}

// The sum over the block, in thread 0; `shared` holds THREADS numbers.
static __device__ double block_sum(double value, double *shared) {
    shared[threadIdx.x] = value;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            shared[threadIdx.x] += shared[threadIdx.x + half];
        }
        __syncthreads();
    }
    return shared[0];
}

// parts[chunk] = sum of g^2 over the chunk.
extern "C" __global__ void square_parts(const u64 *table, int rows, double *parts) {
    __shared__ double shared[THREADS];
    u64 chunk = blockIdx.x;
    const u64 *row = table + (u64)row_of(table, rows, chunk) * WORDS;
    const float *g = (const float *)row[3];
    u64 start = (chunk - row[5]) * CHUNK, end = start + CHUNK < row[4] ? start + CHUNK : row[4];
    double sum = 0.0;
    for (u64 i = start + threadIdx.x; i < end; i += blockDim.x) {
        sum += (double)g[i] * (double)g[i];
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        parts[chunk] = sum;
    }
}

// result = {what brings the norm down to `limit`, at most 1; the norm}. One block.
extern "C" __global__ void clip_scale(const double *parts, int count, double limit, double *result) {
    __shared__ double shared[THREADS];
    double sum = 0.0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        sum += parts[i];
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        double norm = sqrt(sum), scale = limit / (norm + 1e-6);
        result[0] = scale < 1.0 ? scale : 1.0;
        result[1] = norm;
    }
}

// parts[run][block] = sum of g^2 over the block's share of the run's gradients. Blocks are blockIdx.x, runs blockIdx.y.
extern "C" __global__ void square_parts_of_runs(const u64 *table, int rows, double *parts) {
    __shared__ double shared[THREADS];
    u64 run = blockIdx.y, runs = gridDim.y;
    double sum = 0.0;
    for (int which = 0; which < rows; which++) {
        const u64 *row = table + (u64)which * WORDS;
        u64 size = row[4] / runs;
        const float *g = (const float *)row[3] + run * size;
        for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += (u64)gridDim.x * blockDim.x) {
            sum += (double)g[i] * (double)g[i];
        }
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        parts[run * gridDim.x + blockIdx.x] = sum;
    }
}

// result [2, runs] = {what brings a run's norm down to its limit, at most 1; the norm}; where a limit is infinite, 1 and 0.
extern "C" __global__ void clip_runs(const double *parts, int count, const double *limits, int runs, double *result) {
    int run = blockIdx.x * blockDim.x + threadIdx.x;
    if (run >= runs) {
        return;
    }
    bool limited = isfinite(limits[run]);
    double sum = 0.0;
    for (int i = 0; i < count; i++) {
        sum += parts[(u64)run * count + i];
    }
    double norm = sqrt(sum), scale = limits[run] / (norm + 1e-6);
    result[run] = limited && scale < 1.0 ? scale : 1.0;
    result[runs + run] = limited ? norm : 0.0;
}
