/* AVX2 path: sixteen kept weights at a time, rows one after the other, so that the weights are read in
   address order. x is arranged beforehand (eggs_arrange_avx2) so that each half of a register holds the four columns
   that the four weights beside it may come from; two bits of a position then pick by vpermilps, which needs no mask. */
#include "nm.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define AHEAD 8192 /* bytes of weights that are asked for in advance, and the positions beside them */

enum kind { NONE, DENSE, ONE_OF_2, TWO_OF_4, ONE_OF_4, THREE_OF_4, FOUR_OF_8, TWO_OF_8 };

static enum kind kind_of(const eggs_layer *l) {
    if (l->keep == l->group) return DENSE;
    if (l->group == 2) return ONE_OF_2;
    if (l->group == 4) return l->keep == 2 ? TWO_OF_4 : l->keep == 1 ? ONE_OF_4 : THREE_OF_4;
    if (l->group == 8 && l->keep == 4) return FOUR_OF_8;
    if (l->group == 8 && l->keep == 2) return TWO_OF_8;
    return NONE;
}

/* Registers of x that eight weights pick from. */
static inline int registers(enum kind kind) { return kind == DENSE ? 1 : kind == ONE_OF_4 || kind == TWO_OF_8 ? 4 : 2; }

int eggs_avx2_takes(const eggs_layer *l) { return !l->scales && kind_of(l) != NONE; }

int64_t eggs_room_avx2(const eggs_layer *l) { /* floats that the arranged x takes */
    return l->kept / 16 * 16 * registers(kind_of(l)) + l->in;
}

void eggs_arrange_avx2(const eggs_layer *l, const float *x, float *to) {
    const enum kind kind = kind_of(l);
    const int count = registers(kind), apart = l->dtype == EGGS_BF16; /* bf16: a register holds halves 0 and 2, 1 and 3 */
    const int32_t *perm = l->permutation;
    const int64_t steps = l->kept / 16;
    for (int64_t s = 0; s < steps; s++)
        for (int v = 0; v < 2; v++)
            for (int i = 0; i < count; i++)
                for (int side = 0; side < 2; side++, to += 4) {
                    int64_t half = 4 * s + (apart ? v + 2 * side : 2 * v + side);
                    int64_t at = 4 * (kind == THREE_OF_4 ? 4 * half / 3 + i : count * half + i);
                    if (!perm) memcpy(to, x + at, 16);
                    else for (int k = 0; k < 4; k++) to[k] = x[perm[at + k]];
                }
    for (int64_t c = steps * 16 / l->keep * l->group; c < l->in; c++) *to++ = x[perm ? perm[c] : c];
}

INLINE void weights(const char *row, int64_t j, int dtype, __m256 *a, __m256 *b) {
    if (dtype == EGGS_FP32) {
        *a = _mm256_loadu_ps((const float *)row + j), *b = _mm256_loadu_ps((const float *)row + j + 8);
    } else if (dtype == EGGS_BF16) { /* the lower halves of both lanes, then the upper ones */
        __m256i raw = _mm256_loadu_si256((const __m256i *)((const uint16_t *)row + j));
        *a = _mm256_castsi256_ps(_mm256_unpacklo_epi16(_mm256_setzero_si256(), raw));
        *b = _mm256_castsi256_ps(_mm256_unpackhi_epi16(_mm256_setzero_si256(), raw));
    } else {
        *a = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)row + j)));
        *b = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)row + j + 8)));
    }
}

typedef struct {
    __m256i shift[2];  /* of the lanes of both registers */
    __m256 second[3];  /* 3:4: lanes that pick from the second register, by half modulo 3 */
    int64_t last;      /* bytes of the row's positions less four */
} decoder;

TARGET static decoder make_decoder(const eggs_layer *l, enum kind kind) {
    int32_t shift[2][8], lanes[3][8];
    const int apart = l->dtype == EGGS_BF16;
    for (int v = 0; v < 2; v++)
        for (int i = 0; i < 8; i++) {
            int half = apart ? v + 2 * (i / 4) : 2 * v + i / 4, bit = (4 * half + i % 4) * l->bits;
            shift[v][i] = kind == FOUR_OF_8 || kind == TWO_OF_8 ? bit % 24 : bit;
        }
    /* vectors of 3:4 come round after three: the first half's number modulo 3 says which it is, the second is one (or
       two) halves further */
    for (int m = 0; m < 3; m++)
        for (int i = 0; i < 8; i++) {
            int half = (m + (i < 4 ? 0 : apart ? 2 : 1)) % 3;
            lanes[m][i] = i % 4 > 2 - half ? -1 : 0;
        }
    decoder d;
    for (int v = 0; v < 2; v++) d.shift[v] = _mm256_loadu_si256((const __m256i *)shift[v]);
    for (int m = 0; m < 3; m++) d.second[m] = _mm256_castsi256_ps(_mm256_loadu_si256((const __m256i *)lanes[m]));
    d.last = l->words * 4 - 4;
    return d;
}

INLINE __m256i four_bytes(const unsigned char *p) {
    int32_t code;
    memcpy(&code, p, 4);
    return _mm256_set1_epi32(code);
}

INLINE __m256i two_bytes(const unsigned char *p) {
    uint16_t code;
    memcpy(&code, p, 2);
    return _mm256_set1_epi32(code);
}

/* The position bits of sixteen weights, each lane shifted so that its position is lowest. */
INLINE void positions(const unsigned char *row, int64_t s, enum kind kind, int dtype, const decoder *d, __m256i *a, __m256i *b) {
    if (kind == FOUR_OF_8 || kind == TWO_OF_8) {
        const int64_t second = 6 * s + 3;
        __m256i first = four_bytes(row + 6 * s), next = second <= d->last ? four_bytes(row + second)
                                                        : _mm256_srli_epi32(four_bytes(row + second - 1), 8);
        if (dtype == EGGS_BF16) first = next = _mm256_blend_epi32(first, next, 0xf0);
        *a = _mm256_srlv_epi32(first, d->shift[0]), *b = _mm256_srlv_epi32(next, d->shift[1]);
    } else {
        __m256i codes = kind == ONE_OF_2 ? two_bytes(row + 2 * s) : four_bytes(row + 4 * s);
        *a = _mm256_srlv_epi32(codes, d->shift[0]), *b = _mm256_srlv_epi32(codes, d->shift[1]);
    }
}

INLINE __m256 from(const float *x, int i, __m256i at) { return _mm256_permutevar_ps(_mm256_loadu_ps(x + 8 * i), at); }

/* Which of both: bit 2 of the position. */
INLINE __m256 either(const float *x, int i, __m256i at) {
    return _mm256_blendv_ps(from(x, i, at), from(x, i + 1, at), _mm256_castsi256_ps(_mm256_slli_epi32(at, 29)));
}

INLINE __m256 pick(const float *x, __m256i at, enum kind kind, __m256 second) {
    switch (kind) {
        case DENSE: return _mm256_loadu_ps(x);
        case ONE_OF_2: /* bit 0 within a pair; every other pair is the upper one of its four columns */
            at = _mm256_or_si256(_mm256_and_si256(at, _mm256_set1_epi32(1)), _mm256_set1_epi64x(2LL << 32));
            return _mm256_blend_ps(from(x, 0, at), from(x, 1, at), 0xcc);
        case TWO_OF_4: return _mm256_blend_ps(from(x, 0, at), from(x, 1, at), 0xcc);
        case ONE_OF_4:
            return _mm256_blend_ps(_mm256_blend_ps(from(x, 0, at), from(x, 1, at), 0x22),
                                   _mm256_blend_ps(from(x, 2, at), from(x, 3, at), 0x88), 0xcc);
        case THREE_OF_4: return _mm256_blendv_ps(from(x, 0, at), from(x, 1, at), second);
        case FOUR_OF_8: return either(x, 0, at);
        default: return _mm256_blend_ps(either(x, 0, at), either(x, 2, at), 0xcc);
    }
}

/* Sixteen weights, the `turn`-th of three that 3:4 takes in turn. */
INLINE void sixteen(const char *v, const unsigned char *p, const float *x, int64_t s, int turn, enum kind kind, int dtype,
                    const decoder *d, __m256 *a, __m256 *b) {
    const int count = registers(kind);
    __m256 wa, wb;
    __m256i ia = _mm256_setzero_si256(), ib = ia;
    const int first = 4 * turn, next = dtype == EGGS_BF16 ? first + 1 : first + 2; /* first halves of both registers */
    if (kind != DENSE) positions(p, s, kind, dtype, d, &ia, &ib);
    weights(v, 16 * s, dtype, &wa, &wb);
    x += 16 * count * s;
    *a = _mm256_fmadd_ps(wa, pick(x, ia, kind, d->second[first % 3]), *a);
    *b = _mm256_fmadd_ps(wb, pick(x + 8 * count, ib, kind, d->second[next % 3]), *b);
}

INLINE float total(__m256 a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#include "nm_totals256.h"

INLINE __m256 row_of(const eggs_layer *l, const float *x, int64_t r, enum kind kind, int dtype, const decoder *d) {
    const int64_t steps = l->kept / 16, line = dtype == EGGS_FP32 ? 64 : 32;
    const char *v = (const char *)l->values + r * l->kept * eggs_size(dtype);
    const unsigned char *p = (const unsigned char *)(l->positions + r * l->words);
    __m256 a = _mm256_setzero_ps(), b = a, c = a, e = a;
    int64_t s = 0;
    for (int k = 0; k < 4 * l->words; k += 64) _mm_prefetch((const char *)p + k + AHEAD * 4 / line, _MM_HINT_T0);
    for (; s + 6 <= steps; s += 6) {
        for (int k = 0; k < 6 * line; k += 64) _mm_prefetch(v + line * s + k + AHEAD, _MM_HINT_T0);
        sixteen(v, p, x, s, 0, kind, dtype, d, &a, &b), sixteen(v, p, x, s + 1, 1, kind, dtype, d, &c, &e);
        sixteen(v, p, x, s + 2, 2, kind, dtype, d, &a, &b), sixteen(v, p, x, s + 3, 0, kind, dtype, d, &c, &e);
        sixteen(v, p, x, s + 4, 1, kind, dtype, d, &a, &b), sixteen(v, p, x, s + 5, 2, kind, dtype, d, &c, &e);
    }
    for (; s < steps; s++) {
        _mm_prefetch(v + line * s + AHEAD, _MM_HINT_T0);
        if (s % 3 == 0) sixteen(v, p, x, s, 0, kind, dtype, d, &a, &b);
        else if (s % 3 == 1) sixteen(v, p, x, s, 1, kind, dtype, d, &c, &e);
        else sixteen(v, p, x, s, 2, kind, dtype, d, &a, &b);
    }
    return _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, e));
}

/* All rows of a piece; further tokens while the weights of EGGS_ROWS rows are in cache. */
INLINE void rows_of(const eggs_layer *l, const float *x, int64_t tokens, char *y, int64_t r0, int64_t r1, enum kind kind,
                    int dtype) {
    const int64_t steps = l->kept / 16, stride = eggs_room_avx2(l), step = l->out * eggs_size(l->result);
    const int64_t rest = 16 * registers(kind) * steps - steps * 16 / l->keep * l->group; /* from columns to their place */
    const decoder d = make_decoder(l, kind);
    for (int64_t r = r0; r < r1; r += EGGS_ROWS) {
        const int64_t n = r1 - r < EGGS_ROWS ? r1 - r : EGGS_ROWS;
        for (int64_t t = 0; t < tokens; t++) {
            float sums[EGGS_ROWS];
            __m256 parts[EGGS_ROWS];
            for (int64_t i = n; i < EGGS_ROWS; i++) parts[i] = _mm256_setzero_ps();
            for (int64_t i = 0; i < n; i++) parts[i] = row_of(l, x + t * stride, r + i, kind, dtype, &d);
            totals(parts, sums);
            eggs_finish(l, x + t * stride + rest, EGGS_FP32, y + t * step, r, n, 1, steps * 16, sums);
        }
    }
}

#define CASE(KIND) \
    case KIND: \
        if (l->dtype == EGGS_FP32) rows_of(l, x, tokens, y, r0, r1, KIND, EGGS_FP32); \
        else if (l->dtype == EGGS_BF16) rows_of(l, x, tokens, y, r0, r1, KIND, EGGS_BF16); \
        else rows_of(l, x, tokens, y, r0, r1, KIND, EGGS_FP16); \
        break;

TARGET void eggs_rows_avx2(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    switch (kind_of(l)) {
        CASE(DENSE) CASE(ONE_OF_2) CASE(TWO_OF_4) CASE(ONE_OF_4) CASE(THREE_OF_4) CASE(FOUR_OF_8) CASE(TWO_OF_8)
        default: break;
    }
}

/* Unpacking of groups of four: a shuffle puts the bytes of a group's kept weights into their columns and zeros between.
   There is one shuffle for each of the 4^keep codes of positions. */
typedef struct {
    uint8_t of[64][16];
} shuffles;

INLINE void make_shuffles(shuffles *s, int keep, int size) {
    memset(s->of, 0x80, (size_t)16 << 2 * keep); /* 0x80 gives zero */
    for (int code = 0; code < 1 << 2 * keep; code++)
        for (int i = 0; i < keep; i++)
            for (int b = 0; b < size; b++) s->of[code][(code >> 2 * i & 3) * size + b] = (uint8_t)(i * size + b);
}

INLINE int code_of(const unsigned char *row, int64_t group, int keep) {
    const int64_t bit = 2 * keep * group;
    const int shift = (int)(bit & 7), bits = 2 * keep;
    int code = row[bit >> 3] >> shift;
    if (shift + bits > 8) code |= row[(bit >> 3) + 1] << (8 - shift);
    return code & ((1 << bits) - 1);
}

INLINE __m128i some_bytes(const char *from, int count) { /* 2, 4, 6, 8 or 12 of them, and no more are read */
    uint64_t low = 0;
    uint32_t high = 0;
    memcpy(&low, from, (size_t)(count < 8 ? count : 8));
    if (count > 8) memcpy(&high, from + 8, 4);
    return _mm_set_epi64x((int64_t)high, (int64_t)low);
}

/* keep and size are constants at each call; sixteen bytes of a dense row at a time. */
INLINE void dense_groups(const eggs_layer *l, char *to, int64_t r0, int64_t r1, int keep, int size) {
    shuffles table;
    make_shuffles(&table, keep, size);
    const int64_t groups = l->in / 4, bytes = keep * size;
    const __m128i next = _mm_set1_epi8((char)bytes);
    for (int64_t r = r0; r < r1; r++) {
        const unsigned char *p = (const unsigned char *)(l->positions + r * l->words);
        const char *v = (const char *)l->values + r * l->kept * size;
        int64_t g = 0;
        if (size == 4)
            for (; g < groups; g++, v += bytes, to += 16) {
                const __m128i how = _mm_loadu_si128((const __m128i *)table.of[code_of(p, g, keep)]);
                _mm_storeu_si128((__m128i *)to, _mm_shuffle_epi8(some_bytes(v, 4 * keep), how));
            }
        for (; g + 2 <= groups; g += 2, v += 2 * bytes, to += 16) {
            const __m128i first = _mm_loadl_epi64((const __m128i *)table.of[code_of(p, g, keep)]);
            const __m128i second = _mm_loadl_epi64((const __m128i *)table.of[code_of(p, g + 1, keep)]);
            const __m128i how = _mm_unpacklo_epi64(first, _mm_add_epi8(second, next));
            _mm_storeu_si128((__m128i *)to, _mm_shuffle_epi8(some_bytes(v, 4 * keep), how));
        }
        if (g < groups) {
            const __m128i how = _mm_loadl_epi64((const __m128i *)table.of[code_of(p, g, keep)]);
            _mm_storel_epi64((__m128i *)to, _mm_shuffle_epi8(some_bytes(v, 2 * keep), how));
            to += 8;
        }
    }
}

TARGET void eggs_dense_avx2(const eggs_layer *l, void *dense, int64_t r0, int64_t r1) {
    const int wide = l->dtype == EGGS_FP32;
    if (l->keep == 1 && wide) dense_groups(l, dense, r0, r1, 1, 4);
    else if (l->keep == 1) dense_groups(l, dense, r0, r1, 1, 2);
    else if (l->keep == 2 && wide) dense_groups(l, dense, r0, r1, 2, 4);
    else if (l->keep == 2) dense_groups(l, dense, r0, r1, 2, 2);
    else if (wide) dense_groups(l, dense, r0, r1, 3, 4);
    else dense_groups(l, dense, r0, r1, 3, 2);
}

/* The sum of some floats, read as fast as memory gives them. */
TARGET double eggs_sum_avx2(const float *data, int64_t length) {
    __m256 sums[8];
    for (int k = 0; k < 8; k++) sums[k] = _mm256_setzero_ps();
    int64_t i = 0;
    for (; i + 64 <= length; i += 64) {
        for (int k = 0; k < 4; k++) _mm_prefetch((const char *)(data + i + 16 * k) + AHEAD, _MM_HINT_T0);
        for (int k = 0; k < 8; k++) sums[k] = _mm256_add_ps(sums[k], _mm256_loadu_ps(data + i + 8 * k));
    }
    double sum = 0;
    for (int k = 0; k < 8; k++) sum += total(sums[k]);
    for (; i < length; i++) sum += data[i];
    return sum;
}
#endif
