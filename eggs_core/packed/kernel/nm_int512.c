/* AVX-512 path for whole numbers, with the processor's dot products of bytes (VNNI) and its picks of bytes and bits
   (VBMI): 64 kept weights of a row at a time. x is 128 more than it is, as VNNI wants it; that much is taken away. */
#include "nm_int.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define PATH avx512
#define LANES 4
#define FLIP 0x80
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define AHEAD 4096 /* bytes of values that are asked for in advance */
#define PER_SCALE(S) ((S) == EGGS_THREE ? 4 : 2) /* lanes that share a scale */

typedef __m512i bytes;
typedef __m512 floats;

/* How numbers of `bits` bits become bytes: eight of them are brought into 64 bits, which are then cut up. */
typedef struct {
    bytes pick, cut, mask, table; /* table: signed numbers, or what is added to positions */
} codebook;
typedef struct {
    codebook values, positions;
} decoder;

int eggs_int512_takes(const eggs_layer *l) { /* a short row that leaves half a register goes faster through AVX2 */
    const int64_t rest = l->kept % (LANES * eggs_each(eggs_spread_of(l)));
    return eggs_int_takes(l) && 32 * rest <= l->kept && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
}

TARGET static codebook make_codebook(int bits, enum eggs_spread s) {
    uint8_t pick[64], cut[64], mask[64], table[64];
    const int each = eggs_each(s);
    for (int i = 0; i < 64; i++) {
        const int lane = i / 16, k = i % 16, bit = (lane * each + k / 8 * 8) * bits;
        pick[i] = (uint8_t)(bits == 8 ? lane * each + k : bit / 8 + i % 8);
        cut[i] = (uint8_t)(bit % 8 + i % 8 * bits);
        mask[i] = (uint8_t)(k < each ? (1 << bits) - 1 : 0);
        const int number = k & ((1 << bits) - 1);
        table[i] = (uint8_t)(number >> (bits - 1) ? number - (1 << bits) : number);
    }
    return (codebook){_mm512_loadu_si512(pick), _mm512_loadu_si512(cut), _mm512_loadu_si512(mask), _mm512_loadu_si512(table)};
}

TARGET static decoder make_decoder(const eggs_layer *l, int bits, int position_bits, enum eggs_spread s) {
    decoder d = {make_codebook(bits, s), make_codebook(position_bits ? position_bits : 1, s)};
    uint8_t base[64];
    for (int k = 0; k < 64; k++) base[k] = (uint8_t)(k % 16 % (eggs_each(s) / eggs_parts(s)) / l->keep * l->group % BLOCK);
    d.positions.table = _mm512_loadu_si512(base);
    return d;
}

/* Some bytes, and no byte more is read; a masked load would take longer. */
INLINE bytes some(const char *at, int count) {
    const __m128i few = count >= 16 ? _mm_loadu_si128((const __m128i *)at) : _mm_loadl_epi64((const __m128i *)at);
    int32_t more;
    if (count == 8 || count == 16) return _mm512_castsi128_si512(few);
    if (count == 12) {
        memcpy(&more, at + 8, 4);
        return _mm512_castsi128_si512(_mm_insert_epi32(few, more, 2));
    }
    if (count == 24)
        return _mm512_castsi256_si512(_mm256_inserti128_si256(_mm256_castsi128_si256(few), _mm_loadl_epi64((const __m128i *)(at + 16)), 1));
    if (count < 32) return _mm512_maskz_loadu_epi8((1ull << count) - 1, at);
    const __m256i half = _mm256_loadu_si256((const __m256i *)at);
    if (count == 32) return _mm512_castsi256_si512(half);
    return _mm512_inserti64x4(_mm512_castsi256_si512(half), _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(at + 32))), 1);
}

INLINE bytes load(const int8_t *at) { return _mm512_loadu_si512(at); }

INLINE bytes cut_up(const char *at, int bits, enum eggs_spread s, const codebook *c) {
    return _mm512_multishift_epi64_epi8(c->cut, _mm512_permutexvar_epi8(c->pick, some(at, 4 * eggs_each(s) * bits / 8)));
}

INLINE bytes signed_numbers(const char *at, int bits, enum eggs_spread s, const codebook *c) {
    if (bits < 8) return _mm512_shuffle_epi8(c->table, _mm512_and_si512(cut_up(at, bits, s, c), c->mask));
    if (s != EGGS_THREE) return load((const int8_t *)at);
    return _mm512_and_si512(_mm512_permutexvar_epi8(c->pick, some(at, 48)), c->mask);
}

INLINE bytes position_numbers(const char *at, int bits, enum eggs_spread s, const codebook *c) {
    return _mm512_ternarylogic_epi32(cut_up(at, bits, s, c), c->mask, c->table, 0xea); /* (a & mask) | table */
}

INLINE bytes chosen(const int8_t *x, bytes at, enum eggs_spread s) {
    bytes v = _mm512_shuffle_epi8(load(x), at);
    if (s == EGGS_HALF) return _mm512_mask_shuffle_epi8(v, 0xff00ff00ff00ff00, load(x + 64), at);
    if (s == EGGS_THREE) return v;
    v = _mm512_mask_shuffle_epi8(v, 0x00f000f000f000f0, load(x + 64), at);
    v = _mm512_mask_shuffle_epi8(v, 0x0f000f000f000f00, load(x + 128), at);
    return _mm512_mask_shuffle_epi8(v, 0xf000f000f000f000, load(x + 192), at);
}

INLINE floats times(bytes values, bytes x) {
    const bytes none = _mm512_setzero_si512(), added = _mm512_dpbusd_epi32(none, _mm512_set1_epi8((char)FLIP), values);
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_dpbusd_epi32(none, x, values), added));
}

INLINE floats no_floats(void) { return _mm512_setzero_ps(); }

INLINE floats scaled_sum(floats products, const float *scale, enum eggs_spread s, floats sum) {
    floats scales = _mm512_set1_ps(scale[0]);
    if (s != EGGS_THREE) scales = _mm512_mask_blend_ps(0xff00, scales, _mm512_set1_ps(scale[1]));
    return _mm512_fmadd_ps(products, scales, sum);
}

INLINE float total(floats a, floats b) { return _mm512_reduce_add_ps(_mm512_add_ps(a, b)); }

INLINE void multiply_scales(const uint16_t *weights, const float *x, int64_t count, float *to) {
    for (int64_t i = 0; i <= count; i += 16) { /* a 0 follows the last */
        const __mmask16 left = (__mmask16)(count - i < 16 ? (1u << (count - i)) - 1 : 0xffff);
        const floats w = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(left, weights + i));
        _mm512_storeu_ps(to + i, _mm512_mul_ps(w, _mm512_maskz_loadu_ps(left, x + i)));
    }
}

INLINE void ask_for(const char *values) {
    _mm_prefetch(values + AHEAD, _MM_HINT_T0);
    _mm_prefetch(values + AHEAD + 64, _MM_HINT_T0);
}

#include "nm_int_rows.h"
#endif
