/* One token through a Llama-like model; step_structs.py mirrors these structs field by field. All activations, norms
   and the cache are fp32, whatever the weights are. */
#ifndef EGGS_STEP_H
#define EGGS_STEP_H
#include "nm.h"

enum eggs_activation { EGGS_SILU = 0, EGGS_GELU_TANH = 1, EGGS_GELU = 2 };

typedef struct {
    eggs_layer attention[3], output, gate[2], down; /* q, k, v; o; gate, up; down */
    const float *input_norm, *attention_norm, *mlp_norm, *output_norm; /* before and after attention, before and after the MLP */
    const float *q_norm, *k_norm;                                     /* each NULL where the model has none */
    const float *frequencies;                                         /* of the rotary embedding, (dim / 2) */
    float *keys, *values; /* (kv heads, capacity / EGGS_BLOCK, dim, EGGS_BLOCK); (kv heads, capacity, dim) */
    int64_t window;                                                   /* tokens that are seen, this one too; 0: all */
    float rope_scale, pad;
} eggs_block;

typedef struct {
    eggs_block *blocks;
    eggs_layer head, embedding; /* (vocabulary, hidden) both; of the embedding rows are read */
    const float *norm;
    float *logits; /* (vocabulary) */
    void *room;    /* as many bytes as eggs_step_room says */
    int64_t count, hidden, heads, kv_heads, dim, inner, capacity; /* capacity: whole EGGS_BLOCKs */
    float epsilon, scale, soft_cap, final_cap, embedding_scale; /* a cap of 0 is none */
    int32_t activation;
} eggs_model;

#define EGGS_BLOCK 16  /* tokens whose keys lie side by side, so that scores need no sums across a register */
#define EGGS_CHUNK 256 /* tokens that one piece of attention reads */

/* What a chunk of tokens adds to a softmax: its largest score, and the sum of e^(score − most). */
typedef struct {
    float most, sum;
} eggs_sum;

/* The plain arithmetic between the products, compiled for each instruction set. */
typedef struct {
    void (*norm)(const float *x, const float *w, int64_t n, float epsilon, float *y);
    void (*rotate)(float *x, const float *cosine, const float *sine, int64_t half);
    /* Tokens from ≤ t < to of one chunk, for heads that share keys and values: sums and out, (heads) and (heads, dim). */
    void (*attend)(const float *q, int64_t heads, const float *keys, const float *values, int64_t from, int64_t to,
                   int64_t dim, float scale, float cap, eggs_sum *sums, float *out);
    /* What chunks have found, sums and parts (chunks, heads, …), as one: out (heads, dim). */
    void (*join)(const eggs_sum *sums, const float *parts, int64_t chunks, int64_t heads, int64_t dim, float *out);
    void (*activate)(float *gate, const float *up, int64_t n, int kind);
    void (*add)(float *x, const float *y, int64_t n);
} eggs_math;
extern const eggs_math eggs_math_portable, eggs_math_avx2, eggs_math_avx512;
#endif
