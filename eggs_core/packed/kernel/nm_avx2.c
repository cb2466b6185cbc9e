/* AVX2 path: groups of at most 8 weights of which a half or a quarter is kept. Eight kept weights come from 16 (32)
   columns, and the columns of each half (quarter) of the lanes lie in one register, so constant blends join the picks. */
#include "nm.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define UNROLL _Pragma("GCC unroll 4")
#define ROWS EGGS_ROWS

int eggs_avx2_takes(const eggs_layer *l) {
    return (l->group == 2 || l->group == 4 || l->group == 8) && (2 * l->keep == l->group || 4 * l->keep == l->group);
}

INLINE __m256 weights(const char *row, int64_t j, int dtype) {
    if (dtype == EGGS_FP32) return _mm256_loadu_ps((const float *)row + j);
    __m128i raw = _mm_loadu_si128((const __m128i *)((const uint16_t *)row + j));
    if (dtype == EGGS_FP16) return _mm256_cvtph_ps(raw);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
}

/* The positions of kept weights 8w … 8w+7 in bits 0 … 8·bits−1: `bits` bytes, never read beyond. */
INLINE uint32_t code_of(const unsigned char *row, int64_t w, int bits) {
    const unsigned char *p = row + w * bits;
    if (bits == 1) return p[0];
    if (bits == 2) return (uint32_t)(p[0] | p[1] << 8);
    return (uint32_t)(p[0] | p[1] << 8 | p[2] << 16);
}

INLINE __m256 pick(const float *x, __m256i lanes, int wide) {
    __m256 a = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x), lanes);
    __m256 b = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + 8), lanes);
    if (!wide) return _mm256_blend_ps(a, b, 0xf0);
    __m256 c = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + 16), lanes);
    __m256 d = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + 24), lanes);
    return _mm256_blend_ps(_mm256_blend_ps(a, b, 0x0c), _mm256_blend_ps(c, d, 0xc0), 0xf0);
}

INLINE float total(__m256 a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

INLINE void rows_of(const eggs_layer *l, const float *x, int64_t tokens, char *y, int64_t r0, int64_t r1, int dtype,
                    int bits, int wide) {
    const int64_t size = dtype == EGGS_FP32 ? 4 : 2, span = wide ? 32 : 16, windows = l->kept / 8;
    int32_t shift[8], base[8];
    for (int i = 0; i < 8; i++) shift[i] = i * bits, base[i] = (i / l->keep * l->group) & 7;
    const __m256i shifts = _mm256_loadu_si256((const __m256i *)shift), bases = _mm256_loadu_si256((const __m256i *)base);
    const __m256i low = _mm256_set1_epi32((1 << bits) - 1);
    for (int64_t r = r0; r < r1; r += ROWS) {
        const int64_t n = r1 - r < ROWS ? r1 - r : ROWS;
        const char *v[ROWS];
        const unsigned char *p[ROWS];
        UNROLL for (int i = 0; i < ROWS; i++) {
            int64_t row = r + (i < n ? i : n - 1); /* a short block repeats its last row and drops the copies */
            v[i] = (const char *)l->values + row * l->kept * size;
            p[i] = (const unsigned char *)(l->positions + row * l->words);
        }
        for (int64_t t = 0; t < tokens; t++) {
            const float *xt = x + t * l->in;
            __m256 sum[ROWS];
            float sums[ROWS];
            UNROLL for (int i = 0; i < ROWS; i++) sum[i] = _mm256_setzero_ps();
            for (int64_t w = 0; w < windows; w++) {
                UNROLL for (int i = 0; i < ROWS; i++) {
                    __m256i codes = _mm256_set1_epi32((int32_t)code_of(p[i], w, bits));
                    __m256i lanes = _mm256_or_si256(_mm256_and_si256(_mm256_srlv_epi32(codes, shifts), low), bases);
                    sum[i] = _mm256_fmadd_ps(weights(v[i], 8 * w, dtype), pick(xt + w * span, lanes, wide), sum[i]);
                }
            }
            UNROLL for (int i = 0; i < ROWS; i++) sums[i] = total(sum[i]);
            eggs_finish(l, xt, EGGS_FP32, y + t * l->out * size, r, n, 1, windows * 8, sums);
        }
    }
}

#define CASE(DTYPE, BITS, WIDE) \
    if (l->dtype == DTYPE && l->bits == BITS && (4 * l->keep == l->group) == WIDE) { \
        rows_of(l, x, tokens, y, r0, r1, DTYPE, BITS, WIDE); \
        return; \
    }
#define CASES(DTYPE) CASE(DTYPE, 1, 0) CASE(DTYPE, 2, 0) CASE(DTYPE, 2, 1) CASE(DTYPE, 3, 0) CASE(DTYPE, 3, 1)

TARGET void eggs_rows_avx2(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    CASES(EGGS_FP32) CASES(EGGS_BF16) CASES(EGGS_FP16)
}
#endif
