/* The rows of whole numbers, included by each vector path behind its own LANES (of 16 bytes in a register), INLINE,
   TARGET, PATH, FLIP, types and functions. */

#define REGISTER (LANES * BLOCK) /* bytes */

/* Window w of a row, times x, added to a sum. */
INLINE floats window(const char *v, const char *p, const int8_t *x, const float *scale, const decoder *d, int bits, int two,
                     enum eggs_spread s, floats sum) {
    const bytes values = signed_numbers(v, bits, s, &d->values);
    return scaled_sum(times(values, s == EGGS_WHOLE ? load(x) : chosen(x, position_numbers(p, two, s, &d->positions), s)), scale, s, sum);
}

/* bits, position_bits and s are constants at each call. */
INLINE void rows_of(const eggs_layer *l, const float *data, int64_t tokens, char *y, int64_t r0, int64_t r1, int bits,
                    int position_bits, enum eggs_spread s) {
    const int each = eggs_each(s), parts = eggs_parts(s);
    const int64_t span = LANES * each, windows = l->kept / span, rest = l->kept % span, count = eggs_scales(l);
    const int64_t wide = span * bits / 8, narrow = span * position_bits / 8, step = REGISTER * parts;
    const int64_t bytes_of_row = eggs_row_bytes(l), stride = eggs_int_room(l, LANES);
    const decoder d = make_decoder(l, bits, position_bits, s);
    _Alignas(64) float scales[MOST_SCALES + 16];
    char last_values[REGISTER + 8] = {0}, last_positions[REGISTER + 8] = {0};
    for (int64_t r = r0; r < r1; r++) {
        const char *v = (const char *)l->values + r * bytes_of_row, *p = (const char *)(l->positions + r * l->words);
        if (rest) { /* what is left of a row stands in a window of its own, filled up with columns that are 0 */
            memcpy(last_values, v + windows * wide, (size_t)(bytes_of_row - windows * wide));
            if (position_bits) memcpy(last_positions, p + windows * narrow, (size_t)(l->words * 4 - windows * narrow));
        }
        for (int64_t t = 0; t < tokens; t++) {
            const float *at = data + t * stride;
            const int8_t *x = eggs_int_codes(l, at);
            multiply_scales(l->scales + r * count, at, count, scales);
            floats a = no_floats(), b = no_floats();
            int64_t w = 0;
            for (; w + 2 <= windows; w += 2) {
                ask_for(v + w * wide);
                a = window(v + w * wide, p + w * narrow, x + w * step, scales + LANES * w / PER_SCALE(s), &d, bits, position_bits, s, a);
                b = window(v + (w + 1) * wide, p + (w + 1) * narrow, x + (w + 1) * step, scales + LANES * (w + 1) / PER_SCALE(s), &d,
                           bits, position_bits, s, b);
            }
            if (w < windows)
                a = window(v + w * wide, p + w * narrow, x + w * step, scales + LANES * w / PER_SCALE(s), &d, bits, position_bits, s, a);
            if (rest)
                b = window(last_values, last_positions, x + windows * step, scales + LANES * windows / PER_SCALE(s), &d, bits,
                           position_bits, s, b);
            eggs_write(y, t * l->out + r, l->result, total(a, b) + eggs_bias(l, r));
        }
    }
}

#define ROWS_OF(BITS, POSITIONS, SPREAD) rows_of(l, x, tokens, y, r0, r1, BITS, POSITIONS, SPREAD)
#define KINDS(BITS) \
    switch (s) { \
        case EGGS_WHOLE: ROWS_OF(BITS, 0, EGGS_WHOLE); return; \
        case EGGS_THREE: ROWS_OF(BITS, 2, EGGS_THREE); return; \
        case EGGS_HALF: \
            if (l->bits == 2) ROWS_OF(BITS, 2, EGGS_HALF); \
            else if (l->bits == 1) ROWS_OF(BITS, 1, EGGS_HALF); \
            else if (l->bits == 3) ROWS_OF(BITS, 3, EGGS_HALF); \
            else ROWS_OF(BITS, 4, EGGS_HALF); \
            return; \
        default: \
            if (l->bits == 2) ROWS_OF(BITS, 2, EGGS_QUARTER); \
            else if (l->bits == 3) ROWS_OF(BITS, 3, EGGS_QUARTER); \
            else ROWS_OF(BITS, 4, EGGS_QUARTER); \
            return; \
    }

#define PASTE(A, B) A##B
#define NAMED(A, B) PASTE(A, B)
TARGET void NAMED(eggs_rows_int_, PATH)(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    const enum eggs_spread s = eggs_spread_of(l);
    switch (l->dtype) {
        case EGGS_INT8: KINDS(8)
        case EGGS_INT4: KINDS(4)
        case EGGS_INT3: KINDS(3)
        default: KINDS(2)
    }
}

TARGET void NAMED(eggs_arrange_int_, PATH)(const eggs_layer *l, const float *x, float *to) { eggs_arrange_int(l, x, to, LANES, FLIP); }

int64_t NAMED(eggs_room_int_, PATH)(const eggs_layer *l) { return eggs_int_room(l, LANES); }
