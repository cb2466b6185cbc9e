/* How AVX-512 reads positions: into the lanes of one register, which pick activations out of two or four others. */
#ifndef EGGS_NM_AVX512_H
#define EGGS_NM_AVX512_H
#include "nm.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define UNROLL _Pragma("GCC unroll 4")

static inline int power_of_two(int n) { return n > 0 && !(n & (n - 1)); }

/* How positions become lane numbers: lane i holds bits [i·bits, (i+1)·bits) of a window of 2·bits bytes. */
typedef struct {
    __m512i bytes, shift, low, base; /* byte picks (unless bits = 2), shifts, mask of `bits` ones, group offsets */
    __mmask16 window;                /* the bytes of one window */
} decoder;

INLINE decoder make_decoder(const eggs_layer *l) {
    uint8_t bytes[64];
    int32_t shift[16], base[16];
    for (int i = 0; i < 16; i++) {
        int bit = i * l->bits;
        shift[i] = l->bits == 2 ? bit : bit & 7;
        base[i] = i / l->keep * l->group;
        bytes[4 * i] = (uint8_t)(bit >> 3), bytes[4 * i + 1] = (uint8_t)(((bit >> 3) + 1) & 15);
        bytes[4 * i + 2] = bytes[4 * i + 3] = 0x80;
    }
    decoder d = {_mm512_loadu_si512(bytes), _mm512_loadu_si512(shift), _mm512_set1_epi32((1 << l->bits) - 1),
                 _mm512_loadu_si512(base), (__mmask16)((1u << 2 * l->bits) - 1)};
    return d;
}

/* Lane numbers of window w of a row; reads the window's bytes and no more. */
INLINE __m512i lanes_of(const char *row, int64_t w, int bits, const decoder *d) {
    __m512i raw;
    if (bits == 2) {
        uint32_t code;
        memcpy(&code, row + 4 * w, 4);
        raw = _mm512_set1_epi32((int32_t)code);
    } else {
        raw = _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8(d->window, row + 2 * bits * w));
        raw = _mm512_shuffle_epi8(raw, d->bytes);
    }
    return _mm512_ternarylogic_epi32(_mm512_srlv_epi32(raw, d->shift), d->low, d->base, 0xea); /* (a & low) | base */
}

#include "nm_totals512.h"

INLINE __m512 pick(const __m512 *x, __m512i lanes, int wide) {
    __m512 low = _mm512_permutex2var_ps(x[0], lanes, x[1]);
    if (!wide) return low;
    return _mm512_mask_blend_ps(0xff00, low, _mm512_permutex2var_ps(x[2], lanes, x[3]));
}
#endif
#endif
