/* Many tokens in bf16 with the processor's dot product: PANEL rows are unpacked into pairs of columns, as that product
   reads them, and multiplied by all tokens while they are in cache. Products and sums are fp32. */
#include "nm.h"
#include <stdlib.h>
#if defined(__x86_64__) && (defined(__clang__) || __GNUC__ >= 10)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define UNROLL _Pragma("GCC unroll 16")
#define LANES 16           /* rows whose sums one register holds */
#define PANEL EGGS_PANEL
#define COLUMNS 32         /* of bf16 in a register: sixteen pairs */

/* Sixteen registers of sixteen pairs each, rows to columns. */
INLINE void transpose(__m512i *r) {
    __m512i s[16];
    UNROLL for (int i = 0; i < 16; i += 2)
        s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]), s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    UNROLL for (int i = 0; i < 16; i += 4)
        UNROLL for (int k = 0; k < 2; k++) {
            r[i + 2 * k] = _mm512_unpacklo_epi64(s[i + k], s[i + 2 + k]);
            r[i + 2 * k + 1] = _mm512_unpackhi_epi64(s[i + k], s[i + 2 + k]);
        }
    UNROLL for (int k = 0; k < 4; k++)
        UNROLL for (int i = 0; i < 2; i++) {
            s[8 * i + k] = _mm512_shuffle_i32x4(r[8 * i + k], r[8 * i + 4 + k], 0x88);
            s[8 * i + 4 + k] = _mm512_shuffle_i32x4(r[8 * i + k], r[8 * i + 4 + k], 0xdd);
        }
    UNROLL for (int k = 0; k < 8; k++) {
        r[k] = _mm512_shuffle_i32x4(s[k], s[8 + k], 0x88);
        r[8 + k] = _mm512_shuffle_i32x4(s[k], s[8 + k], 0xdd);
    }
}

/* Rows r … r+n−1 as pairs: to[pair][lane], PANEL lanes, of which this fills sixteen; absent rows are zeros. */
TARGET static void fill(const eggs_layer *l, eggs_dense dense, uint16_t *rows, int64_t r, int64_t n, uint32_t *to) {
    if (n > 0) dense(l, rows, r, r + n);
    for (int64_t c = 0; c < l->in; c += COLUMNS) {
        const int64_t left = l->in - c < COLUMNS ? l->in - c : COLUMNS;
        const __mmask32 some = (__mmask32)(((uint64_t)1 << left) - 1);
        __m512i part[16];
        UNROLL for (int i = 0; i < LANES; i++)
            part[i] = i < n ? _mm512_maskz_loadu_epi16(some, rows + i * l->in + c) : _mm512_setzero_si512();
        transpose(part);
        for (int64_t i = 0; i < (left + 1) / 2; i++) _mm512_store_si512(to + (c / 2 + i) * PANEL, part[i]);
    }
}

INLINE void put(const eggs_layer *l, char *y, int64_t r, int64_t n, __m512 sum) {
    if (n <= 0) return;
    const __mmask16 some = (__mmask16)((1u << (n < LANES ? n : LANES)) - 1);
    if (l->bias) {
        __m512i bias = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, (const uint16_t *)l->bias + r));
        sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_slli_epi32(bias, 16)));
    }
    if (l->result == EGGS_FP32) _mm512_mask_storeu_ps((float *)y + r, some, sum);
    else _mm256_mask_storeu_epi16((uint16_t *)y + r, some, (__m256i)_mm512_cvtneps_pbh(sum));
}

/* The part-th of `parts` pieces of the rows from r on, as they are packed, comes into the second-level cache. */
INLINE void fetch(const eggs_layer *l, int64_t r, int64_t n, int64_t part, int64_t parts) {
    const int64_t values = n * l->kept * 2, words = n * l->words * 4;
    const char *v = (const char *)l->values + r * l->kept * 2, *p = (const char *)(l->positions + r * l->words);
    for (int64_t i = values * part / parts; i < values * (part + 1) / parts; i += 64) _mm_prefetch(v + i, _MM_HINT_T1);
    for (int64_t i = words * part / parts; i < words * (part + 1) / parts; i += 64) _mm_prefetch(p + i, _MM_HINT_T1);
}

/* A panel of n ≤ PANEL rows from r on times t tokens; t is a constant at each call. */
INLINE void multiply(const eggs_layer *l, const uint32_t *panel, const uint16_t *x, char *y, int64_t r, int64_t n, int t) {
    const int64_t pairs = l->in / 2, step = l->out * eggs_size(l->result);
    __m512 a[8], b[8];
    UNROLL for (int k = 0; k < t; k++) a[k] = b[k] = _mm512_setzero_ps();
    for (int64_t i = 0; i < pairs; i++) {
        const __m512bh first = (__m512bh)_mm512_load_si512(panel + i * PANEL);
        const __m512bh second = (__m512bh)_mm512_load_si512(panel + i * PANEL + LANES);
        UNROLL for (int k = 0; k < t; k++) {
            int32_t pair;
            memcpy(&pair, x + k * l->in + 2 * i, 4);
            const __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
            a[k] = _mm512_dpbf16_ps(a[k], first, both), b[k] = _mm512_dpbf16_ps(b[k], second, both);
        }
    }
    UNROLL for (int k = 0; k < t; k++) put(l, y + k * step, r, n, a[k]), put(l, y + k * step, r + LANES, n - LANES, b[k]);
}

/* Pairs of columns must not reach beyond a row. */
int eggs_panel_takes(const eggs_layer *l) {
    return l->dtype == EGGS_BF16 && l->plain == EGGS_BF16 && l->in % 2 == 0 && l->group <= 16;
}

/* Without memory for a panel: one weight after the other. */
static void slowly(const eggs_layer *l, const uint16_t *x, int64_t tokens, char *y, int64_t r0, int64_t r1) {
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t r = r0; r < r1; r++) {
            float sum = eggs_bias(l, r);
            for (int64_t j = 0; j < l->kept; j++) sum += eggs_weight(l, r, j) * eggs_read(x, t * l->in + eggs_column(l, r, j), EGGS_BF16);
            eggs_write(y, t * l->out + r, l->result, sum);
        }
}

TARGET void eggs_rows_panel(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    const int64_t step = l->out * eggs_size(l->result), pairs = (l->in + COLUMNS - 1) / COLUMNS * COLUMNS / 2;
    const eggs_dense dense = eggs_dense_of(l, EGGS_BF16_DOT);
    char *room = malloc((size_t)(64 + pairs * PANEL * 4 + LANES * l->in * 2));
    if (!room) {
        slowly(l, x, tokens, y, r0, r1);
        return;
    }
    uint32_t *panel = (uint32_t *)(room + (64 - (uintptr_t)room % 64) % 64);
    uint16_t *rows = (uint16_t *)(panel + pairs * PANEL);
    for (int64_t r = r0; r < r1; r += PANEL) {
        const int64_t n = r1 - r < PANEL ? r1 - r : PANEL;
        fill(l, dense, rows, r, n < LANES ? n : LANES, panel), fill(l, dense, rows, r + LANES, n - LANES, panel + LANES);
        const int64_t next = r + PANEL < r1 ? r + PANEL : r1, more = r1 - next < PANEL ? r1 - next : PANEL;
        const uint16_t *from = x;
        char *to = y;
        int64_t k = 0;
        for (; k + 8 <= tokens; k += 8) {
            fetch(l, next, more, k / 8, tokens / 8);
            multiply(l, panel, from + k * l->in, to + k * step, r, n, 8);
        }
        for (; k + 4 <= tokens; k += 4) multiply(l, panel, from + k * l->in, to + k * step, r, n, 4);
        for (; k < tokens; k++) multiply(l, panel, from + k * l->in, to + k * step, r, n, 1);
    }
    free(room);
}
#else
int eggs_panel_takes(const eggs_layer *l) {
    (void)l;
    return 0;
}
void eggs_rows_panel(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    (void)l, (void)x, (void)tokens, (void)y, (void)r0, (void)r1;
}
#endif
