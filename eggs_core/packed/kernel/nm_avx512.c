/* AVX-512 path. Sixteen kept weights at a time: their positions are decoded into the lanes of one register, which then
   picks sixteen activations out of two (half kept) or four (a quarter kept) registers of x. Four rows share these. */
#include "nm_avx512.h"
#if defined(__x86_64__)
#define ROWS EGGS_ROWS

int eggs_avx512_takes(const eggs_layer *l) {
    return l->dtype <= EGGS_FP16 && power_of_two(l->group) && (2 * l->keep == l->group || 4 * l->keep == l->group) && l->group <= 32;
}

INLINE __m512 weights(const char *row, int64_t j, int dtype) {
    if (dtype == EGGS_FP32) return _mm512_loadu_ps((const float *)row + j);
    __m256i raw = _mm256_loadu_si256((const __m256i *)((const uint16_t *)row + j));
    if (dtype == EGGS_FP16) return _mm512_cvtph_ps(raw);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

/* Rows r … r+n−1 (n ≤ 4) times `t` tokens; dtype, two_bits, wide and t are constants at each call. */
INLINE void block(const eggs_layer *l, const decoder *d, const float *x, char *y, int64_t r, int64_t n, int dtype,
                  int two_bits, int wide, int t) {
    const int64_t size = dtype == EGGS_FP32 ? 4 : 2, span = wide ? 64 : 32, windows = l->kept / 16, in = l->in;
    const int bits = two_bits ? 2 : l->bits, parts = wide ? 4 : 2;
    const char *v[ROWS], *p[ROWS];
    const int64_t ahead = ROWS * l->kept * size; /* the next block's rows come into the second-level cache meanwhile */
    __m512 sum[4][ROWS];
    float sums[4 * ROWS];
    UNROLL for (int i = 0; i < ROWS; i++) {
        int64_t row = r + (i < n ? i : n - 1); /* a short block repeats its last row and drops the copies */
        v[i] = (const char *)l->values + row * l->kept * size;
        p[i] = (const char *)(l->positions + row * l->words);
        UNROLL for (int k = 0; k < t; k++) sum[k][i] = _mm512_setzero_ps();
    }
    for (int64_t w = 0; w < windows; w++) {
        __m512 xs[4][4];
        UNROLL for (int k = 0; k < t; k++)
            UNROLL for (int j = 0; j < parts; j++) xs[k][j] = _mm512_loadu_ps(x + k * in + w * span + 16 * j);
        UNROLL for (int i = 0; i < ROWS; i++) {
            __m512i lanes = lanes_of(p[i], w, bits, d);
            __m512 weight = weights(v[i], 16 * w, dtype);
            if (!(w & 15)) _mm_prefetch(p[i] + ROWS * 4 * l->words + 2 * bits * w, _MM_HINT_T1);
            if (dtype == EGGS_FP32 || !(w & 1)) _mm_prefetch(v[i] + ahead + 16 * w * size, _MM_HINT_T1);
            UNROLL for (int k = 0; k < t; k++) sum[k][i] = _mm512_fmadd_ps(weight, pick(xs[k], lanes, wide), sum[k][i]);
        }
    }
    UNROLL for (int k = 0; k < t; k++) totals(sum[k], sums + k * ROWS);
    eggs_finish(l, x, EGGS_FP32, y, r, n, t, windows * 16, sums);
}

/* All rows of a piece; tokens four at a time (two where x takes four registers) while the rows' weights are in cache. */
INLINE void rows_of(const eggs_layer *l, const float *x, int64_t tokens, char *y, int64_t r0, int64_t r1, int dtype,
                    int two_bits, int wide) {
    const decoder d = make_decoder(l);
    const int64_t size = eggs_size(l->result), most = wide ? 2 : 4;
    for (int64_t r = r0; r < r1; r += ROWS) {
        int64_t n = r1 - r < ROWS ? r1 - r : ROWS, k = 0;
        for (; k + most <= tokens; k += most)
            block(l, &d, x + k * l->in, y + k * l->out * size, r, n, dtype, two_bits, wide, wide ? 2 : 4);
        for (; k < tokens; k++) block(l, &d, x + k * l->in, y + k * l->out * size, r, n, dtype, two_bits, wide, 1);
    }
}

#define CASE(DTYPE, TWO, WIDE) \
    if (l->dtype == DTYPE && (l->bits == 2) == TWO && (4 * l->keep == l->group) == WIDE) { \
        rows_of(l, x, tokens, y, r0, r1, DTYPE, TWO, WIDE); \
        return; \
    }
#define CASES(DTYPE) CASE(DTYPE, 1, 0) CASE(DTYPE, 1, 1) CASE(DTYPE, 0, 0) CASE(DTYPE, 0, 1)

TARGET void eggs_rows_avx512(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    CASES(EGGS_FP32) CASES(EGGS_BF16) CASES(EGGS_FP16)
}

/* One token, positions of two bits, with AVX-512 VBMI: the rows one after the other, so that weights and positions are read
   in address order; every line is asked for AHEAD, as the processor's own prefetchers begin anew with each layer. One
   multishift takes the place of a broadcast and a shift: the fewer instructions a line takes, the more lines are under
   way at once. */
#define AHEAD 8192 /* bytes of weights, and the positions beside them */
#define TARGET_VBMI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx2,fma,f16c")))
#define INLINE_VBMI static inline __attribute__((always_inline)) TARGET_VBMI

typedef struct {
    __m512i first, second, low, base; /* bit picks of both windows, mask of two ones, group offsets */
} pair_decoder;

INLINE_VBMI void add_pair(const char *v, const char *p, const float *x, int64_t w, const pair_decoder *d, int dtype,
                          int wide, __m512 *a, __m512 *b) {
    const int64_t span = wide ? 64 : 32;
    const float *at = x + w * span;
    int64_t code;
    memcpy(&code, p + 4 * w, 8);
    __m512i codes = _mm512_set1_epi64(code);
    __m512i i = _mm512_ternarylogic_epi32(_mm512_multishift_epi64_epi8(d->first, codes), d->low, d->base, 0xea);
    __m512i j = _mm512_ternarylogic_epi32(_mm512_multishift_epi64_epi8(d->second, codes), d->low, d->base, 0xea);
    __m512 xs[8];
    UNROLL for (int k = 0; k < 4; k++) xs[k] = _mm512_loadu_ps(at + 16 * k);
    if (wide) UNROLL for (int k = 4; k < 8; k++) xs[k] = _mm512_loadu_ps(at + 16 * k);
    *a = _mm512_fmadd_ps(weights(v, 16 * w, dtype), pick(xs, i, wide), *a);
    *b = _mm512_fmadd_ps(weights(v, 16 * w + 16, dtype), pick(wide ? xs + 4 : xs + 2, j, wide), *b);
}

INLINE_VBMI void rows_one_token(const eggs_layer *l, const float *x, char *y, int64_t r0, int64_t r1, int dtype, int wide) {
    const int64_t size = dtype == EGGS_FP32 ? 4 : 2, windows = l->kept / 16;
    const decoder one = make_decoder(l);
    uint8_t first[64] = {0}, second[64] = {0};
    for (int i = 0; i < 16; i++) first[4 * i] = (uint8_t)(2 * i), second[4 * i] = (uint8_t)(32 + 2 * i);
    const pair_decoder d = {_mm512_loadu_si512(first), _mm512_loadu_si512(second), one.low, one.base};
    for (int64_t r = r0; r < r1; r += ROWS) {
        const int64_t n = r1 - r < ROWS ? r1 - r : ROWS;
        float sums[ROWS];
        __m512 parts[ROWS];
        for (int64_t i = n; i < ROWS; i++) parts[i] = _mm512_setzero_ps();
        for (int64_t i = 0; i < n; i++) {
            const char *v = (const char *)l->values + (r + i) * l->kept * size;
            const char *p = (const char *)(l->positions + (r + i) * l->words);
            __m512 a = _mm512_setzero_ps(), b = a, c = a, e = a;
            int64_t w = 0;
            for (int64_t k = 0; k < 4 * l->words; k += 64) _mm_prefetch(p + k + AHEAD * 4 / 16 / size, _MM_HINT_T0);
            for (; w + 8 <= windows; w += 8) {
                for (int64_t k = 0; k < 128 * size; k += 64) _mm_prefetch(v + 16 * w * size + k + AHEAD, _MM_HINT_T0);
                add_pair(v, p, x, w, &d, dtype, wide, &a, &b);
                add_pair(v, p, x, w + 2, &d, dtype, wide, &c, &e);
                add_pair(v, p, x, w + 4, &d, dtype, wide, &a, &b);
                add_pair(v, p, x, w + 6, &d, dtype, wide, &c, &e);
            }
            for (; w + 2 <= windows; w += 2) {
                _mm_prefetch(v + 16 * w * size + AHEAD, _MM_HINT_T0);
                add_pair(v, p, x, w, &d, dtype, wide, &a, &b);
            }
            if (w < windows) {
                __m512 xs[4];
                const float *at = x + w * (wide ? 64 : 32);
                for (int k = 0; k < (wide ? 4 : 2); k++) xs[k] = _mm512_loadu_ps(at + 16 * k);
                a = _mm512_fmadd_ps(weights(v, 16 * w, dtype), pick(xs, lanes_of(p, w, 2, &one), wide), a);
            }
            parts[i] = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, e));
        }
        totals(parts, sums);
        eggs_finish(l, x, EGGS_FP32, y, r, n, 1, windows * 16, sums);
    }
}

TARGET_VBMI void eggs_rows_vbmi(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    const int wide = 4 * l->keep == l->group;
    if (tokens > 1 || l->bits != 2) eggs_rows_avx512(l, x, tokens, y, r0, r1);
    else if (l->dtype == EGGS_FP32 && !wide) rows_one_token(l, x, y, r0, r1, EGGS_FP32, 0);
    else if (l->dtype == EGGS_FP32) rows_one_token(l, x, y, r0, r1, EGGS_FP32, 1);
    else if (l->dtype == EGGS_FP16 && !wide) rows_one_token(l, x, y, r0, r1, EGGS_FP16, 0);
    else if (l->dtype == EGGS_FP16) rows_one_token(l, x, y, r0, r1, EGGS_FP16, 1);
    else eggs_rows_avx512(l, x, tokens, y, r0, r1);
}

/* Columns that 2:4 keeps: every half byte of codes, two positions of two bits, becomes the four bits of its columns. */
INLINE __m128i columns_of(__m128i codes) {
    const __m128i low = _mm_setr_epi8(1, 3, 5, 9, 3, 2, 6, 10, 5, 6, 4, 12, 9, 10, 12, 8), half = _mm_set1_epi8(15);
    __m128i first = _mm_shuffle_epi8(low, _mm_and_si128(codes, half));
    __m128i second = _mm_shuffle_epi8(low, _mm_and_si128(_mm_srli_epi16(codes, 4), half));
    return _mm_or_si128(first, _mm_slli_epi16(second, 4)); /* at most four bits set, so none leaves its byte */
}

/* The whole windows of 2:4 rows, up to four (64 kept weights, 128 columns) at a time; `wide` needs AVX-512 VBMI2. */
#define DENSE_2OF4(NAME, EXTRA, WIDE) \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,f16c" EXTRA))) static void NAME( \
        const char *p, const char *v, char *to, int64_t windows, int64_t size) { \
        for (int64_t w = 0; w < windows; w += 4) { \
            const int left = (int)(windows - w < 4 ? windows - w : 4); \
            uint16_t used[8]; \
            __m128i codes = _mm_maskz_loadu_epi8((__mmask16)((1u << 4 * left) - 1), p + 4 * w); \
            _mm_storeu_si128((__m128i *)used, columns_of(codes)); \
            const char *from = v + 16 * w * size; \
            char *at = to + 32 * w * size; \
            if (size == 4) { \
                for (int i = 0; i < 2 * left; i++) { \
                    __m512i some = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(from + 32 * i))); \
                    _mm512_storeu_si512(at + 64 * i, _mm512_maskz_expand_epi32(used[i], some)); \
                } \
            } else { \
                for (int i = 0; i < left; i++) WIDE(from + 32 * i, at + 64 * i, used[2 * i], used[2 * i + 1]); \
            } \
        } \
    }

#define EXPAND_WORDS(FROM, AT, LOW, HIGH) \
    { \
        __m512i some = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(FROM))); \
        _mm512_storeu_si512(AT, _mm512_maskz_expand_epi16((__mmask32)(LOW) | (__mmask32)(HIGH) << 16, some)); \
    }
#define EXPAND_HALVES(FROM, AT, LOW, HIGH) \
    { \
        __m512i a = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(FROM))); \
        __m512i b = _mm512_castsi256_si512(_mm512_extracti64x4_epi64(a, 1)); \
        _mm256_storeu_si256((__m256i *)(AT), _mm512_cvtepi32_epi16(_mm512_maskz_expand_epi32(LOW, a))); \
        _mm256_storeu_si256((__m256i *)((AT) + 32), _mm512_cvtepi32_epi16(_mm512_maskz_expand_epi32(HIGH, b))); \
    }
DENSE_2OF4(dense_2of4, "", EXPAND_HALVES)
DENSE_2OF4(dense_2of4_wide, ",avx512vbmi2", EXPAND_WORDS)

/* Groups of at most 16: sixteen dense columns always hold 16·keep/group kept weights, so an expand puts them in place. */
TARGET static void dense_rows(const eggs_layer *l, void *dense, int64_t r0, int64_t r1, int wide) {
    const decoder d = make_decoder(l);
    const int64_t size = l->dtype == EGGS_FP32 ? 4 : 2, windows = l->kept / 16, step = 16 * l->keep / l->group;
    const int parts = (int)(16 / step);
    const __mmask16 part = (__mmask16)((1u << step) - 1);
    const int half = l->keep == 2 && l->group == 4;
    for (int64_t r = r0; r < r1; r++) {
        const char *p = (const char *)(l->positions + r * l->words), *v = (const char *)l->values + r * l->kept * size;
        char *to = (char *)dense + (r - r0) * l->in * size;
        if (half) (wide ? dense_2of4_wide : dense_2of4)(p, v, to, windows, size);
        for (int64_t w = half ? windows : 0; w < windows; w++) {
            /* bit c of `used` says that column c of the window is kept; 64 columns take two words */
            __m512i lanes = lanes_of(p, w, l->bits, &d);
            __m512i ones = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(lanes, _mm512_set1_epi32(31)));
            uint64_t used = (uint32_t)_mm512_mask_reduce_or_epi32(parts == 2 ? 0xffff : 0x00ff, ones);
            if (parts == 4) used |= (uint64_t)(uint32_t)_mm512_mask_reduce_or_epi32(0xff00, ones) << 32;
            for (int i = 0; i < parts; i++, used >>= 16) {
                int64_t from = 16 * w + i * step, at = w * 16 * parts + 16 * i;
                if (size == 4) {
                    __m512i some = _mm512_maskz_loadu_epi32(part, v + 4 * from);
                    _mm512_storeu_si512(to + 4 * at, _mm512_maskz_expand_epi32((__mmask16)used, some));
                } else {
                    __m512i some = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(part, v + 2 * from));
                    some = _mm512_maskz_expand_epi32((__mmask16)used, some);
                    _mm256_storeu_si256((__m256i *)(to + 2 * at), _mm512_cvtepi32_epi16(some));
                }
            }
        }
        int64_t done = windows * 16 / l->keep * l->group; /* the rest, less than a window, one weight at a time */
        memset(to + done * size, 0, (size_t)((l->in - done) * size));
        for (int64_t j = windows * 16; j < l->kept; j++) {
            int64_t at = j / l->keep * l->group + eggs_position(l->positions + r * l->words, j, l->bits);
            memcpy(to + at * size, v + j * size, (size_t)size);
        }
    }
}

TARGET void eggs_dense_avx512(const eggs_layer *l, void *dense, int64_t r0, int64_t r1) { dense_rows(l, dense, r0, r1, 0); }

TARGET void eggs_dense_vbmi2(const eggs_layer *l, void *dense, int64_t r0, int64_t r1) { dense_rows(l, dense, r0, r1, 1); }

TARGET double eggs_sum_avx512(const float *data, int64_t length) {
    __m512 a = _mm512_setzero_ps(), b = a, c = a, e = a;
    int64_t i = 0;
    for (; i + 64 <= length; i += 64) {
        a = _mm512_add_ps(a, _mm512_loadu_ps(data + i)), b = _mm512_add_ps(b, _mm512_loadu_ps(data + i + 16));
        c = _mm512_add_ps(c, _mm512_loadu_ps(data + i + 32)), e = _mm512_add_ps(e, _mm512_loadu_ps(data + i + 48));
    }
    double sum = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, e)));
    for (; i < length; i++) sum += data[i];
    return sum;
}
#endif
