/* Products of whole numbers of 8, 4, 3 or 2 bits. x is rounded to 8 bits as well, with a scale for the columns that the
   kept weights of one scale come from, so that sums are whole numbers until they meet both scales. A token's x, as
   eggs_arrange_int leaves it: fp32 scales, then whole numbers in blocks of 16 columns. */
#ifndef EGGS_NM_INT_H
#define EGGS_NM_INT_H
#include "nm.h"
#include <math.h>

#define MOST_SCALES 2048 /* of a row that the vector paths take */
#define BLOCK 16         /* columns that one byte shuffle picks from */

/* How kept weights lie among blocks: all of a block, twelve, eight or four of one. */
enum eggs_spread { EGGS_ODD, EGGS_WHOLE, EGGS_THREE, EGGS_HALF, EGGS_QUARTER };

static inline enum eggs_spread eggs_spread_of(const eggs_layer *l) {
    if (l->keep == l->group) return EGGS_WHOLE;
    if (l->keep == 3 && l->group == 4) return EGGS_THREE;
    if (l->group > BLOCK || (l->group & (l->group - 1))) return EGGS_ODD;
    return 2 * l->keep == l->group ? EGGS_HALF : 4 * l->keep == l->group ? EGGS_QUARTER : EGGS_ODD;
}

/* Kept weights in a lane of 16 bytes, and blocks that they are picked from. */
static inline int eggs_each(enum eggs_spread s) { return s == EGGS_THREE ? 12 : 16; }
static inline int eggs_parts(enum eggs_spread s) { return s == EGGS_HALF ? 2 : s == EGGS_QUARTER ? 4 : 1; }

/* Can a vector path with registers of some lanes take the layer? A scale then covers whole lanes. */
static inline int eggs_int_takes(const eggs_layer *l) {
    const enum eggs_spread s = eggs_spread_of(l);
    return l->scales && s != EGGS_ODD && l->scaled == (s == EGGS_THREE ? 48 : 32) && eggs_scales(l) <= MOST_SCALES;
}

static inline int64_t eggs_scale_room(const eggs_layer *l) { return (eggs_scales(l) + 15) / 16 * 16; }

/* Bytes of whole numbers: whole registers of `lanes` lanes; lanes = 0: columns as they are. */
static inline int64_t eggs_codes_room(const eggs_layer *l, int lanes) {
    if (!lanes) return (l->in + 63) / 64 * 64;
    const enum eggs_spread s = eggs_spread_of(l);
    const int64_t span = lanes * eggs_each(s);
    return (l->kept + span - 1) / span * eggs_parts(s) * lanes * BLOCK;
}

static inline int64_t eggs_int_room(const eggs_layer *l, int lanes) { /* floats that a token's x takes */
    return eggs_scale_room(l) + (eggs_codes_room(l, lanes) + 63) / 64 * 16;
}

static inline const int8_t *eggs_int_codes(const eggs_layer *l, const float *x) { return (const int8_t *)(x + eggs_scale_room(l)); }

/* n columns from c on as the nearest of −127 … 127 times the scale that is returned. */
static inline __attribute__((always_inline)) float eggs_round_some(const float *x, const int32_t *perm, int64_t c, int64_t n, int8_t *to) {
    uint32_t most = 0;
    if (perm) for (int64_t i = 0; i < n; i++) {
        const uint32_t size = eggs_to_bits(x[perm[c + i]]) & 0x7fffffff;
        most = size > most ? size : most;
    } else for (int64_t i = 0; i < n; i++) {
        const uint32_t size = eggs_to_bits(x[c + i]) & 0x7fffffff;
        most = size > most ? size : most;
    }
    const float largest = eggs_from_bits(most), times = largest > 0 ? 127.0f / largest : 0.0f;
    if (perm) for (int64_t i = 0; i < n; i++) to[i] = (int8_t)(int32_t)rintf(x[perm[c + i]] * times);
    else for (int64_t i = 0; i < n; i++) to[i] = (int8_t)(int32_t)rintf(x[c + i] * times);
    return largest / 127.0f;
}

/* `flip` is what each byte is xored with: 0x80 makes −128 … 127 to 0 … 255. */
static inline __attribute__((always_inline)) void eggs_arrange_int(const eggs_layer *l, const float *x, float *to, int lanes, int flip) {
    const int64_t room = eggs_codes_room(l, lanes), columns = l->scaled / l->keep * l->group;
    int8_t *codes = (int8_t *)(to + eggs_scale_room(l));
    const int parts = lanes ? eggs_parts(eggs_spread_of(l)) : 1;
    if (lanes) memset(codes, flip, (size_t)room);
    for (int64_t c = 0, s = 0; c < l->in; c += columns, s++) {
        const int64_t n = l->in - c < columns ? l->in - c : columns;
        if (!lanes) {
            to[s] = eggs_round_some(x, l->permutation, c, n, codes + c);
            continue;
        }
        int8_t some[8 * BLOCK] = {0};
        to[s] = eggs_round_some(x, l->permutation, c, n, some);
        if (flip) for (int i = 0; i < 8 * BLOCK; i++) some[i] = (int8_t)(some[i] ^ flip);
        for (int64_t i = 0; i < n; i += BLOCK) { /* block b is part b mod parts of lane b / parts */
            const int64_t b = (c + i) / BLOCK, lane = b / parts, place = (lane / lanes * parts + b % parts) * lanes + lane % lanes;
            memcpy(codes + place * BLOCK, some + i, BLOCK);
        }
    }
    for (int64_t s = eggs_scales(l); s < eggs_scale_room(l); s++) to[s] = 0;
}
#endif
