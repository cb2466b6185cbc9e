/* NEON path for whole numbers: 32 kept weights of a row at a time, in two registers. */
#include "nm_int.h"
#if defined(__aarch64__)
#include <arm_neon.h>

#define PATH neon
#define LANES 2
#define FLIP 0
#define TARGET
#define INLINE static inline __attribute__((always_inline))
#define PER_SCALE(S) ((S) == EGGS_THREE ? 4 : 2) /* lanes that share a scale */
#define BOTH for (int i = 0; i < 2; i++)

typedef int8x16x2_t bytes;
typedef float32x4_t floats;

/* How numbers of `bits` bits become bytes: word i of a lane takes the two bytes that hold numbers 2i and 2i + 1, is moved
   to its top and back, and the upper number goes on to its own byte. */
typedef struct {
    uint8x16_t pick[2], mask[2];
    int16x8_t move[2];
    int8x16_t table[2]; /* signed numbers, or what is added to positions */
} codebook;
typedef struct {
    codebook values, positions;
} decoder;

static codebook make_codebook(int bits, enum eggs_spread s) {
    const int each = eggs_each(s);
    codebook c;
    BOTH {
        uint8_t pick[16], mask[16];
        int8_t table[16];
        int16_t move[8];
        for (int k = 0; k < 16; k++) {
            const int bit = (i * each + k / 2 * 2) * bits, number = k & ((1 << bits) - 1);
            pick[k] = (uint8_t)(bits < 8 ? bit / 8 + k % 2 : k < each ? k + 4 * i : 0x80);
            if (k % 2 == 0) move[k / 2] = (int16_t)(16 - 2 * bits - bit % 8);
            mask[k] = (uint8_t)(k < each ? (1 << bits) - 1 : 0);
            table[k] = (int8_t)(number >> (bits - 1) ? number - (1 << bits) : number);
        }
        c.pick[i] = vld1q_u8(pick), c.mask[i] = vld1q_u8(mask), c.table[i] = vld1q_s8(table), c.move[i] = vld1q_s16(move);
    }
    return c;
}

static decoder make_decoder(const eggs_layer *l, int bits, int position_bits, enum eggs_spread s) {
    decoder d = {make_codebook(bits, s), make_codebook(position_bits ? position_bits : 1, s)};
    int8_t base[16];
    for (int k = 0; k < 16; k++) base[k] = (int8_t)(k % (eggs_each(s) / eggs_parts(s)) / l->keep * l->group % BLOCK);
    BOTH d.positions.table[i] = vld1q_s8(base);
    return d;
}

/* Some bytes, and no byte more is read. */
INLINE uint8x16_t some(const char *at, int count) {
    if (count == 16) return vld1q_u8((const uint8_t *)at);
    uint64_t low = 0, high = 0;
    memcpy(&low, at, count < 8 ? (size_t)count : 8);
    if (count > 8) memcpy(&high, at + 8, (size_t)count - 8);
    return vcombine_u8(vcreate_u8(low), vcreate_u8(high));
}

INLINE bytes load(const int8_t *at) { return (bytes){{vld1q_s8(at), vld1q_s8(at + 16)}}; }

INLINE bytes numbers(const char *at, int bits, enum eggs_spread s, const codebook *c) {
    const uint8x16_t raw = some(at, 2 * eggs_each(s) * bits / 8);
    bytes found;
    BOTH {
        uint16x8_t v = vshlq_u16(vreinterpretq_u16_u8(vqtbl1q_u8(raw, c->pick[i])), c->move[i]);
        v = vshlq_u16(v, vdupq_n_s16((int16_t)(2 * bits - 16)));
        v = vorrq_u16(v, vshlq_u16(v, vdupq_n_s16((int16_t)(8 - bits))));
        found.val[i] = vreinterpretq_s8_u8(vandq_u8(vreinterpretq_u8_u16(v), c->mask[i]));
    }
    return found;
}

INLINE bytes signed_numbers(const char *at, int bits, enum eggs_spread s, const codebook *c) {
    if (bits == 8 && s != EGGS_THREE) return load((const int8_t *)at);
    bytes found;
    if (bits == 8) BOTH found.val[i] = vqtbl1q_s8(vld1q_s8((const int8_t *)at + 8 * i), c->pick[i]);
    else {
        found = numbers(at, bits, s, c);
        BOTH found.val[i] = vqtbl1q_s8(c->table[i], vreinterpretq_u8_s8(found.val[i]));
    }
    return found;
}

INLINE bytes position_numbers(const char *at, int bits, enum eggs_spread s, const codebook *c) {
    bytes found = numbers(at, bits, s, c);
    BOTH found.val[i] = vorrq_s8(found.val[i], c->table[i]);
    return found;
}

INLINE int8x16_t part(const int8_t *x, int i, int lane, bytes at) {
    return vqtbl1q_s8(vld1q_s8(x + 32 * i + 16 * lane), vreinterpretq_u8_s8(at.val[lane]));
}

INLINE bytes chosen(const int8_t *x, bytes at, enum eggs_spread s) {
    static const uint32_t odd[4] = {0, ~0u, 0, ~0u}, upper[4] = {0, 0, ~0u, ~0u};
    const uint8x16_t second = vreinterpretq_u8_u32(vld1q_u32(odd)), later = vreinterpretq_u8_u32(vld1q_u32(upper));
    bytes found;
    BOTH {
        found.val[i] = part(x, 0, i, at);
        if (s == EGGS_HALF) found.val[i] = vbslq_s8(later, part(x, 1, i, at), found.val[i]);
        if (s == EGGS_QUARTER) {
            const int8x16_t low = vbslq_s8(second, part(x, 1, i, at), found.val[i]);
            found.val[i] = vbslq_s8(later, vbslq_s8(second, part(x, 3, i, at), part(x, 2, i, at)), low);
        }
    }
    return found;
}

INLINE floats times(bytes values, bytes x) { /* two products fit 16 bits, as no number of x is −128 */
    int32x4_t sum = vdupq_n_s32(0);
    BOTH {
        const int16x8_t pairs = vmull_s8(vget_low_s8(values.val[i]), vget_low_s8(x.val[i]));
        sum = vpadalq_s16(sum, vmlal_high_s8(pairs, values.val[i], x.val[i]));
    }
    return vcvtq_f32_s32(sum);
}

INLINE floats no_floats(void) { return vdupq_n_f32(0); }

INLINE floats scaled_sum(floats products, const float *scale, enum eggs_spread s, floats sum) {
    (void)s;
    return vfmaq_n_f32(sum, products, *scale);
}

INLINE float total(floats a, floats b) { return vaddvq_f32(vaddq_f32(a, b)); }

INLINE void multiply_scales(const uint16_t *weights, const float *x, int64_t count, float *to) {
    for (int64_t i = 0; i < count; i++) to[i] = eggs_from_half(weights[i]) * x[i];
    to[count] = 0;
}

INLINE void ask_for(const char *values) { (void)values; }

#include "nm_int_rows.h"
#endif
