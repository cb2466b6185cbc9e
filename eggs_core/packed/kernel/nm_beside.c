/* Many tokens: they lie side by side (x in fp32, with its columns as rows), so that a kept weight meets its column of a
   whole block of tokens, and its position is read once for them. Products and sums are fp32. */
#include "nm.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define UNROLL _Pragma("GCC unroll 8")
#define CACHED (32 << 10) /* bytes of x that are taken in turn, so that they stay in the first-level cache */
#define MOST (CACHED / 32) /* columns of them, where a register of eight tokens is all */
#define ROWS 64   /* rows that are multiplied by them meanwhile */
#define JOIN(a, b) a##_##b
#define NAMED(a, b) JOIN(a, b)

int eggs_beside_takes(const eggs_layer *l) {
    return !l->scales && l->dtype <= EGGS_FP16 && l->keep < l->group && l->group <= 16;
}

#define INLINE_AVX2 static inline __attribute__((always_inline, target("avx2,fma")))

INLINE_AVX2 void flip_eight(const float *from, int64_t from_step, float *to, int64_t to_step) {
    __m256 a[8], b[8];
    UNROLL for (int i = 0; i < 8; i++) a[i] = _mm256_loadu_ps(from + i * from_step);
    UNROLL for (int i = 0; i < 8; i += 2) b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]), b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    UNROLL for (int i = 0; i < 8; i += 4)
        UNROLL for (int k = 0; k < 2; k++) {
            a[i + 2 * k] = _mm256_shuffle_ps(b[i + k], b[i + 2 + k], 0x44);
            a[i + 2 * k + 1] = _mm256_shuffle_ps(b[i + k], b[i + 2 + k], 0xee);
        }
    UNROLL for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * to_step, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * to_step, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}

/* to[c·to_step + r] = from[r·from_step + c]. */
__attribute__((target("avx2,fma"))) void eggs_flip(const float *from, int64_t from_step, float *to, int64_t to_step,
                                                   int64_t rows, int64_t columns) {
    const int64_t whole = rows / 8 * 8;
    for (int64_t c = 0; c < columns; c += 8) {
        const int64_t end = c + 8 < columns ? c + 8 : columns;
        int64_t r = 0;
        if (end == c + 8) for (; r < whole; r += 8) flip_eight(from + r * from_step + c, from_step, to + c * to_step + r, to_step);
        for (; r < rows; r++) for (int64_t k = c; k < end; k++) to[k * to_step + r] = from[r * from_step + k];
    }
}

/* Where the kept weights j0 … j1−1 of a row have their columns: base[j − j0] is that of the group, in bytes, of which a
   column has `bytes`. */
INLINE_AVX2 void columns_of(const eggs_layer *l, int64_t r, int64_t j0, int64_t j1, const uint32_t *base, int bytes, uint32_t *at) {
    const uint32_t *row = l->positions + r * l->words;
    const unsigned char *p = (const unsigned char *)row, *last = p + 4 * l->words - 4;
    const __m256i each = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(l->bits));
    const __m256i low = _mm256_set1_epi32((1 << l->bits) - 1), times = _mm256_set1_epi32(bytes);
    int64_t j = j0;
    for (const unsigned char *q = p + j0 / 8 * l->bits; j + 8 <= j1 && q <= last; j += 8, q += l->bits) {
        int32_t code;
        memcpy(&code, q, 4);
        const __m256i positions = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(code), each), low);
        const __m256i first = _mm256_loadu_si256((const __m256i *)(base + j - j0));
        _mm256_storeu_si256((__m256i *)(at + j - j0), _mm256_add_epi32(first, _mm256_mullo_epi32(positions, times)));
    }
    for (; j < j1; j++) at[j - j0] = base[j - j0] + eggs_position(row, j, l->bits) * (uint32_t)bytes;
}

/* `count` kept weights of a row as fp32, in `wide` unless they are. */
INLINE_AVX2 const float *values_of(const eggs_layer *l, int64_t r, int64_t j0, int64_t count, float *wide) {
    const int64_t first = r * l->kept + j0;
    if (l->dtype == EGGS_FP32) return (const float *)l->values + first;
    if (l->dtype == EGGS_BF16) for (int64_t j = 0; j < count; j++) wide[j] = eggs_read(l->values, first + j, EGGS_BF16);
    else for (int64_t j = 0; j < count; j++) wide[j] = eggs_read(l->values, first + j, EGGS_FP16);
    return wide;
}

/* The sums of rows r0 … r1−1, `side` apart, into their places of some tokens' results. */
__attribute__((target("avx2,fma"))) static void write_out(const eggs_layer *l, const float *sums, int64_t side, char *y,
                                                          int64_t tokens, int64_t r0, int64_t r1) {
    float whole[64 * ROWS];
    if (l->result == EGGS_FP32) {
        eggs_flip(sums, side, (float *)y + r0, l->out, r1 - r0, tokens);
        return;
    }
    eggs_flip(sums, side, whole, ROWS, r1 - r0, tokens);
    for (int64_t t = 0; t < tokens; t++) {
        uint16_t *to = (uint16_t *)y + t * l->out + r0;
        const float *from = whole + t * ROWS;
        if (l->result == EGGS_BF16) for (int64_t r = 0; r < r1 - r0; r++) to[r] = eggs_to_bfloat(from[r]);
        else for (int64_t r = 0; r < r1 - r0; r++) to[r] = eggs_to_half(from[r]);
    }
}

#define TARGET __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define NAME(function) NAMED(function, avx2)
#define LANES 8
#define SUMS 8
#include "nm_beside.h"
#undef TARGET
#undef NAME
#undef LANES
#undef SUMS

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma")))
#define NAME(function) NAMED(function, avx512)
#define LANES 16
#define SUMS 16
#include "nm_beside.h"
#endif
