// A loss that is a mean over cells, and its gradient, in one pass: the sides, shapes and rows of crates/imbalance/src/loss/form.rs, in double.
//
// A table is Form::table, one per run: blockIdx.y is the run. The result are the slopes of all cells of all runs, and after them for each
// block of each run three numbers: the sum of its cells' losses as two floats (what the first leaves over is the second), and 1 where a
// slope of it is not finite. Sums run in a fixed order.

typedef unsigned long long u64;

#define THREADS 256
#define HEAD 20
#define IGNORED 2

struct Term {
    double value, slope;
};

static __device__ double softplus(double z) { return (z > 0.0 ? z : 0.0) + log1p(exp(-fabs(z))); }

static __device__ double sigmoid(double z) {
    double e = exp(-fabs(z));
    return (z >= 0.0 ? 1.0 : e) / (1.0 + e);
}

static __device__ Term focal(double gamma, double u) {
    double modulator = exp(-gamma * softplus(u)), cost = softplus(-u), miss = sigmoid(-u);
    Term term = {modulator * cost, -modulator * (gamma * sigmoid(u) * cost + miss)};
    return term;
}

// The loss of the question in float32; functions in double, rounded, so that they are the C library's to the last bit or nearly.
static __device__ Term seed(float gamma, double z, bool negative) {
    float p = 1.0f / (1.0f + (float)exp((double)-(float)z));
    float right = negative ? 1.0f - p : p, wrong = negative ? p : 1.0f - p;
    float modulator = (float)pow((double)wrong, (double)gamma), log_right = (float)log((double)(right + 1e-8f));
    float slope = (negative ? -1.0f : 1.0f) * modulator * (gamma * right * log_right - right * wrong / (right + 1e-8f));
    Term term = {(double)(-modulator * log_right), (double)slope};
    return term;
}

static __device__ Term shape(const double *side, double u) {
    double first = side[1], second = side[2];
    Term term = {0.0, 0.0};
    switch ((int)side[0]) {
    case 0: {
        term = focal(first, u);
        double power = first + 1.0, added = second * exp(-power * softplus(u));
        term.value += added;
        term.slope -= power * added * sigmoid(u);
        break;
    }
    case 1: {
        double modulator = exp(-first * softplus(u));
        term.value = modulator * softplus(-u);
        term.slope = -modulator * sigmoid(-u);
        break;
    }
    case 2:
    case 3: {
        double p = sigmoid(-u), rest = sigmoid(u), shifted = p - second;
        // Not `<= 0`: NaN stays NaN.
        if (!(shifted <= 0.0)) {
            double modulator = pow(shifted, first), cost = -log1p(-shifted);
            double focus = side[0] == 3.0 ? 0.0 : first * modulator / shifted * cost;
            term.value = modulator * cost;
            term.slope = -(focus + modulator / (rest + second)) * p * rest;
        }
        break;
    }
    case 4: {
        double p = sigmoid(-u), rest = sigmoid(u);
        term.value = p * p * (first - 1.0 + rest);
        term.slope = -(p * p * rest * (2.0 * first - 3.0 + 3.0 * rest));
        break;
    }
    case 5:
    case 6:
        term = seed((float)first, u, side[0] == 6.0);
        break;
    }
    return term;
}

static __device__ Term cell(const double *table, int labels, int label, double z, bool positive, double row) {
    int number = positive ? 0 : 1;
    if (!positive && table[8] >= 0.0 && sigmoid(z) > table[12]) {
        number = 2;
    }
    const double *side = table + 4 * number, *numbers = table + HEAD + (u64)2 * number * labels;
    double weight = numbers[labels + label];
    Term term = shape(side, side[3] * (z + numbers[label]));
    term.value *= weight;
    term.slope *= side[3] * weight;
    if (table[13] == 1.0) {
        term.value *= row;
        term.slope *= row;
    } else if (table[13] == 2.0) {
        double inverse = table[HEAD + (u64)6 * labels + label];
        double factor = table[14] + (row == 0.0 ? 1.0 : sigmoid(table[15] * (inverse / row - table[16])));
        term.value *= factor;
        term.slope *= factor;
    }
    return term;
}

static __device__ double block_sum(double value, double *shared) {
    __syncthreads();
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

// result [runs x (cells + 3 blocks)] of `cells` cells per run and targets [batch, labels]: logits [runs, batch, labels], or with `upright`
// [runs, labels, batch]; rows [runs, batch], or none.
extern "C" __global__ void mean_over_cells(const double *table, const float *logits, const unsigned char *targets, const double *rows, u64 cells,
                                           int labels, int upright, float *result) {
    __shared__ double shared[THREADS];
    u64 run = blockIdx.y, batch = cells / labels;
    table += run * (HEAD + (u64)7 * labels);
    logits += run * cells;
    float *slopes = result + run * cells;
    double share = 1.0 / (double)cells, sum = 0.0, bad = 0.0;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < cells; i += (u64)gridDim.x * blockDim.x) {
        u64 row = upright ? i % batch : i / labels;
        int label = (int)(upright ? i / batch : i % labels);
        unsigned char target = targets[row * labels + label];
        float slope = 0.0f;
        if (target != IGNORED) {
            Term term = cell(table, labels, label, (double)logits[i], target == 1, rows ? rows[run * batch + row] : 1.0);
            sum += term.value;
            slope = (float)(term.slope * share);
        }
        slopes[i] = slope;
        bad += isfinite(slope) ? 0.0 : 1.0;
    }
    sum = block_sum(sum, shared);
    bad = block_sum(bad, shared);
    if (threadIdx.x == 0) {
        float *part = result + gridDim.y * cells + 3 * (run * gridDim.x + blockIdx.x);
        float high = (float)sum;
        part[0] = high;
        part[1] = isfinite(high) ? (float)(sum - (double)high) : 0.0f;
        part[2] = bad > 0.0 ? 1.0f : 0.0f;
    }
}
