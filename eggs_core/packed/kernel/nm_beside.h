/* Part of nm_beside.c, which has defined NAME, TARGET, INLINE, LANES and SUMS: how many registers hold sums. */
typedef float NAME(vec) __attribute__((vector_size(4 * LANES)));

/* R rows times T·LANES tokens, of `count` kept weights: v[i] are row i's, at[MOST·i] where their columns begin in x, bytes.
   The sums lie in `sums`, 4·LANES apart. T and R are constants at each call. */
INLINE void NAME(multiply)(const float *x, const float **v, const uint32_t *at, int64_t count, float *sums, int T, int R) {
    NAME(vec) sum[8][4];
    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int t = 0; t < T; t++) memcpy(&sum[i][t], sums + 4 * LANES * i + LANES * t, 4 * LANES);
    for (int64_t j = 0; j < count; j++)
        UNROLL for (int i = 0; i < R; i++) {
            const char *from = (const char *)x + at[MOST * i + j];
            UNROLL for (int t = 0; t < T; t++) sum[i][t] += v[i][j] * *(const NAME(vec) *)(from + 4 * LANES * t);
        }
    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int t = 0; t < T; t++) memcpy(sums + 4 * LANES * i + LANES * t, &sum[i][t], 4 * LANES);
}

/* Rows r0 … r1−1, at most ROWS, times a block of T·LANES tokens, of which `tokens` are there. */
INLINE void NAME(block)(const eggs_layer *l, const float *x, char *y, int64_t tokens, int64_t r0, int64_t r1, int T) {
    enum { SIDE = 4 * LANES };
    const int R = SUMS / T < 8 ? SUMS / T : 8, bytes = 4 * LANES * T;
    const int64_t tile = CACHED / bytes / l->group * l->keep / 8 * 8;
    float sums[(ROWS + 8) * SIDE], wide[8 * MOST];
    uint32_t at[8 * MOST], base[MOST];
    memset(sums, 0, (size_t)((r1 - r0 + 8) * SIDE) * sizeof *sums);
    for (int64_t j0 = 0; j0 < l->kept; j0 += tile) {
        const int64_t count = l->kept - j0 < tile ? l->kept - j0 : tile;
        for (int64_t j = 0; j < count; j++) base[j] = (uint32_t)((j0 + j) / l->keep * l->group * bytes);
        for (int64_t r = r0; r < r1; r += R) {
            const float *v[8];
            UNROLL for (int i = 0; i < R; i++) { /* rows that are not there are the last one again, and nobody reads their sums */
                const int64_t row = r + i < r1 ? r + i : r1 - 1;
                columns_of(l, row, j0, j0 + count, base, bytes, at + MOST * i);
                v[i] = values_of(l, row, j0, count, wide + MOST * i);
            }
            NAME(multiply)(x, v, at, count, sums + (r - r0) * SIDE, T, R);
        }
    }
    for (int64_t r = r0; l->bias && r < r1; r++) {
        const float bias = eggs_bias(l, r);
        for (int t = 0; t < T * LANES; t++) sums[(r - r0) * SIDE + t] += bias;
    }
    write_out(l, sums, SIDE, y, tokens, r0, r1);
}

TARGET void NAME(eggs_rows_beside)(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    for (int64_t t = 0; t < tokens; t += 4 * LANES) {
        const int64_t n = tokens - t < 4 * LANES ? tokens - t : 4 * LANES;
        const float *from = (const float *)x + t * l->in;
        char *to = (char *)y + t * l->out * eggs_size(l->result);
        for (int64_t r = r0; r < r1; r += ROWS) {
            const int64_t end = r + ROWS < r1 ? r + ROWS : r1;
            if (n > 3 * LANES) NAME(block)(l, from, to, n, r, end, 4);
            else if (n > 2 * LANES) NAME(block)(l, from, to, n, r, end, 3);
            else if (n > LANES) NAME(block)(l, from, to, n, r, end, 2);
            else NAME(block)(l, from, to, n, r, end, 1);
        }
    }
}
