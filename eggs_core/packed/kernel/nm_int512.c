/* AVX-512 path for whole numbers of 8, 4, 3 or 2 bits: sixteen at a time become floats, and each scale multiplies the sum
   of its products once. Rows go one after the other, so that weights are read in address order. */
#include "nm_avx512.h"
#if defined(__x86_64__)
#define MOST_SCALES 2048 /* of a row */

int eggs_int512_takes(const eggs_layer *l) {
    if (!l->scales || l->scaled % 16 || eggs_scales(l) > MOST_SCALES) return 0;
    if (l->keep == l->group) return 1;
    return power_of_two(l->group) && (2 * l->keep == l->group || 4 * l->keep == l->group) && l->group <= 32;
}

/* How numbers below 8 bits become lanes: lane i picks the float of bits [i·bits, (i+1)·bits) of a window of 2·bits bytes
   from a table, in which the bits above are ignored. */
typedef struct {
    __m512i bytes, shift;
    __m512 table;
    __mmask16 window;
} codebook;

INLINE codebook make_codebook(int bits) {
    uint8_t bytes[64];
    int32_t shift[16];
    float table[16];
    for (int i = 0; i < 16; i++) {
        const int bit = i * bits, number = i & ((1 << bits) - 1);
        shift[i] = bit & 7, table[i] = (float)(number >> (bits - 1) ? number - (1 << bits) : number);
        bytes[4 * i] = (uint8_t)(bit >> 3), bytes[4 * i + 1] = (uint8_t)(((bit >> 3) + 1) & 15);
        bytes[4 * i + 2] = bytes[4 * i + 3] = 0x80;
    }
    codebook c = {_mm512_loadu_si512(bytes), _mm512_loadu_si512(shift), _mm512_loadu_ps(table),
                  (__mmask16)((1u << 2 * bits) - 1)};
    return c;
}

INLINE __m512 numbers(const char *row, int64_t w, int bits, const codebook *c) {
    if (bits == 8) return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(row + 16 * w))));
    const char *at = row + 2 * bits * w;
    __m128i some = bits == 4 ? _mm_loadl_epi64((const __m128i *)at) : _mm_maskz_loadu_epi8(c->window, at);
    __m512i raw = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(some), c->bytes);
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(raw, c->shift), c->table);
}

enum kind { WHOLE, HALF, QUARTER };

INLINE __m512 chosen(const float *x, const char *p, int64_t w, int bits, const decoder *d, enum kind kind) {
    if (kind == WHOLE) return _mm512_loadu_ps(x + 16 * w);
    const float *at = x + w * (kind == HALF ? 32 : 64);
    __m512 xs[4];
    UNROLL for (int j = 0; j < 2; j++) xs[j] = _mm512_loadu_ps(at + 16 * j);
    if (kind == QUARTER) UNROLL for (int j = 2; j < 4; j++) xs[j] = _mm512_loadu_ps(at + 16 * j);
    return pick(xs, lanes_of(p, w, bits, d), kind == QUARTER);
}

INLINE void rows_of(const eggs_layer *l, const float *x, int64_t tokens, char *y, int64_t r0, int64_t r1, int code_bits,
                    enum kind kind, int two_bits) {
    decoder d;
    if (kind != WHOLE) d = make_decoder(l);
    codebook c;
    if (code_bits < 8) c = make_codebook(code_bits);
    const int64_t windows = l->kept / 16, each = l->scaled / 16, count = eggs_scales(l), size = eggs_size(l->result);
    const int bits = two_bits ? 2 : l->bits;
    float scales[MOST_SCALES];
    for (int64_t r = r0; r < r1; r++) {
        const char *v = (const char *)l->values + r * eggs_row_bytes(l), *p = (const char *)(l->positions + r * l->words);
        for (int64_t s = 0; s < count; s += 16) {
            __mmask16 some = (__mmask16)(count - s < 16 ? (1u << (count - s)) - 1 : 0xffff);
            _mm512_storeu_ps(scales + s, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(some, l->scales + r * count + s)));
        }
        for (int64_t t = 0; t < tokens; t++) {
            const float *at = x + t * l->in;
            __m512 sum = _mm512_setzero_ps();
            float sums[EGGS_ROWS] = {0};
            for (int64_t s = 0, w = 0; w < windows; s++) {
                const int64_t end = w + each < windows ? w + each : windows;
                __m512 a = _mm512_setzero_ps();
                for (; w < end; w++) a = _mm512_fmadd_ps(numbers(v, w, code_bits, &c), chosen(at, p, w, bits, &d, kind), a);
                sum = _mm512_fmadd_ps(a, _mm512_set1_ps(scales[s]), sum);
            }
            sums[0] = _mm512_reduce_add_ps(sum);
            eggs_finish(l, at, EGGS_FP32, y + t * l->out * size, r, 1, 1, windows * 16, sums);
        }
    }
}

#define KINDS(BITS) \
    if (l->keep == l->group) rows_of(l, x, tokens, y, r0, r1, BITS, WHOLE, 0); \
    else if (2 * l->keep == l->group && l->bits == 2) rows_of(l, x, tokens, y, r0, r1, BITS, HALF, 1); \
    else if (2 * l->keep == l->group) rows_of(l, x, tokens, y, r0, r1, BITS, HALF, 0); \
    else if (l->bits == 2) rows_of(l, x, tokens, y, r0, r1, BITS, QUARTER, 1); \
    else rows_of(l, x, tokens, y, r0, r1, BITS, QUARTER, 0); \
    return;

TARGET void eggs_rows_int512(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    switch (l->dtype) {
        case EGGS_INT8: KINDS(8)
        case EGGS_INT4: KINDS(4)
        case EGGS_INT3: KINDS(3)
        default: KINDS(2)
    }
}
#endif
