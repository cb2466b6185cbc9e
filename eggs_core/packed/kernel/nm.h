/* Products with N:M packed weights: what the instruction-set paths and the threads share. Format: docs/packed-format.md */
#ifndef EGGS_NM_H
#define EGGS_NM_H
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

/* From EGGS_INT8 on: whole numbers of eggs_bits bits times a scale. Only values are of such a kind. */
enum eggs_dtype { EGGS_FP32 = 0, EGGS_BF16 = 1, EGGS_FP16 = 2, EGGS_INT8 = 3, EGGS_INT4 = 4, EGGS_INT3 = 5, EGGS_INT2 = 6 };
enum eggs_path { EGGS_PORTABLE = 0, EGGS_AVX2 = 1, EGGS_AVX512 = 2, EGGS_BF16_DOT = 3, EGGS_NEON = 1 }; /* of a processor's own */

/* One packed matrix, or a dense one: keep = group, no positions. library.py mirrors this struct field by field. */
typedef struct {
    const void *values;         /* (out, kept) in dtype, row-major; below 8 bits each row in whole 32-bit words */
    const uint32_t *positions;  /* (out, words): kept positions of `bits` bits, little-endian, least bits first */
    const int32_t *permutation; /* (in): original column of each packed column; NULL for the identity */
    const void *bias;           /* (out) in plain, or NULL */
    const uint16_t *scales;     /* fp16 (out, ⌈kept / scaled⌉) of whole numbers, else NULL */
    int64_t out, in, kept, words, scaled;
    int32_t keep, group, bits, dtype;
    int32_t result, plain; /* dtype of y; of x, the bias and what is unpacked: dtype itself unless values are rounded */
} eggs_layer;

/* Runs body(data) on up to `threads` threads and waits; the signature is GOMP_parallel's. */
typedef void (*eggs_parallel)(void (*body)(void *), void *data, unsigned threads, unsigned flags);

/* Threads that stay awake from one piece of work to the next: a leader hands out pieces, the others take them. */
typedef struct eggs_team eggs_team;
typedef void (*eggs_lead)(eggs_team *, void *data);
typedef void (*eggs_piece)(void *data, int64_t piece);
void eggs_team_work(eggs_lead lead, void *data, int threads, eggs_parallel parallel);
void eggs_team_share(eggs_team *, eggs_piece work, void *data, int64_t pieces); /* done when it returns; NULL: alone */
void eggs_share(eggs_piece work, void *data, int64_t pieces, int threads, eggs_parallel parallel);

/* y[t·out + r] = bias[r] + Σ x[…]·row r, for rows r0 ≤ r < r1; x as eggs_way says, y in the layer's result. */
typedef void (*eggs_rows)(const eggs_layer *layer, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1);
void eggs_rows_portable(const eggs_layer *, const void *, int64_t, void *, int64_t, int64_t);
void eggs_rows_avx2(const eggs_layer *, const void *, int64_t, void *, int64_t, int64_t);
void eggs_arrange_avx2(const eggs_layer *, const float *x, float *to);
int64_t eggs_room_avx2(const eggs_layer *);
double eggs_sum_avx2(const float *, int64_t);
void eggs_rows_words(const eggs_layer *, const void *, int64_t, void *, int64_t, int64_t);
void eggs_arrange_words(const eggs_layer *, const float *x, float *to);
int64_t eggs_room_words(const eggs_layer *);
void eggs_rows_beside_avx2(const eggs_layer *, const void *, int64_t, void *, int64_t, int64_t);
void eggs_rows_beside_avx512(const eggs_layer *, const void *, int64_t, void *, int64_t, int64_t);
void eggs_flip(const float *from, int64_t from_step, float *to, int64_t to_step, int64_t rows, int64_t columns);
void eggs_rows_avx512(const eggs_layer *, const void *, int64_t, void *, int64_t, int64_t);
void eggs_rows_vbmi(const eggs_layer *, const void *, int64_t, void *, int64_t, int64_t);
void eggs_rows_bf16(const eggs_layer *, const void *, int64_t, void *, int64_t, int64_t);
void eggs_rows_panel(const eggs_layer *, const void *, int64_t, void *, int64_t, int64_t);

/* What multiplies a layer, and how it reads x: in x_dtype and packed column order, or as `arrange` puts it; with `beside`
   tokens lie side by side, (in, tokens) in blocks of four times as many, the last of as many times as it needs. */
typedef struct {
    eggs_rows rows;
    void (*arrange)(const eggs_layer *, const float *x, float *to); /* from the original column order; or NULL */
    int64_t stride; /* elements of one token's x */
    int x_dtype, beside;
} eggs_way;
eggs_way eggs_way_of(const eggs_layer *, int path, int64_t tokens);

/* Layers of whole numbers, whose x is rounded too: nm_int.h. */
#define EGGS_INT_PATH(NAME) \
    void eggs_rows_int_##NAME(const eggs_layer *, const void *, int64_t, void *, int64_t, int64_t); \
    void eggs_arrange_int_##NAME(const eggs_layer *, const float *x, float *to); \
    int64_t eggs_room_int_##NAME(const eggs_layer *);
EGGS_INT_PATH(portable)
EGGS_INT_PATH(avx2)
EGGS_INT_PATH(avx512)
EGGS_INT_PATH(neon)

/* One call: `count` layers that read the same x, (tokens, in) in their plain. y takes of each layer in turn (tokens, out) in
   its result, one after the other. call.py packs these fields as they stand here. */
typedef struct {
    const eggs_layer *layers;
    const void *x;
    void *y;
    eggs_parallel parallel;
    int64_t tokens;
    int32_t count, threads, path;
} eggs_request;
int eggs_linear(const eggs_request *);

/* Layers that read the same x, as pieces of some rows each. */
#define EGGS_MOST 8
typedef struct {
    const eggs_layer *layers;
    const void *x[EGGS_MOST];
    void *y[EGGS_MOST];
    eggs_way way[EGGS_MOST];
    int count;
    int64_t tokens, step, pieces, bytes;
} eggs_product;
int64_t eggs_product_room(const eggs_layer *, int count, int64_t tokens, int path); /* bytes that eggs_product_of needs */
void eggs_product_of(eggs_product *, const eggs_layer *, int count, const void *x, int x_dtype, int64_t tokens, int path,
                     int threads, eggs_parallel, void *room); /* all but y */
void eggs_product_piece(void *product, int64_t piece);

#define EGGS_BESIDE 8 /* tokens from which on AVX2 reads them side by side, two more where values have 16 bits */
#define EGGS_BESIDE_512 29 /* and AVX-512 */
#define EGGS_MANY 32 /* tokens from which on unpacked panels of rows pay, which are multiples of EGGS_PANEL */
#define EGGS_PANEL 32
#define EGGS_ROWS 4 /* rows that the vector paths take together */
/* Ends a block of n ≤ EGGS_ROWS rows times `tokens`: adds the kept weights from index `done` on and the bias to
   sums[t·EGGS_ROWS + i], and writes them. x (in x_dtype) and y begin at the block's first token. */
void eggs_finish(const eggs_layer *, const void *x, int x_dtype, void *y, int64_t r, int64_t n, int64_t tokens,
                 int64_t done, const float *sums);

/* dense[(r − r0)·in + …] = row r with its zeros, in plain and packed column order. */
typedef void (*eggs_dense)(const eggs_layer *layer, void *dense, int64_t r0, int64_t r1);
eggs_dense eggs_dense_of(const eggs_layer *, int path);
void eggs_dense_portable(const eggs_layer *, void *, int64_t, int64_t);
void eggs_dense_avx2(const eggs_layer *, void *, int64_t, int64_t);
void eggs_dense_avx512(const eggs_layer *, void *, int64_t, int64_t);
void eggs_dense_vbmi2(const eggs_layer *, void *, int64_t, int64_t);
double eggs_sum_avx512(const float *, int64_t);

/* Can this path run the layer's pattern at full speed? The portable path takes every pattern. */
int eggs_avx2_takes(const eggs_layer *);
int eggs_words_takes(const eggs_layer *); /* of those that AVX2 takes */
int eggs_beside_takes(const eggs_layer *);
int eggs_avx512_takes(const eggs_layer *);
int eggs_bf16_takes(const eggs_layer *);
int eggs_panel_takes(const eggs_layer *);
int eggs_int512_takes(const eggs_layer *);

static inline float eggs_from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline uint32_t eggs_to_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}

static inline float eggs_from_half(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 1023;
    if (exponent == 31) return eggs_from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent) return eggs_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float small = (float)fraction * 0x1p-24f;
    return sign ? -small : small;
}

static inline uint16_t eggs_to_half(float f) { /* to nearest, ties to even, as torch does */
    uint32_t bits = eggs_to_bits(f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00); /* 65,520 and more round to infinity */
    if (magnitude < 0x38800000u) { /* subnormal half: adding ½ shifts the fraction in place, rounded by the FPU */
        return (uint16_t)(sign | (eggs_to_bits(eggs_from_bits(magnitude) + 0.5f) - 0x3f000000u));
    }
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfff + (magnitude >> 13 & 1)) >> 13));
}

static inline uint16_t eggs_to_bfloat(float f) { /* to nearest, ties to even, as torch does */
    uint32_t bits = eggs_to_bits(f);
    if ((bits & 0x7fffffff) > 0x7f800000u) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float eggs_read(const void *p, int64_t at, int dtype) {
    if (dtype == EGGS_FP32) return ((const float *)p)[at];
    uint16_t bits = ((const uint16_t *)p)[at];
    return dtype == EGGS_BF16 ? eggs_from_bits((uint32_t)bits << 16) : eggs_from_half(bits);
}

static inline void eggs_write(void *p, int64_t at, int dtype, float f) {
    if (dtype == EGGS_FP32) ((float *)p)[at] = f;
    else ((uint16_t *)p)[at] = dtype == EGGS_BF16 ? eggs_to_bfloat(f) : eggs_to_half(f);
}

static inline int64_t eggs_size(int dtype) { return dtype == EGGS_FP32 ? 4 : 2; }

static inline float eggs_bias(const eggs_layer *l, int64_t r) { return l->bias ? eggs_read(l->bias, r, l->plain) : 0.0f; }

/* The position of kept weight j in its group, from a row's words. */
static inline uint32_t eggs_position(const uint32_t *row, int64_t j, int bits) {
    int64_t bit = j * bits, word = bit >> 5;
    int shift = (int)(bit & 31);
    uint64_t window = row[word];
    if (shift + bits > 32) window |= (uint64_t)row[word + 1] << 32;
    return (uint32_t)(window >> shift) & ((1u << bits) - 1);
}

static inline int eggs_bits(int dtype) { return dtype == EGGS_INT8 ? 8 : 8 - dtype; }

static inline int64_t eggs_row_bytes(const eggs_layer *l) {
    if (l->dtype <= EGGS_INT8) return l->kept * (l->dtype == EGGS_FP32 ? 4 : l->dtype == EGGS_INT8 ? 1 : 2);
    return (l->kept * eggs_bits(l->dtype) + 31) / 32 * 4;
}

static inline int64_t eggs_scales(const eggs_layer *l) { return l->scales ? (l->kept + l->scaled - 1) / l->scaled : 0; }

/* Kept weight j of row r. */
static inline float eggs_weight(const eggs_layer *l, int64_t r, int64_t j) {
    if (l->dtype <= EGGS_FP16) return eggs_read(l->values, r * l->kept + j, l->dtype);
    const int bits = eggs_bits(l->dtype);
    const char *row = (const char *)l->values + r * eggs_row_bytes(l);
    int code = bits == 8 ? ((const int8_t *)row)[j] : (int)eggs_position((const uint32_t *)(const void *)row, j, bits);
    if (bits < 8 && code >> (bits - 1)) code -= 1 << bits;
    return (float)code * eggs_from_half(l->scales[r * eggs_scales(l) + j / l->scaled]);
}

/* The packed column of kept weight j of row r. */
static inline int64_t eggs_column(const eggs_layer *l, int64_t r, int64_t j) {
    if (l->keep == l->group) return j;
    return j / l->keep * l->group + eggs_position(l->positions + r * l->words, j, l->bits);
}
#endif
