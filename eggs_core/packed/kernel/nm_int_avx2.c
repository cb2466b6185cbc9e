/* AVX2 path for whole numbers: 32 kept weights of a row at a time. A byte shuffle picks the x of eight of them out of
   sixteen columns; each product and each sum of two fits 16 bits, as no number of x is −128. */
#include "nm_int.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define PATH avx2
#define LANES 2
#define FLIP 0
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define AHEAD 1024 /* bytes of values that are asked for in advance */
#define PER_SCALE(S) ((S) == EGGS_THREE ? 4 : 2) /* lanes that share a scale */

typedef __m256i bytes;
typedef __m256 floats;

/* How numbers of `bits` bits become bytes: word i of a lane takes the byte or two that hold numbers 2i and 2i + 1, a
   product moves them where they belong, and the upper one goes on to its own byte. */
typedef struct {
    bytes pick, move, mask, table; /* table: signed numbers, or what is added to positions */
} codebook;
typedef struct {
    codebook values, positions;
} decoder;

TARGET static codebook make_codebook(int bits, enum eggs_spread s) {
    uint8_t pick[32], mask[32], table[32];
    uint16_t move[16];
    const int each = eggs_each(s);
    for (int i = 0; i < 32; i++) {
        const int lane = i / 16, k = i % 16, bit = (lane * each + k / 2 * 2) * bits, at = bit / 8, left = bit % 8;
        if (bits == 8) pick[i] = (uint8_t)(k < each ? k + 4 * lane : 0x80); /* the lane's load begins 4 bytes early */
        else if (bits == 3) pick[i] = (uint8_t)(at + k % 2);
        else pick[i] = (uint8_t)(k % 2 == (bits != 4) ? at : 0x80);
        if (k % 2 == 0) move[i / 2] = (uint16_t)(1 << (bits == 3 ? 10 - left : 8 - left));
        mask[i] = (uint8_t)(k < each ? (1 << bits) - 1 : 0);
        const int number = k & ((1 << bits) - 1);
        table[i] = (uint8_t)(number >> (bits - 1) ? number - (1 << bits) : number);
    }
    return (codebook){_mm256_loadu_si256((const bytes *)pick), _mm256_loadu_si256((const bytes *)move),
                      _mm256_loadu_si256((const bytes *)mask), _mm256_loadu_si256((const bytes *)table)};
}

TARGET static decoder make_decoder(const eggs_layer *l, int bits, int position_bits, enum eggs_spread s) {
    decoder d = {make_codebook(bits, s), make_codebook(position_bits ? position_bits : 1, s)};
    uint8_t base[32];
    for (int k = 0; k < 32; k++) base[k] = (uint8_t)(k % 16 % (eggs_each(s) / eggs_parts(s)) / l->keep * l->group % BLOCK);
    d.positions.table = _mm256_loadu_si256((const bytes *)base);
    return d;
}

/* Some bytes in both lanes, and no byte more is read. */
INLINE bytes twice(const char *at, int count) {
    int32_t more = 0;
    if (count == 4) {
        memcpy(&more, at, 4);
        return _mm256_set1_epi32(more);
    }
    if (count == 16) return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)at));
    if (count == 6) {
        memcpy(&more, at + 2, 4);
        return _mm256_set1_epi64x((int64_t)((uint64_t)(uint32_t)more << 16 | *(const uint8_t *)at | (uint64_t)*(const uint8_t *)(at + 1) << 8));
    }
    int64_t most;
    memcpy(&most, at, 8);
    if (count == 8) return _mm256_set1_epi64x(most);
    if (count == 12) memcpy(&more, at + 8, 4);
    else more = *(const uint8_t *)(at + 8);
    return _mm256_broadcastsi128_si256(_mm_set_epi64x(more, most));
}

INLINE bytes load(const int8_t *at) { return _mm256_loadu_si256((const bytes *)at); }

INLINE bytes numbers(const char *at, int bits, enum eggs_spread s, const codebook *c) {
    bytes v = _mm256_shuffle_epi8(twice(at, 2 * eggs_each(s) * bits / 8), c->pick);
    if (bits == 3) v = _mm256_srli_epi16(_mm256_mullo_epi16(v, c->move), 10);
    else if (bits != 4) v = _mm256_mulhi_epu16(v, c->move);
    return _mm256_and_si256(_mm256_or_si256(v, _mm256_slli_epi16(v, 8 - bits)), c->mask);
}

INLINE bytes signed_numbers(const char *at, int bits, enum eggs_spread s, const codebook *c) {
    if (bits < 8) return _mm256_shuffle_epi8(c->table, numbers(at, bits, s, c));
    if (s != EGGS_THREE) return load((const int8_t *)at);
    return _mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)at)),
                                                       _mm_loadu_si128((const __m128i *)(at + 8)), 1), c->pick);
}

INLINE bytes position_numbers(const char *at, int bits, enum eggs_spread s, const codebook *c) {
    return _mm256_or_si256(numbers(at, bits, s, c), c->table);
}

INLINE bytes part(const int8_t *x, int i, bytes at) { return _mm256_shuffle_epi8(load(x + 32 * i), at); }

INLINE bytes chosen(const int8_t *x, bytes at, enum eggs_spread s) {
    if (s == EGGS_THREE) return part(x, 0, at);
    if (s == EGGS_HALF) return _mm256_blend_epi32(part(x, 0, at), part(x, 1, at), 0xcc);
    return _mm256_blend_epi32(_mm256_blend_epi32(part(x, 0, at), part(x, 1, at), 0x22),
                              _mm256_blend_epi32(part(x, 2, at), part(x, 3, at), 0x88), 0xcc);
}

INLINE floats times(bytes values, bytes x) {
    const bytes pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(values), _mm256_sign_epi8(x, values));
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

INLINE floats no_floats(void) { return _mm256_setzero_ps(); }

INLINE floats scaled_sum(floats products, const float *scale, enum eggs_spread s, floats sum) {
    (void)s;
    return _mm256_fmadd_ps(products, _mm256_broadcast_ss(scale), sum);
}

INLINE float total(floats a, floats b) {
    a = _mm256_add_ps(a, b);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

INLINE void multiply_scales(const uint16_t *weights, const float *x, int64_t count, float *to) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(to + i, _mm256_mul_ps(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(weights + i))), _mm256_loadu_ps(x + i)));
    for (; i < count; i++) to[i] = _cvtsh_ss(weights[i]) * x[i];
    to[count] = 0;
}

INLINE void ask_for(const char *values) { _mm_prefetch(values + AHEAD, _MM_HINT_T0); }

#include "nm_int_rows.h"
#endif
