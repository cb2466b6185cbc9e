/* AVX2 path of bf16: sixteen columns are picked while they are bf16 as well, and only then widened, with the weights. That
   takes fewer shuffles, of which a processor has one or two a cycle, than picking fp32 columns. x is arranged so that a
   weight's choices of column lie in its own place of two to four registers, of which its position's bits take one; in
   groups of eight a shuffle picks from eight columns. */
#include "nm.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define AHEAD 8192 /* bytes of weights that are asked for in advance, and the positions beside them */

/* 1:2 and 3:4, where bit 0 of a position says which of two; 2:4, where each weight has three choices; 1:4; 4:8; 2:8 */
enum kind { NONE, OF_TWO, OF_THREE, OF_FOUR, FOUR_OF_EIGHT, TWO_OF_EIGHT };

static enum kind kind_of(const eggs_layer *l) {
    if (l->dtype != EGGS_BF16 || l->plain != EGGS_BF16 || l->keep == l->group) return NONE; /* x in fp32 stays as it is */
    if (l->group == 2) return OF_TWO;
    if (l->group == 4) return l->keep == 3 ? OF_TWO : l->keep == 2 ? OF_THREE : OF_FOUR;
    if (l->group == 8 && l->keep == 4) return FOUR_OF_EIGHT;
    return l->group == 8 && l->keep == 2 ? TWO_OF_EIGHT : NONE;
}

static inline int registers(enum kind kind) { /* of x that sixteen weights pick from */
    return kind == OF_TWO || kind == FOUR_OF_EIGHT ? 2 : kind == OF_THREE ? 3 : 4;
}

int eggs_words_takes(const eggs_layer *l) { return kind_of(l) != NONE; }

int64_t eggs_room_words(const eggs_layer *l) { /* floats that the arranged x takes: bf16, then columns that are left over */
    return l->kept / 16 * 8 * registers(kind_of(l)) + l->in;
}

/* The column, from its group's first, that a group's weight `w` has as its choice `k`. Of 3:4 bit 0 of the position tells
   0 from 1, 2 from 1, and 2 from 3; of 2:4 it tells 0 from 1 and 2 from 3, and bit 1 these from the last choice. */
static int choice(int keep, int w, int k) {
    static const int second[3] = {2, 3, 1};
    return keep == 3 ? (w == 1 ? 2 - k : w + k) : keep == 2 && w == 1 ? second[k] : k;
}

static int column(const eggs_layer *l, enum kind kind, int j, int k) { /* the same, from the first of `turns` steps */
    const int place = j % 16, lane = place / 8;
    if (kind == TWO_OF_EIGHT) return 32 * lane + 8 * k + place % 8;
    if (kind == FOUR_OF_EIGHT) return 16 * lane + 8 * k + place % 8;
    return j / l->keep * l->group + choice(l->keep, j % l->keep, k);
}

void eggs_arrange_words(const eggs_layer *l, const float *x, float *to) {
    const enum kind kind = kind_of(l);
    const int count = 16 * registers(kind), turns = l->keep == 3 ? 3 : 1; /* groups of 3 begin anew after three steps */
    const int64_t steps = l->kept / 16, columns = turns * 16 / l->keep * l->group;
    const int32_t *perm = l->permutation;
    uint16_t *words = (uint16_t *)to;
    int32_t from[3][64];
    for (int m = 0; m < turns; m++)
        for (int i = 0; i < count; i++) from[m][i] = column(l, kind, 16 * m + i % 16, i / 16);
    for (int64_t s = 0; s < steps; s++, words += count) {
        const int64_t base = s / turns * columns;
        const int32_t *at = from[s % turns];
        if (perm) for (int i = 0; i < count; i++) words[i] = eggs_to_bfloat(x[perm[base + at[i]]]);
        else for (int i = 0; i < count; i++) words[i] = eggs_to_bfloat(x[base + at[i]]);
    }
    to += steps * count / 2;
    for (int64_t c = steps * 16 / l->keep * l->group; c < l->in; c++) *to++ = x[perm ? perm[c] : c];
}

typedef struct {
    __m256i bytes, up; /* which bytes hold each position, and the power of two that makes its bits the uppermost */
} decoder;

TARGET static decoder make_decoder(const eggs_layer *l, enum kind kind) {
    uint8_t bytes[32];
    uint16_t up[16];
    for (int i = 0; i < 16; i++) {
        const int bit = i * l->bits, byte = bit / 8, eight = l->group == 8;
        const int least = kind == OF_TWO ? 7 : eight ? 13 : 6;
        bytes[2 * i] = (uint8_t)byte, bytes[2 * i + 1] = (uint8_t)(eight ? byte + 1 : byte);
        up[i] = (uint16_t)(1 << (least - bit % 8));
    }
    return (decoder){_mm256_loadu_si256((const __m256i *)bytes), _mm256_loadu_si256((const __m256i *)up)};
}

/* The positions of step s in every half of a register. At the row's end no byte is read that lies beyond them. */
INLINE __m256i codes_of(const unsigned char *p, int64_t s, int bits, int end) {
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    if (bits == 1) return memcpy(&two, p + 2 * s, 2), _mm256_set1_epi16((int16_t)two);
    if (bits == 2) return memcpy(&four, p + 4 * s, 4), _mm256_set1_epi32((int32_t)four);
    if (!end) return memcpy(&eight, p + 6 * s, 8), _mm256_set1_epi64x((int64_t)eight);
    memcpy(&four, p + 6 * s, 4), memcpy(&two, p + 6 * s + 4, 2);
    return _mm256_set1_epi64x((int64_t)(four | (uint64_t)two << 32));
}

INLINE __m256i words_at(const uint16_t *x, int64_t r) { return _mm256_loadu_si256((const __m256i *)(x + 16 * r)); }

INLINE __m256i pick(const uint16_t *x, __m256i codes, enum kind kind, const decoder *d) {
    codes = _mm256_mullo_epi16(_mm256_shuffle_epi8(codes, d->bytes), d->up);
    if (kind == OF_TWO) return _mm256_blendv_epi8(words_at(x, 0), words_at(x, 1), codes);
    const __m256i low = _mm256_add_epi8(codes, codes); /* the bit below the uppermost */
    if (kind == OF_THREE) { /* a second weight's last choice is that of bit 1 at 0 */
        codes = _mm256_xor_si256(codes, _mm256_set1_epi32((int32_t)0x80800000));
        return _mm256_blendv_epi8(_mm256_blendv_epi8(words_at(x, 0), words_at(x, 1), low), words_at(x, 2), codes);
    }
    if (kind == OF_FOUR)
        return _mm256_blendv_epi8(_mm256_blendv_epi8(words_at(x, 0), words_at(x, 1), low),
                                  _mm256_blendv_epi8(words_at(x, 2), words_at(x, 3), low), codes);
    /* three bits p become the bytes 2p and 2p + 1, which a shuffle takes */
    codes = _mm256_mulhi_epu16(_mm256_and_si256(codes, _mm256_set1_epi16((int16_t)0xe000)), _mm256_set1_epi16(0x1010));
    codes = _mm256_or_si256(codes, _mm256_set1_epi16(0x0100));
    const __m256i a = _mm256_shuffle_epi8(words_at(x, 0), codes), b = _mm256_shuffle_epi8(words_at(x, 1), codes);
    if (kind == FOUR_OF_EIGHT) return _mm256_blend_epi32(a, b, 0xcc);
    const __m256i c = _mm256_shuffle_epi8(words_at(x, 2), codes), e = _mm256_shuffle_epi8(words_at(x, 3), codes);
    return _mm256_blend_epi32(_mm256_blend_epi32(a, b, 0x22), _mm256_blend_epi32(c, e, 0x88), 0xcc);
}

INLINE __m256 even(__m256i words) { return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16)); }
INLINE __m256 odd(__m256i words) { return _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32((int32_t)0xffff0000))); }

INLINE void sixteen(const uint16_t *v, const unsigned char *p, const uint16_t *x, int64_t s, enum kind kind, int bits, int end,
                    const decoder *d, __m256 *a, __m256 *b) {
    const __m256i weights = words_at(v, s);
    const __m256i picked = pick(x + 16 * registers(kind) * s, codes_of(p, s, bits, end), kind, d);
    *a = _mm256_fmadd_ps(even(weights), even(picked), *a);
    *b = _mm256_fmadd_ps(odd(weights), odd(picked), *b);
}

#include "nm_totals256.h"

INLINE __m256 row_of(const eggs_layer *l, const uint16_t *x, int64_t r, enum kind kind, int bits, const decoder *d) {
    const int64_t steps = l->kept / 16;
    const uint16_t *v = (const uint16_t *)l->values + r * l->kept;
    const unsigned char *p = (const unsigned char *)(l->positions + r * l->words);
    __m256 a = _mm256_setzero_ps(), b = a, c = a, e = a;
    int64_t s = 0;
    for (int64_t k = 0; k < 4 * l->words; k += 64) _mm_prefetch((const char *)p + k + AHEAD / 16 * bits, _MM_HINT_T0);
    for (; s + 4 < steps; s += 4) {
        for (int k = 0; k < 64; k += 32) _mm_prefetch((const char *)(v + 16 * s + k) + AHEAD, _MM_HINT_T0);
        sixteen(v, p, x, s, kind, bits, 0, d, &a, &b), sixteen(v, p, x, s + 1, kind, bits, 0, d, &c, &e);
        sixteen(v, p, x, s + 2, kind, bits, 0, d, &a, &b), sixteen(v, p, x, s + 3, kind, bits, 0, d, &c, &e);
    }
    for (; s < steps; s++) {
        _mm_prefetch((const char *)(v + 16 * s) + AHEAD, _MM_HINT_T0);
        sixteen(v, p, x, s, kind, bits, 1, d, &a, &b);
    }
    return _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, e));
}

/* All rows of a piece; further tokens while the weights of EGGS_ROWS rows are in cache. */
INLINE void rows_of(const eggs_layer *l, const float *x, int64_t tokens, char *y, int64_t r0, int64_t r1, enum kind kind, int bits) {
    const int64_t done = l->kept / 16 * 16, stride = eggs_room_words(l), step = l->out * eggs_size(l->result);
    const int64_t rest = done / 2 * registers(kind) - done / l->keep * l->group; /* from columns to their place */
    const decoder d = make_decoder(l, kind);
    for (int64_t r = r0; r < r1; r += EGGS_ROWS) {
        const int64_t n = r1 - r < EGGS_ROWS ? r1 - r : EGGS_ROWS;
        for (int64_t t = 0; t < tokens; t++) {
            float sums[EGGS_ROWS];
            __m256 parts[EGGS_ROWS];
            for (int64_t i = n; i < EGGS_ROWS; i++) parts[i] = _mm256_setzero_ps();
            for (int64_t i = 0; i < n; i++) parts[i] = row_of(l, (const uint16_t *)(x + t * stride), r + i, kind, bits, &d);
            totals(parts, sums);
            eggs_finish(l, x + t * stride + rest, EGGS_FP32, y + t * step, r, n, 1, done, sums);
        }
    }
}

TARGET void eggs_rows_words(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    switch (kind_of(l)) {
        case OF_TWO:
            if (l->bits == 1) rows_of(l, x, tokens, y, r0, r1, OF_TWO, 1);
            else rows_of(l, x, tokens, y, r0, r1, OF_TWO, 2);
            break;
        case OF_THREE: rows_of(l, x, tokens, y, r0, r1, OF_THREE, 2); break;
        case OF_FOUR: rows_of(l, x, tokens, y, r0, r1, OF_FOUR, 2); break;
        case FOUR_OF_EIGHT: rows_of(l, x, tokens, y, r0, r1, FOUR_OF_EIGHT, 3); break;
        case TWO_OF_EIGHT: rows_of(l, x, tokens, y, r0, r1, TWO_OF_EIGHT, 3); break;
        default: break;
    }
}
#endif
