/* The arithmetic between the products in plain C. Included once for each instruction set, with TARGET as the attribute
   that asks for it, MATH as the table's name, WIDTH as the floats of a register, and PASS as how many of them HEADS heads
   can sum at once; loops over LANES are what the compiler makes vectors of. */
#include "step.h"
#include <math.h>

#define LANES 32
#define HEADS 4 /* that read keys and values together */
#define PLAIN static inline __attribute__((always_inline)) TARGET

/* eˣ to a few units in the last place, without branches: 2ⁿ times a polynomial on |r| ≤ ln 2 / 2. */
PLAIN float power_of_e(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x; /* both in one expression would be a branch, and no vectors */
    float t = x * 1.44269504f + 12582912.0f, n = t - 12582912.0f;
    float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    float p = 1.0f + r * (1.0f + r * (0.5f + r * (0.166666667f + r * (0.0416666667f + r * (0.00833333333f + r * 0.00138888889f)))));
    return p * eggs_from_bits((eggs_to_bits(t) << 23) + 0x3f800000u);
}

PLAIN float total(float *s) { /* pair by pair: one after the other would wait for each */
    for (int half = LANES / 2; half; half /= 2) for (int k = 0; k < half; k++) s[k] += s[k + half];
    return s[0];
}

PLAIN float dot(const float *a, const float *b, int64_t n) {
    float s[LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) for (int k = 0; k < LANES; k++) s[k] += a[i + k] * b[i + k];
    for (; i < n; i++) rest += a[i] * b[i];
    return total(s) + rest;
}

TARGET static void norm(const float *x, const float *w, int64_t n, float epsilon, float *y) {
    const float scale = 1.0f / sqrtf(dot(x, x, n) / (float)n + epsilon);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * scale * w[i];
}

TARGET static void rotate(float *x, const float *cosine, const float *sine, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i], b = x[half + i];
        x[i] = a * cosine[i] - b * sine[i], x[half + i] = b * cosine[i] + a * sine[i];
    }
}

/* WIDTH floats in one register of this instruction set. */
typedef float lanes __attribute__((vector_size(4 * WIDTH)));

PLAIN lanes load(const float *p) {
    lanes v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Products of `heads` queries with whole blocks of keys: to[h · EGGS_CHUNK + t]; meanwhile the next block's keys are asked
   for, and this block's values, which take as many bytes. `heads` is a constant at each call. */
PLAIN void scores_of(const float *q, int heads, const float *keys, const float *values, int64_t blocks, int64_t dim, float *to) {
    const int64_t each = dim * EGGS_BLOCK;
    for (int64_t b = 0; b < blocks; b++, keys += each, values += each, to += EGGS_BLOCK) {
        lanes s[HEADS][EGGS_BLOCK / WIDTH] = {{{0}}};
        for (int64_t d = 0; d < dim; d++) {
            __builtin_prefetch(keys + each + d * EGGS_BLOCK, 0, 3), __builtin_prefetch(values + d * EGGS_BLOCK, 0, 2);
            for (int k = 0; k < EGGS_BLOCK / WIDTH; k++) {
                const lanes key = load(keys + d * EGGS_BLOCK + k * WIDTH);
                for (int h = 0; h < heads; h++) s[h][k] += q[h * dim + d] * key;
            }
        }
        for (int h = 0; h < heads; h++) memcpy(to + h * EGGS_CHUNK, s[h], sizeof s[h]);
    }
}

/* Columns i … i + count·WIDTH − 1 of the values, weighed by shares; heads and count are constants at each call. */
PLAIN void weigh(const float *shares, int heads, const float *values, int64_t tokens, int64_t dim, int count, float *out) {
    lanes s[HEADS][PASS] = {{{0}}};
    for (int64_t t = 0; t < tokens; t++)
        for (int k = 0; k < count; k++) {
            const lanes value = load(values + t * dim + k * WIDTH);
            for (int h = 0; h < heads; h++) s[h][k] += shares[h * EGGS_CHUNK + t] * value;
        }
    for (int h = 0; h < heads; h++) memcpy(out + h * dim, s[h], (size_t)count * sizeof **s);
}

/* The scores of n tokens become e^(score − most); returns their sum. */
PLAIN float softmax(float *s, int64_t n, float scale, float cap, float *most) {
    float largest[LANES], sums[LANES] = {0}, last = -INFINITY, rest = 0;
    int64_t t = 0;
    for (int k = 0; k < LANES; k++) largest[k] = -INFINITY;
    for (int64_t i = 0; i < n; i++) s[i] *= scale;
    if (cap > 0) for (int64_t i = 0; i < n; i++) s[i] = cap * tanhf(s[i] / cap);
    for (; t + LANES <= n; t += LANES) for (int k = 0; k < LANES; k++) largest[k] = s[t + k] > largest[k] ? s[t + k] : largest[k];
    for (; t < n; t++) last = s[t] > last ? s[t] : last;
    for (int k = 0; k < LANES; k++) last = largest[k] > last ? largest[k] : last;
    for (int64_t i = 0; i < n; i++) s[i] = power_of_e(s[i] - last);
    for (t = 0; t + LANES <= n; t += LANES) for (int k = 0; k < LANES; k++) sums[k] += s[t + k];
    for (; t < n; t++) rest += s[t];
    *most = last;
    return total(sums) + rest;
}

PLAIN void attend_some(const float *q, int heads, const float *keys, const float *values, int64_t from, int64_t to,
                       int64_t dim, float scale, float cap, eggs_sum *sums, float *out) {
    float scores[HEADS * EGGS_CHUNK];
    const int64_t first = from / EGGS_BLOCK * EGGS_BLOCK, skipped = from - first, n = to - from;
    int64_t i = 0;
    scores_of(q, heads, keys + first * dim, values + first * dim, (to - first + EGGS_BLOCK - 1) / EGGS_BLOCK, dim, scores);
    for (int h = 0; h < heads; h++) sums[h].sum = softmax(scores + h * EGGS_CHUNK + skipped, n, scale, cap, &sums[h].most);
    values += from * dim;
    for (; i + PASS * WIDTH <= dim; i += PASS * WIDTH) weigh(scores + skipped, heads, values + i, n, dim, PASS, out + i);
    for (; i + WIDTH <= dim; i += WIDTH) weigh(scores + skipped, heads, values + i, n, dim, 1, out + i);
    for (; i < dim; i++)
        for (int h = 0; h < heads; h++) {
            float s = 0;
            for (int64_t t = 0; t < n; t++) s += scores[h * EGGS_CHUNK + skipped + t] * values[t * dim + i];
            out[h * dim + i] = s;
        }
}

/* Heads that share keys and values read them together, HEADS at a time. */
TARGET static void attend(const float *q, int64_t heads, const float *keys, const float *values, int64_t from, int64_t to,
                          int64_t dim, float scale, float cap, eggs_sum *sums, float *out) {
    for (; heads >= HEADS; heads -= HEADS, q += HEADS * dim, sums += HEADS, out += HEADS * dim)
        attend_some(q, HEADS, keys, values, from, to, dim, scale, cap, sums, out);
    if (heads == 3) attend_some(q, 3, keys, values, from, to, dim, scale, cap, sums, out);
    else if (heads == 2) attend_some(q, 2, keys, values, from, to, dim, scale, cap, sums, out);
    else if (heads == 1) attend_some(q, 1, keys, values, from, to, dim, scale, cap, sums, out);
}

TARGET static void join(const eggs_sum *sums, const float *parts, int64_t chunks, int64_t heads, int64_t dim, float *out) {
    for (int64_t h = 0; h < heads; h++, out += dim) {
        float most = -INFINITY, sum = 0;
        for (int64_t c = 0; c < chunks; c++) most = sums[c * heads + h].most > most ? sums[c * heads + h].most : most;
        for (int64_t i = 0; i < dim; i++) out[i] = 0;
        for (int64_t c = 0; c < chunks; c++) {
            const float times = power_of_e(sums[c * heads + h].most - most), *part = parts + (c * heads + h) * dim;
            sum += times * sums[c * heads + h].sum;
            for (int64_t i = 0; i < dim; i++) out[i] += times * part[i];
        }
        for (int64_t i = 0; i < dim; i++) out[i] *= 1.0f / sum;
    }
}

TARGET static void activate(float *gate, const float *up, int64_t n, int kind) {
    if (kind == EGGS_SILU) {
        for (int64_t i = 0; i < n; i++) gate[i] = gate[i] / (1.0f + power_of_e(-gate[i])) * up[i];
    } else if (kind == EGGS_GELU_TANH) {
        for (int64_t i = 0; i < n; i++) {
            const float x = gate[i], inner = 0.797884561f * (x + 0.044715f * x * x * x);
            gate[i] = x * (1.0f - 1.0f / (power_of_e(2.0f * inner) + 1.0f)) * up[i];
        }
    } else {
        for (int64_t i = 0; i < n; i++) gate[i] = 0.5f * gate[i] * (1.0f + erff(gate[i] * 0.707106781f)) * up[i];
    }
}

TARGET static void add(float *x, const float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] += y[i];
}

const eggs_math MATH = {norm, rotate, attend, join, activate, add};
