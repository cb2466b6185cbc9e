/* AVX-512 path for bf16 with the processor's bf16 dot product: 32 kept weights at a time, neither they nor x widened.
   32 activations are picked out of 64 (half kept) or 128 (a quarter kept) columns; products and sums are fp32. */
#include "nm.h"
#if defined(__x86_64__) && (defined(__clang__) || __GNUC__ >= 10)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define UNROLL _Pragma("GCC unroll 4")
#define ROWS EGGS_ROWS

/* What is left of a row beyond whole windows of 32 goes one weight at a time: rows with much of it go elsewhere. */
int eggs_bf16_takes(const eggs_layer *l) {
    return l->dtype == EGGS_BF16 && l->plain == EGGS_BF16 && l->bits <= 4 && eggs_avx512_takes(l) && 64 * (l->kept % 32) <= l->kept;
}

/* How positions become lane numbers: lane i holds bits [i·bits, (i+1)·bits) of a window of 4·bits bytes. */
typedef struct {
    __m512i bytes, shift, low, base; /* byte picks, shifts, mask of `bits` ones, offsets of the lanes' groups */
    __mmask16 window;                /* the bytes of one window */
} decoder;

TARGET static decoder make_decoder(const eggs_layer *l) {
    uint8_t bytes[64];
    int16_t shift[32], base[32];
    for (int i = 0; i < 32; i++) {
        int bit = i * l->bits;
        shift[i] = (int16_t)(bit & 7), base[i] = (int16_t)(i / l->keep * l->group);
        bytes[2 * i] = (uint8_t)(bit >> 3), bytes[2 * i + 1] = (uint8_t)(((bit >> 3) + 1) & 15);
    }
    decoder d = {_mm512_loadu_si512(bytes), _mm512_loadu_si512(shift), _mm512_set1_epi16((int16_t)((1 << l->bits) - 1)),
                 _mm512_loadu_si512(base), (__mmask16)((1u << 4 * l->bits) - 1)};
    return d;
}

INLINE __m512i lanes_of(const char *row, int64_t w, int bits, const decoder *d) {
    __m512i raw;
    if (bits == 2) {
        int64_t code;
        memcpy(&code, row + 8 * w, 8);
        raw = _mm512_set1_epi64(code);
    } else {
        raw = _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8(d->window, row + 4 * bits * w));
    }
    raw = _mm512_srlv_epi16(_mm512_shuffle_epi8(raw, d->bytes), d->shift);
    return _mm512_ternarylogic_epi32(raw, d->low, d->base, 0xea); /* (raw & low) | base */
}

INLINE __m512bh pick(const __m512i *x, __m512i lanes, int wide) {
    __m512i low = _mm512_permutex2var_epi16(x[0], lanes, x[1]);
    if (wide) low = _mm512_mask_blend_epi16(0xffff0000u, low, _mm512_permutex2var_epi16(x[2], lanes, x[3]));
    return (__m512bh)low;
}

#include "nm_totals512.h"

/* Rows r … r+n−1 (n ≤ 4) times `t` tokens; two_bits, wide and t are constants at each call. */
INLINE void block(const eggs_layer *l, const decoder *d, const uint16_t *x, char *y, int64_t r, int64_t n,
                  int two_bits, int wide, int t) {
    const int64_t span = wide ? 128 : 64, windows = l->kept / 32, in = l->in;
    const int bits = two_bits ? 2 : l->bits, parts = wide ? 4 : 2;
    const uint16_t *v[ROWS];
    const char *p[ROWS];
    const int64_t ahead = ROWS * l->kept; /* the next block's rows come into the second-level cache meanwhile */
    __m512 sum[4][ROWS];
    float sums[4 * ROWS];
    UNROLL for (int i = 0; i < ROWS; i++) {
        int64_t row = r + (i < n ? i : n - 1); /* a short block repeats its last row and drops the copies */
        v[i] = (const uint16_t *)l->values + row * l->kept;
        p[i] = (const char *)(l->positions + row * l->words);
        UNROLL for (int k = 0; k < t; k++) sum[k][i] = _mm512_setzero_ps();
    }
    for (int64_t w = 0; w < windows; w++) {
        __m512i xs[4][4];
        UNROLL for (int k = 0; k < t; k++)
            UNROLL for (int j = 0; j < parts; j++) xs[k][j] = _mm512_loadu_si512(x + k * in + w * span + 32 * j);
        UNROLL for (int i = 0; i < ROWS; i++) {
            __m512i lanes = lanes_of(p[i], w, bits, d);
            if (!(w & 7)) _mm_prefetch(p[i] + ROWS * 4 * l->words + 4 * bits * w, _MM_HINT_T1);
            _mm_prefetch((const char *)(v[i] + ahead + 32 * w), _MM_HINT_T1);
            __m512bh weight = (__m512bh)_mm512_loadu_si512(v[i] + 32 * w);
            UNROLL for (int k = 0; k < t; k++) sum[k][i] = _mm512_dpbf16_ps(sum[k][i], weight, pick(xs[k], lanes, wide));
        }
    }
    UNROLL for (int k = 0; k < t; k++) totals(sum[k], sums + k * ROWS);
    eggs_finish(l, x, EGGS_BF16, y, r, n, t, windows * 32, sums);
}

INLINE void rows_of(const eggs_layer *l, const uint16_t *x, int64_t tokens, char *y, int64_t r0, int64_t r1,
                    int two_bits, int wide) {
    const decoder d = make_decoder(l);
    const int64_t size = eggs_size(l->result), most = wide ? 2 : 4;
    for (int64_t r = r0; r < r1; r += ROWS) {
        int64_t n = r1 - r < ROWS ? r1 - r : ROWS, k = 0;
        for (; k + most <= tokens; k += most)
            block(l, &d, x + k * l->in, y + k * l->out * size, r, n, two_bits, wide, wide ? 2 : 4);
        for (; k < tokens; k++) block(l, &d, x + k * l->in, y + k * l->out * size, r, n, two_bits, wide, 1);
    }
}

/* One token, positions of two or three bits: the rows one after the other, and every line asked for AHEAD (see eggs_rows_vbmi). */
#define AHEAD 8192 /* bytes of weights, and the positions beside them */

INLINE __m512 window(const uint16_t *v, const char *p, const uint16_t *x, int64_t w, const decoder *d, int bits, int wide,
                     __m512 sum) {
    __m512i xs[4];
    const uint16_t *at = x + w * (wide ? 128 : 64);
    xs[0] = _mm512_loadu_si512(at), xs[1] = _mm512_loadu_si512(at + 32);
    if (wide) xs[2] = _mm512_loadu_si512(at + 64), xs[3] = _mm512_loadu_si512(at + 96);
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(v + 32 * w), pick(xs, lanes_of(p, w, bits, d), wide));
}

INLINE void rows_one_token(const eggs_layer *l, const uint16_t *x, char *y, int64_t r0, int64_t r1, int bits, int wide) {
    const decoder d = make_decoder(l);
    const int64_t windows = l->kept / 32;
    for (int64_t r = r0; r < r1; r += ROWS) {
        const int64_t n = r1 - r < ROWS ? r1 - r : ROWS;
        float sums[ROWS];
        __m512 parts[ROWS];
        for (int64_t i = n; i < ROWS; i++) parts[i] = _mm512_setzero_ps();
        for (int64_t i = 0; i < n; i++) {
            const uint16_t *v = (const uint16_t *)l->values + (r + i) * l->kept;
            const char *p = (const char *)(l->positions + (r + i) * l->words);
            __m512 a = _mm512_setzero_ps(), b = a, c = a, e = a;
            int64_t w = 0;
            for (int64_t k = 0; k < 4 * l->words; k += 64) _mm_prefetch(p + k + AHEAD / 16 * bits, _MM_HINT_T0);
            for (; w + 4 <= windows; w += 4) {
                for (int k = 0; k < 4; k++) _mm_prefetch((const char *)(v + 32 * (w + k)) + AHEAD, _MM_HINT_T0);
                a = window(v, p, x, w, &d, bits, wide, a), b = window(v, p, x, w + 1, &d, bits, wide, b);
                c = window(v, p, x, w + 2, &d, bits, wide, c), e = window(v, p, x, w + 3, &d, bits, wide, e);
            }
            for (; w < windows; w++) {
                _mm_prefetch((const char *)(v + 32 * w) + AHEAD, _MM_HINT_T0);
                a = window(v, p, x, w, &d, bits, wide, a);
            }
            parts[i] = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, e));
        }
        totals(parts, sums);
        eggs_finish(l, x, EGGS_BF16, y, r, n, 1, windows * 32, sums);
    }
}

TARGET void eggs_rows_bf16(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    const int two = l->bits == 2, wide = 4 * l->keep == l->group;
    if (tokens == 1 && two && !wide) rows_one_token(l, x, y, r0, r1, 2, 0);
    else if (tokens == 1 && two) rows_one_token(l, x, y, r0, r1, 2, 1);
    else if (tokens == 1 && l->bits == 3 && !wide) rows_one_token(l, x, y, r0, r1, 3, 0);
    else if (tokens == 1 && l->bits == 3) rows_one_token(l, x, y, r0, r1, 3, 1);
    else if (two && !wide) rows_of(l, x, tokens, y, r0, r1, 1, 0);
    else if (two) rows_of(l, x, tokens, y, r0, r1, 1, 1);
    else if (!wide) rows_of(l, x, tokens, y, r0, r1, 0, 0);
    else rows_of(l, x, tokens, y, r0, r1, 0, 1);
}
#else
int eggs_bf16_takes(const eggs_layer *l) {
    (void)l;
    return 0;
}
void eggs_rows_bf16(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    (void)l, (void)x, (void)tokens, (void)y, (void)r0, (void)r1;
}
#endif
