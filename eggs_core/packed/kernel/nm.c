/* N:M packed products: the portable path, and which path runs a layer. Compiled at first use, see compiler.py. */
#include "nm_int.h"

#define CHUNK 64 /* kept weights that the portable path decodes at a time */

/* Kept weights j0 … j0+n−1 of row r as floats; each scale is read once. */
static void decode(const eggs_layer *l, int64_t r, int64_t j0, int64_t n, float *v) {
    if (!l->scales) {
        for (int64_t j = 0; j < n; j++) v[j] = eggs_read(l->values, r * l->kept + j0 + j, l->dtype);
        return;
    }
    const int bits = eggs_bits(l->dtype), half = 1 << (bits - 1);
    const char *row = (const char *)l->values + r * eggs_row_bytes(l);
    for (int64_t j = j0, s = j0 / l->scaled; j < j0 + n; s++) {
        const float scale = eggs_from_half(l->scales[r * eggs_scales(l) + s]);
        const int64_t end = (s + 1) * l->scaled < j0 + n ? (s + 1) * l->scaled : j0 + n;
        if (bits == 8) for (; j < end; j++) v[j - j0] = (float)((const int8_t *)row)[j] * scale;
        else for (; j < end; j++) { /* to two's complement: flip the sign bit, take away its weight */
            const int code = (int)eggs_position((const uint32_t *)(const void *)row, j, bits);
            v[j - j0] = (float)((code ^ half) - half) * scale;
        }
    }
}

/* A dense row: sixteen sums, which compilers keep in vectors. */
static float dense_row(const eggs_layer *l, const float *x, int64_t r) {
    float s[16] = {0}, sum = 0;
    int64_t j = 0;
    for (; j + 16 <= l->in; j += 16) {
        if (l->dtype == EGGS_FP32) for (int k = 0; k < 16; k++) s[k] += ((const float *)l->values)[r * l->in + j + k] * x[j + k];
        else for (int k = 0; k < 16; k++) s[k] += eggs_read(l->values, r * l->in + j + k, l->dtype) * x[j + k];
    }
    for (; j < l->in; j++) sum += eggs_weight(l, r, j) * x[j];
    for (int k = 0; k < 16; k++) sum += s[k];
    return sum;
}

void eggs_rows_portable(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    for (int64_t r = r0; l->keep == l->group && r < r1; r++)
        for (int64_t t = 0; t < tokens; t++)
            eggs_write(y, t * l->out + r, l->result, dense_row(l, (const float *)x + t * l->in, r) + eggs_bias(l, r));
    if (l->keep == l->group) return;
    for (int64_t r = r0; r < r1; r++) {
        const uint32_t *row = l->positions + r * l->words;
        for (int64_t t0 = 0; t0 < tokens; t0 += 8) {
            float sums[8] = {0};
            int64_t n = tokens - t0 < 8 ? tokens - t0 : 8, column = 0;
            int32_t left = l->keep;
            for (int64_t j0 = 0; j0 < l->kept; j0 += CHUNK) {
                float v[CHUNK];
                int64_t at[CHUNK], m = l->kept - j0 < CHUNK ? l->kept - j0 : CHUNK;
                decode(l, r, j0, m, v);
                for (int64_t j = 0; j < m; j++) {
                    at[j] = column + (l->bits ? eggs_position(row, j0 + j, l->bits) : 0);
                    if (--left == 0) left = l->keep, column += l->group;
                }
                for (int64_t t = 0; t < n; t++) {
                    const float *xt = (const float *)x + (t0 + t) * l->in;
                    float a = 0, b = 0, c = 0, d = 0;
                    int64_t j = 0;
                    for (; j + 4 <= m; j += 4) {
                        a += v[j] * xt[at[j]], b += v[j + 1] * xt[at[j + 1]];
                        c += v[j + 2] * xt[at[j + 2]], d += v[j + 3] * xt[at[j + 3]];
                    }
                    for (; j < m; j++) a += v[j] * xt[at[j]];
                    sums[t] += (a + b) + (c + d);
                }
            }
            for (int64_t t = 0; t < n; t++) eggs_write(y, (t0 + t) * l->out + r, l->result, sums[t] + eggs_bias(l, r));
        }
    }
}

void eggs_finish(const eggs_layer *l, const void *x, int x_dtype, void *y, int64_t r, int64_t n, int64_t tokens,
                 int64_t done, const float *sums) {
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < n; i++) {
            float sum = sums[t * EGGS_ROWS + i];
            for (int64_t j = done; j < l->kept; j++) {
                int64_t at = t * l->in + eggs_column(l, r + i, j);
                sum += eggs_weight(l, r + i, j) * eggs_read(x, at, x_dtype);
            }
            eggs_write(y, t * l->out + r + i, l->result, sum + eggs_bias(l, r + i));
        }
}

void eggs_dense_portable(const eggs_layer *l, void *dense, int64_t r0, int64_t r1) {
    const int64_t size = eggs_size(l->plain);
    memset(dense, 0, (size_t)((r1 - r0) * l->in * size));
    for (int64_t r = r0; r < r1; r++) {
        const uint32_t *row = l->positions + r * l->words;
        int64_t at = (r - r0) * l->in, from = r * l->kept;
        float v[CHUNK];
        for (int64_t j = 0, left = l->keep; j < l->kept; j++) {
            if (l->dtype != l->plain && j % CHUNK == 0) decode(l, r, j, l->kept - j < CHUNK ? l->kept - j : CHUNK, v);
            int64_t to = at + (l->bits ? eggs_position(row, j, l->bits) : 0);
            if (l->dtype != l->plain) eggs_write(dense, to, l->plain, v[j % CHUNK]);
            else if (size == 4) ((uint32_t *)dense)[to] = ((const uint32_t *)l->values)[from + j];
            else ((uint16_t *)dense)[to] = ((const uint16_t *)l->values)[from + j];
            if (--left == 0) left = l->keep, at += l->group;
        }
    }
}

/* The fastest path of this processor, an eggs_path. */
int eggs_best_path(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
#if defined(__clang__) || __GNUC__ >= 10
        if (__builtin_cpu_supports("avx512bf16")) return EGGS_BF16_DOT;
#endif
        return EGGS_AVX512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) return EGGS_AVX2;
#elif defined(__aarch64__)
    return EGGS_NEON;
#endif
    return EGGS_PORTABLE;
}

#if defined(__x86_64__)
static int takes_panel(const eggs_layer *l, int path) { return path >= EGGS_BF16_DOT && eggs_panel_takes(l); }
#endif

/* The path that runs this layer with so many tokens when the processor offers `path`. One token in fp32 or fp16 times groups
   of eight, or 1:4, is as near to the memory's speed with AVX2, whose rows are read one after the other. */
int eggs_layer_path(const eggs_layer *l, int path, int64_t tokens) {
#if defined(__x86_64__)
    if (path >= EGGS_BF16_DOT && (eggs_bf16_takes(l) || (tokens >= EGGS_MANY && takes_panel(l, path)))) return EGGS_BF16_DOT;
    const int better = l->bits == 3 || (l->dtype == EGGS_FP32 && l->keep == 1 && l->group == 4);
    if (path >= EGGS_AVX512 && tokens == 1 && better && eggs_avx2_takes(l)) return EGGS_AVX2;
    if (path >= EGGS_AVX512 && (eggs_avx512_takes(l) || eggs_int512_takes(l))) return EGGS_AVX512;
    if (path >= EGGS_AVX2 && (eggs_avx2_takes(l) || eggs_int_takes(l))) return EGGS_AVX2;
#elif defined(__aarch64__)
    if (path >= EGGS_NEON && eggs_int_takes(l)) return EGGS_NEON;
#endif
    (void)l, (void)path, (void)tokens;
    return EGGS_PORTABLE;
}

#if defined(__x86_64__)
/* Are many tokens multiplied in fp32? Not in bf16 by a processor that has products in it. */
static int takes_beside(const eggs_layer *l, int path) {
    return path >= EGGS_AVX2 && (l->dtype != EGGS_BF16 || path < EGGS_BF16_DOT) && eggs_beside_takes(l);
}
#endif

/* Do products with any number of tokens run at full speed on this path? */
int eggs_takes_many(const eggs_layer *l, int path) {
#if defined(__x86_64__)
    return takes_panel(l, path) || takes_beside(l, path);
#endif
    (void)l, (void)path;
    return 0;
}

#define INT_WAY(NAME) (eggs_way){eggs_rows_int_##NAME, eggs_arrange_int_##NAME, eggs_room_int_##NAME(l), EGGS_FP32, 0}

static eggs_way int_way_of(const eggs_layer *l, int path, int64_t tokens) {
    switch (eggs_layer_path(l, path, tokens)) {
#if defined(__x86_64__)
        case EGGS_AVX512: return INT_WAY(avx512);
        case EGGS_AVX2: return INT_WAY(avx2);
#elif defined(__aarch64__)
        case EGGS_NEON: return INT_WAY(neon);
#endif
        default: return INT_WAY(portable);
    }
}

eggs_way eggs_way_of(const eggs_layer *l, int path, int64_t tokens) {
    if (l->scales) return int_way_of(l, path, tokens);
#if defined(__x86_64__)
    if (takes_beside(l, path)) {
        if (path >= EGGS_AVX512 && tokens >= EGGS_BESIDE_512) return (eggs_way){eggs_rows_beside_avx512, NULL, l->in, EGGS_FP32, 16};
        if (path == EGGS_AVX2 && tokens >= EGGS_BESIDE + 2 * (l->dtype != EGGS_FP32)) return (eggs_way){eggs_rows_beside_avx2, NULL, l->in, EGGS_FP32, 8};
    }
    switch (eggs_layer_path(l, path, tokens)) {
        case EGGS_BF16_DOT: {
            const int panels = tokens >= EGGS_MANY && takes_panel(l, path);
            return (eggs_way){panels ? eggs_rows_panel : eggs_rows_bf16, NULL, l->in, EGGS_BF16, 0};
        }
        case EGGS_AVX512:
            return (eggs_way){path >= EGGS_BF16_DOT && __builtin_cpu_supports("avx512vbmi") ? eggs_rows_vbmi : eggs_rows_avx512,
                              NULL, l->in, EGGS_FP32, 0};
        case EGGS_AVX2:
            if (eggs_words_takes(l)) return (eggs_way){eggs_rows_words, eggs_arrange_words, eggs_room_words(l), EGGS_FP32, 0};
            return (eggs_way){eggs_rows_avx2, eggs_arrange_avx2, eggs_room_avx2(l), EGGS_FP32, 0};
    }
#endif
    (void)path, (void)tokens;
    return (eggs_way){eggs_rows_portable, NULL, l->in, EGGS_FP32, 0};
}

eggs_dense eggs_dense_of(const eggs_layer *l, int path) {
#if defined(__x86_64__)
    if (path >= EGGS_AVX512 && eggs_avx512_takes(l) && l->group <= 16 && l->dtype == l->plain)
        return path >= EGGS_BF16_DOT && __builtin_cpu_supports("avx512vbmi2") ? eggs_dense_vbmi2 : eggs_dense_avx512;
    if (path >= EGGS_AVX2 && l->group == 4 && l->keep < 4 && l->dtype == l->plain) return eggs_dense_avx2;
#endif
    (void)l, (void)path;
    return eggs_dense_portable;
}

/* The first row whose positions do not rise strictly inside each group, below `group`; −1 when all do. */
int64_t eggs_bad_row(const eggs_layer *l) {
    for (int64_t r = 0; r < l->out; r++) {
        const uint32_t *row = l->positions + r * l->words;
        int64_t last = -1;
        for (int64_t j = 0, left = l->keep; j < l->kept; j++) {
            int64_t at = l->bits ? eggs_position(row, j, l->bits) : 0;
            if (at <= last || at >= l->group) return r;
            last = at;
            if (--left == 0) left = l->keep, last = -1;
        }
    }
    return -1;
}
