// Updates of many tensors in one launch, and the norm of many gradients in two.
//
// A row of `table` is one tensor: {parameter, first, second, gradient, numbers, first chunk}, addresses of f32 numbers. A block takes one
// chunk of one tensor; `grid` is the number of chunks of all. Sums run in a fixed order: equal bits every time.

typedef unsigned long long u64;

#define WORDS 6
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

// m <- keep m + add (g + decay p), v the same of its square, p <- shrink p - rate m / (sqrt(v) root + eps). `scale`, if any: of g.
extern "C" __global__ void update_adam(const u64 *table, int rows, const double *scale, float decay, float keep, float add,
                                       float keep_square, float add_square, float rate, float shrink, float eps, float root) {
    u64 chunk = blockIdx.x;
    const u64 *row = table + (u64)row_of(table, rows, chunk) * WORDS;
    float *p = (float *)row[0], *m = (float *)row[1], *v = (float *)row[2];
    const float *g = (const float *)row[3];
    u64 start = (chunk - row[5]) * CHUNK, end = start + CHUNK < row[4] ? start + CHUNK : row[4];
    float factor = scale ? (float)scale[0] : 1.0f;
    for (u64 i = start + threadIdx.x; i < end; i += blockDim.x) {
        float slope = g[i] * factor + decay * p[i];
        float mean = keep * m[i] + add * slope;
        float square = keep_square * v[i] + add_square * (slope * slope);
        m[i] = mean;
        v[i] = square;
        p[i] = shrink * p[i] - rate * mean / (sqrtf(square) * root + eps);
    }
}

// m <- keep m + add (g + decay p), p <- p - rate m, or with `nesterov` p <- p - rate (g + decay p + momentum m), of the old p.
extern "C" __global__ void update_sgd(const u64 *table, int rows, const double *scale, float decay, float keep, float add, float rate,
                                      float momentum, int nesterov) {
    u64 chunk = blockIdx.x;
    const u64 *row = table + (u64)row_of(table, rows, chunk) * WORDS;
    float *p = (float *)row[0], *m = (float *)row[1];
    const float *g = (const float *)row[3];
    u64 start = (chunk - row[5]) * CHUNK, end = start + CHUNK < row[4] ? start + CHUNK : row[4];
    float factor = scale ? (float)scale[0] : 1.0f;
    for (u64 i = start + threadIdx.x; i < end; i += blockDim.x) {
        float slope = g[i] * factor + decay * p[i];
        float mean = keep * m[i] + add * slope;
        m[i] = mean;
        p[i] = p[i] - rate * (nesterov ? slope + momentum * mean : mean);
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
