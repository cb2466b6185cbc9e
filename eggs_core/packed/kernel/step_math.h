/* The arithmetic between the products in plain C. Included once for each instruction set, with TARGET as the attribute
   that asks for it and MATH as the table's name; loops over LANES are what the compiler makes vectors of. */
#include "step.h"
#include <math.h>

#define LANES 32
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

PLAIN float sum_of(const float *a, int64_t n) {
    float s[LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) for (int k = 0; k < LANES; k++) s[k] += a[i + k];
    for (; i < n; i++) rest += a[i];
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

TARGET static void attend(const float *q, const float *keys, const float *values, int64_t tokens, int64_t dim, float scale,
                          float cap, float *scores, float *out) {
    float most = -INFINITY;
    for (int64_t t = 0; t < tokens; t++) {
        scores[t] = dot(q, keys + t * dim, dim) * scale;
        if (cap > 0) scores[t] = cap * tanhf(scores[t] / cap);
        if (scores[t] > most) most = scores[t];
    }
    for (int64_t t = 0; t < tokens; t++) scores[t] = power_of_e(scores[t] - most);
    const float share = 1.0f / sum_of(scores, tokens);
    int64_t i = 0;
    for (; i + LANES <= dim; i += LANES) { /* sums that stay in registers */
        float s[LANES] = {0};
        for (int64_t t = 0; t < tokens; t++) for (int k = 0; k < LANES; k++) s[k] += scores[t] * values[t * dim + i + k];
        for (int k = 0; k < LANES; k++) out[i + k] = s[k] * share;
    }
    for (; i < dim; i++) {
        float s = 0;
        for (int64_t t = 0; t < tokens; t++) s += scores[t] * values[t * dim + i];
        out[i] = s * share;
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

const eggs_math MATH = {norm, rotate, attend, activate, add};
