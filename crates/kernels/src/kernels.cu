// The kernels of the decoder and its training. Written in what C and CUDA have in common, so that tests can run them on
// a CPU as well (tests/host.c). Each takes one struct, which lib.rs has too, field by field, and describes.
//
// All sums are made in a fixed order: the same bits in every run.

#ifdef __cplusplus
extern "C" {
#endif

// Threads of a block, for the kernels of which a block shares its work.
#define THREADS 256

static __device__ size_t here(void) { return (size_t)blockIdx.x * THREADS + threadIdx.x; }

static __device__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

struct LstmForward {
    float *gates;
    const float *bias, *c_before;
    float *c, *h;
    unsigned rows, hidden, tanh;
};

__global__ void lstm_forward(struct LstmForward p) {
    size_t at = here(), row = at / p.hidden, unit = at % p.hidden;
    if (row >= p.rows) return;
    float *gates = p.gates + row * 4 * p.hidden + unit;
    const float *bias = p.bias + unit;
    float i = sigmoid(gates[0] + bias[0]);
    float f = sigmoid(gates[p.hidden] + bias[p.hidden]);
    float g = tanhf(gates[2 * p.hidden] + bias[2 * p.hidden]);
    float o = sigmoid(gates[3 * p.hidden] + bias[3 * p.hidden]);
    float c = i * g;
    if (p.c_before) c += f * p.c_before[at];
    gates[0] = i;
    gates[p.hidden] = f;
    gates[2 * p.hidden] = g;
    gates[3 * p.hidden] = o;
    p.c[at] = c;
    p.h[at] = o * (p.tanh ? tanhf(c) : c);
}

struct LstmBackward {
    const float *gates, *c, *c_before, *dh;
    float *dc, *dgates;
    unsigned rows, going, hidden, tanh;
};

__global__ void lstm_backward(struct LstmBackward p) {
    size_t at = here(), row = at / p.hidden, unit = at % p.hidden;
    if (row >= p.rows) return;
    size_t first = row * 4 * p.hidden + unit;
    const float *gates = p.gates + first;
    float *dgates = p.dgates + first;
    float i = gates[0], f = gates[p.hidden], g = gates[2 * p.hidden], o = gates[3 * p.hidden];
    float squashed = p.tanh ? tanhf(p.c[at]) : p.c[at];
    float dsquashed = p.dh[at] * o;
    float dc = dsquashed * (p.tanh ? 1.0f - squashed * squashed : 1.0f);
    if (row < p.going) dc += p.dc[at];
    float c_before = p.c_before ? p.c_before[at] : 0.0f;
    dgates[0] = dc * g * i * (1.0f - i);
    dgates[p.hidden] = dc * c_before * f * (1.0f - f);
    dgates[2 * p.hidden] = dc * i * (1.0f - g * g);
    dgates[3 * p.hidden] = p.dh[at] * squashed * o * (1.0f - o);
    p.dc[at] = dc * f;
}

// The sum, or the largest, of what the block's threads hold, for each of them.
static __device__ float of_block(float mine, int largest, float *shared) {
    __syncthreads(); // the values of the call before have been read
    shared[threadIdx.x] = mine;
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            float *sum = &shared[threadIdx.x], other = shared[threadIdx.x + half];
            *sum = largest ? fmaxf(*sum, other) : *sum + other;
        }
    }
    __syncthreads();
    return shared[0];
}

struct CrossEntropy {
    float *logits;
    const float *bias;
    const unsigned *targets;
    const float *shares;
    float *losses;
    unsigned rows, words, backward;
    float share, smoothing;
};

// A block a row.
__global__ void cross_entropy(struct CrossEntropy p) {
    __shared__ float shared[THREADS];
    unsigned row = blockIdx.x, target = p.targets[row];
    float *logits = p.logits + (size_t)row * p.words;
    float most = -INFINITY, sum = 0.0f;
    for (unsigned word = threadIdx.x; word < p.words; word += THREADS) {
        float logit = logits[word] + p.bias[word];
        logits[word] = logit;
        most = fmaxf(most, logit);
        sum += logit;
    }
    most = of_block(most, 1, shared);
    if (p.smoothing > 0.0f) sum = of_block(sum, 0, shared);
    float total = 0.0f;
    for (unsigned word = threadIdx.x; word < p.words; word += THREADS) total += expf(logits[word] - most);
    total = of_block(total, 0, shared); // after which all logits are there to be read

    float share = p.shares ? p.shares[row] : p.share;
    float even = p.smoothing / (float)p.words, right = 1.0f - p.smoothing;
    if (threadIdx.x == 0) {
        float expected = right * logits[target];
        if (p.smoothing > 0.0f) expected += even * sum;
        p.losses[row] = share * (most + logf(total) - expected);
    }
    if (!p.backward) return;
    __syncthreads(); // the target's logit has been read
    for (unsigned word = threadIdx.x; word < p.words; word += THREADS) {
        float wanted = even + (word == target ? right : 0.0f);
        logits[word] = share * (expf(logits[word] - most) / total - wanted);
    }
}

// Threads of a warp, and columns that a thread adds up at a time.
#define WARP 32
#define COLUMNS 4

struct EmbeddingBackward {
    const float *gradient;
    const unsigned *words;
    float *sums;
    unsigned rows, width;
};

// A block a row: the first row of a word adds up all rows of the word, in their order.
__global__ void embedding_backward(struct EmbeddingBackward p) {
    __shared__ int before;
    __shared__ unsigned found[THREADS / WARP];
    unsigned first = blockIdx.x, word = p.words[first];
    if (threadIdx.x == 0) before = 0;
    __syncthreads();
    for (unsigned row = threadIdx.x; row < first; row += THREADS) {
        if (p.words[row] == word) before = 1; // whoever writes writes the same
    }
    __syncthreads();
    if (before) return;
    for (unsigned start = 0; start < p.width; start += COLUMNS * THREADS) {
        float sums[COLUMNS] = {0.0f, 0.0f, 0.0f, 0.0f};
        // the rows by blocks: each thread looks at one, and all add up those that any has found
        for (unsigned base = first; base < p.rows; base += THREADS) {
            unsigned row = base + threadIdx.x;
            unsigned mine = __ballot_sync(0xffffffff, row < p.rows && p.words[row] == word);
            if (threadIdx.x % WARP == 0) found[threadIdx.x / WARP] = mine;
            __syncthreads();
            for (unsigned warp = 0; warp < THREADS / WARP; warp++) {
                for (unsigned left = found[warp]; left; left &= left - 1) {
                    unsigned row = base + warp * WARP + __ffs(left) - 1;
                    const float *gradient = p.gradient + (size_t)row * p.width;
                    for (unsigned k = 0; k < COLUMNS; k++) {
                        unsigned column = start + k * THREADS + threadIdx.x;
                        if (column < p.width) sums[k] += gradient[column];
                    }
                }
            }
            __syncthreads();
        }
        for (unsigned k = 0; k < COLUMNS; k++) {
            unsigned column = start + k * THREADS + threadIdx.x;
            if (column < p.width) p.sums[(size_t)word * p.width + column] = sums[k];
        }
    }
}

struct Dropout {
    const float *x;
    float *y;
    const unsigned *steps;
    unsigned count, width;
    unsigned long long place, stream;
    unsigned key[8];
    unsigned threshold;
    float keep;
    unsigned rows;
};

static __device__ unsigned rotate(unsigned x, int by) { return x << by | x >> (32 - by); }

static __device__ void quarter_round(unsigned *a, unsigned *b, unsigned *c, unsigned *d) {
    *a += *b; *d = rotate(*d ^ *a, 16);
    *c += *d; *b = rotate(*b ^ *c, 12);
    *a += *b; *d = rotate(*d ^ *a, 8);
    *c += *d; *b = rotate(*b ^ *c, 7);
}

// A thread a block of ChaCha with eight rounds: 16 values of the mask.
__global__ void dropout(struct Dropout p) {
    unsigned long long length = (unsigned long long)p.rows * p.width;
    unsigned long long block = p.place / 16 + here();
    if (block * 16 >= p.place + length) return;
    unsigned start[16] = {
        0x61707865, 0x3320646e, 0x79622d32, 0x6b206574,
        p.key[0], p.key[1], p.key[2], p.key[3], p.key[4], p.key[5], p.key[6], p.key[7],
        (unsigned)block, (unsigned)(block >> 32), (unsigned)p.stream, (unsigned)(p.stream >> 32),
    };
    unsigned s[16];
    for (int k = 0; k < 16; k++) s[k] = start[k];
    for (int rounds = 0; rounds < 4; rounds++) {
        for (int k = 0; k < 4; k++) quarter_round(&s[k], &s[4 + k], &s[8 + k], &s[12 + k]);
        for (int k = 0; k < 4; k++) {
            quarter_round(&s[k], &s[4 + (k + 1) % 4], &s[8 + (k + 2) % 4], &s[12 + (k + 3) % 4]);
        }
    }
    for (int k = 0; k < 16; k++) {
        unsigned long long place = block * 16 + k;
        if (place < p.place || place >= p.place + length) continue;
        float mask = s[k] + start[k] >= p.threshold ? p.keep : 0.0f;
        // the value's place in the first step, and in all later ones that have its row
        unsigned long long at = place - p.place, offset = 0;
        for (unsigned step = 0; step < p.count; step++) {
            unsigned long long length = (unsigned long long)(p.steps ? p.steps[step] : p.rows) * p.width;
            if (at >= length) break;
            p.y[offset + at] = p.x[offset + at] * mask;
            offset += length;
        }
    }
}

struct SquareSum {
    const float *values;
    double *sums;
    unsigned long long length;
};

// As many sums as there are blocks.
__global__ void square_sum(struct SquareSum p) {
    __shared__ double shared[THREADS];
    double sum = 0.0;
    for (size_t at = here(); at < p.length; at += (size_t)gridDim.x * THREADS) {
        sum += (double)p.values[at] * (double)p.values[at];
    }
    shared[threadIdx.x] = sum;
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    if (threadIdx.x == 0) p.sums[blockIdx.x] = shared[0];
}

struct Gradient {
    const float *values;
    unsigned long long length;
    float scale, limit;
};

static __device__ float clipped(struct Gradient gradient, size_t at) {
    return fminf(fmaxf(gradient.values[at] * gradient.scale, -gradient.limit), gradient.limit);
}

struct Adam {
    struct Gradient gradient;
    float *weight, *mean, *square;
    float decay, keep, one_beta1, beta2, one_beta2, root, eps, step_size;
};

__global__ void adam(struct Adam p) {
    size_t at = here();
    if (at >= p.gradient.length) return;
    float w = p.weight[at];
    float g = clipped(p.gradient, at) + p.decay * w;
    float m = p.mean[at] + (g - p.mean[at]) * p.one_beta1;
    float v = p.square[at] * p.beta2 + p.one_beta2 * g * g;
    p.mean[at] = m;
    p.square[at] = v;
    p.weight[at] = w * p.keep - p.step_size * (m / (sqrtf(v) / p.root + p.eps));
}

struct Sgd {
    struct Gradient gradient;
    float *weight, *momentum;
    float decay, keep, rate;
};

__global__ void sgd(struct Sgd p) {
    size_t at = here();
    if (at >= p.gradient.length) return;
    float step = clipped(p.gradient, at) + p.decay * p.weight[at];
    if (p.momentum) {
        step += p.momentum[at] * p.keep;
        p.momentum[at] = step;
    }
    p.weight[at] -= p.rate * step;
}

#ifdef __cplusplus
}
#endif
