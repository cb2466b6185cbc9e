/* Runs every path on random layers in buffers of exactly the right size, against a plain loop; for AddressSanitizer:
   cc -g -O1 -fsanitize=address,undefined selftest.c nm*.c product.c team.c -lpthread -lm && ./a.out */
#include "nm.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void eggs_unpack(const eggs_layer *, void *, int64_t, int64_t, int, int, eggs_parallel);
int64_t eggs_bad_row(const eggs_layer *);
double eggs_read_memory(const float *, int64_t, int, int, eggs_parallel);
int eggs_best_path(void);

static uint32_t state = 1;
static uint32_t dice(uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % n;
}
static float number(void) { return (float)(int)(dice(2001) - 1000) / 1000; }

static void *exactly(int64_t bytes) { /* malloc(0) may be NULL, which would mean "none" */
    void *p = malloc((size_t)(bytes ? bytes : 1));
    if (!p) abort();
    return p;
}

static void make(eggs_layer *l, int64_t out, int64_t groups, int keep, int group, int dtype, int permuted) {
    const int plain = dtype <= EGGS_FP16 ? dtype : EGGS_FP32;
    int bits = 0, each = keep;
    while (each < 32 || each % 16) each += keep;
    while (1 << bits < group) bits++;
    int64_t kept = groups * keep, words = (kept * bits + 31) / 32, in = groups * group;
    const eggs_layer sized = {.kept = kept, .dtype = dtype};
    const int64_t count = plain == dtype ? 0 : (kept + each - 1) / each;
    char *values = exactly(out * eggs_row_bytes(&sized)), *bias = exactly(out * eggs_size(plain));
    uint16_t *scales = count ? exactly(out * count * 2) : NULL;
    uint32_t *positions = exactly(out * words * 4);
    int32_t *perm = permuted ? exactly(in * 4) : NULL;
    memset(positions, 0, (size_t)(out * words * 4));
    if (!count) for (int64_t i = 0; i < out * kept; i++) eggs_write(values, i, dtype, number());
    else for (int64_t i = 0; i < out * eggs_row_bytes(&sized); i++) values[i] = (char)dice(256);
    for (int64_t i = 0; i < out * count; i++) eggs_write(scales, i, EGGS_FP16, number() / 8);
    for (int64_t i = 0; i < out; i++) eggs_write(bias, i, plain, number());
    for (int64_t r = 0; r < out; r++)
        for (int64_t j = 0, need = keep, at = 0; j < kept; at++) { /* draw `keep` of `group` places in rising order */
            if (at == group) at = 0, need = keep;
            if (need && dice((uint32_t)(group - at)) < (uint32_t)need) {
                int64_t bit = j * bits;
                if (bits) positions[r * words + bit / 32] |= (uint32_t)at << bit % 32;
                if (bits && bit % 32 + bits > 32) positions[r * words + bit / 32 + 1] |= (uint32_t)at >> (32 - bit % 32);
                j++, need--;
            }
        }
    for (int64_t c = 0; perm && c < in; c++) {
        int64_t other = dice((uint32_t)c + 1);
        perm[c] = perm[other], perm[other] = (int32_t)c;
    }
    *l = (eggs_layer){values, positions, perm, bias, scales, out, in, kept, words, each, keep, group, bits, dtype, plain, plain};
}

static void drop(eggs_layer *l) {
    free((void *)l->values), free((void *)l->positions), free((void *)l->permutation), free((void *)l->bias);
    free((void *)l->scales);
}

/* What layers of whole numbers read instead of x: the nearest of 255 numbers, a scale for each of theirs. */
static void round_x(const eggs_layer *l, const float *x, float *to) {
    const int64_t columns = l->scaled / l->keep * l->group;
    for (int64_t c = 0; c < l->in; c += columns) {
        const int64_t end = c + columns < l->in ? c + columns : l->in;
        float largest = 0;
        for (int64_t i = c; i < end; i++) largest = fmaxf(largest, fabsf(x[l->permutation ? l->permutation[i] : i]));
        for (int64_t i = c; i < end; i++) {
            const int64_t at = l->permutation ? l->permutation[i] : i;
            to[at] = largest > 0 ? rintf(x[at] * (127 / largest)) * (largest / 127) : 0;
        }
    }
}

static int check(int keep, int group, int64_t groups, int64_t out, int kind, int64_t tokens, int permuted) {
    const int dtype = kind <= EGGS_FP16 ? kind : EGGS_FP32; /* of all but the values */
    const int64_t size = eggs_size(dtype), in = groups * group;
    const double close = dtype == EGGS_FP32 ? 1e-5 : dtype == EGGS_FP16 ? 1e-3 : 8e-3;
    eggs_layer l[2];
    make(&l[0], out, groups, keep, group, kind, permuted), make(&l[1], out + 3, groups, keep, group, kind, !permuted);
    void *x = exactly(tokens * in * size), *y = exactly(tokens * (2 * out + 3) * size);
    int faults = eggs_bad_row(&l[0]) != -1;
    for (int64_t i = 0; i < tokens * in; i++) eggs_write(x, i, dtype, number());
    for (int path = 0; path <= eggs_best_path(); path++) {
        const eggs_request request = {l, x, y, NULL, tokens, 2, 2, path};
        faults += eggs_linear(&request);
        for (int64_t n = 0, at = 0; n < 2; at += tokens * l[n++].out) {
            float *dense = exactly(l[n].out * in * 4);
            void *raw = exactly(l[n].out * in * size);
            eggs_unpack(&l[n], raw, 0, l[n].out, 2, path, NULL);
            for (int64_t i = 0; i < l[n].out * in; i++) dense[i] = eggs_read(raw, i, dtype);
            float *seen = exactly(tokens * in * 4);
            for (int64_t i = 0; i < tokens * in; i++) seen[i] = eggs_read(x, i, dtype);
            for (int64_t t = 0; t < tokens && l[n].scales; t++) round_x(&l[n], (const float *)x + t * in, seen + t * in);
            for (int64_t t = 0; t < tokens; t++)
                for (int64_t r = 0; r < l[n].out; r++) {
                    double sum = eggs_bias(&l[n], r), scale = 1;
                    for (int64_t c = 0; c < in; c++) {
                        double term = dense[r * in + c] * seen[t * in + (l[n].permutation ? l[n].permutation[c] : c)];
                        sum += term, scale += fabs(term);
                    }
                    if (!(fabs(eggs_read(y, at + t * l[n].out + r, dtype) - sum) <= close * scale)) faults++;
                }
            int64_t kept = 0;
            for (int64_t i = 0; i < l[n].out * in; i++) kept += dense[i] != 0;
            if (kept > l[n].out * l[n].kept) faults++;
            free(dense), free(raw), free(seen);
        }
    }
    if (faults) printf("%d faults: %d:%d in %d out %d dtype %d tokens %d\n", faults, keep, group, (int)in, (int)out, dtype,
                       (int)tokens);
    drop(&l[0]), drop(&l[1]), free(x), free(y);
    return faults;
}

int main(void) {
    static const int patterns[][2] = {{2, 4}, {1, 4}, {3, 4}, {4, 8}, {2, 8}, {1, 2}, {8, 16}, {4, 16}, {16, 32},
                                      {8, 32}, {5, 7}, {1, 1}, {4, 4}, {3, 17}, {1, 32}};
    static const int64_t groups[] = {1, 2, 7, 16, 33}, outs[] = {1, 4, 6}, tokens[] = {0, 1, 2, 5, 8};
    int faults = 0, done = 0;
    for (unsigned p = 0; p < sizeof patterns / sizeof *patterns; p++)
        for (unsigned g = 0; g < 5; g++)
            for (unsigned t = 0; t < 5; t++)
                for (int dtype = 0; dtype <= EGGS_INT2; dtype++, done++)
                    faults += check(patterns[p][0], patterns[p][1], groups[g], outs[(g + t) % 3], dtype, tokens[t], (g + t) & 1);
    faults += check(2, 4, 128, 200, EGGS_FP32, 3, 0) + check(4, 8, 96, 301, EGGS_BF16, 1, 1); /* large enough for threads */
    faults += check(2, 4, 150, 6, EGGS_FP32, 1, 0) + check(1, 4, 305, 5, EGGS_FP16, 1, 1); /* many windows, one token */
    faults += check(2, 4, 96, 70, EGGS_BF16, 37, 0) + check(1, 4, 96, 33, EGGS_BF16, 32, 1); /* many tokens */
    faults += check(8, 16, 40, 47, EGGS_BF16, 33, 1) + check(1, 2, 32, 1, EGGS_BF16, 64, 0) + check(2, 4, 64, 40, EGGS_FP32, 30, 1);
    for (unsigned p = 0; p < 11; p++) /* tokens side by side, in one register to four, and some more blocks */
        for (int dtype = 0; dtype <= EGGS_FP16; dtype++, done++)
            faults += check(patterns[p][0], patterns[p][1], groups[(p + 3) % 5] * 9, outs[p % 3], dtype, 9 + 13 * p, p & 1);
    float *ones = exactly(1000003 * 4);
    for (int i = 0; i < 1000003; i++) ones[i] = 1;
    for (int path = 0; path <= eggs_best_path(); path++) faults += eggs_read_memory(ones, 1000003, 2, path, NULL) != 1000003;
    free(ones);
    printf("%d cases, %d faults\n", done, faults);
    return faults != 0;
}
