/* Products of whole numbers in plain C, for any pattern. */
#include "nm_int.h"

#define CHUNK 64 /* kept weights that are decoded at a time */
#define TOKENS 8 /* that share them */

int64_t eggs_room_int_portable(const eggs_layer *l) { return eggs_int_room(l, 0); }

void eggs_arrange_int_portable(const eggs_layer *l, const float *x, float *to) { eggs_arrange_int(l, x, to, 0, 0); }

/* n kept weights of a row from j on: their whole numbers, and the columns they belong to. */
static void decode(const eggs_layer *l, int64_t r, int64_t j, int64_t n, int32_t *codes, int32_t *columns) {
    const int bits = eggs_bits(l->dtype), half = 1 << (bits - 1);
    const char *row = (const char *)l->values + r * eggs_row_bytes(l);
    for (int64_t i = 0; i < n; i++) {
        if (bits == 8) codes[i] = ((const int8_t *)row)[j + i];
        else codes[i] = ((int)eggs_position((const uint32_t *)(const void *)row, j + i, bits) ^ half) - half;
        columns[i] = (int32_t)eggs_column(l, r, j + i);
    }
}

void eggs_rows_int_portable(const eggs_layer *l, const void *data, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    const int64_t stride = eggs_int_room(l, 0), count = eggs_scales(l);
    int32_t codes[CHUNK], columns[CHUNK];
    for (int64_t r = r0; r < r1; r++)
        for (int64_t t0 = 0; t0 < tokens; t0 += TOKENS) {
            const int64_t n = tokens - t0 < TOKENS ? tokens - t0 : TOKENS;
            float sums[TOKENS] = {0};
            for (int64_t s = 0; s < count; s++) {
                const int64_t end = (s + 1) * l->scaled < l->kept ? (s + 1) * l->scaled : l->kept;
                int32_t totals[TOKENS] = {0};
                for (int64_t j = s * l->scaled; j < end; j += CHUNK) {
                    const int64_t some = end - j < CHUNK ? end - j : CHUNK;
                    decode(l, r, j, some, codes, columns);
                    for (int64_t t = 0; t < n; t++) {
                        const int8_t *x = eggs_int_codes(l, (const float *)data + (t0 + t) * stride);
                        int32_t total = 0;
                        if (l->keep == l->group) for (int64_t i = 0; i < some; i++) total += codes[i] * x[j + i];
                        else for (int64_t i = 0; i < some; i++) total += codes[i] * x[columns[i]];
                        totals[t] += total;
                    }
                }
                const float scale = eggs_from_half(l->scales[r * count + s]);
                for (int64_t t = 0; t < n; t++) sums[t] += (float)totals[t] * (scale * ((const float *)data)[(t0 + t) * stride + s]);
            }
            for (int64_t t = 0; t < n; t++) eggs_write(y, (t0 + t) * l->out + r, l->result, sums[t] + eggs_bias(l, r));
        }
}
