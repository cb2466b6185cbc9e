/* One token through a Llama-like model in one call, with threads that stay awake from product to product. Every number
   is computed by one thread in one order, so that the result does not depend on how the work was dealt out. */
#include "step.h"
#include <math.h>

#define MIN_ATTENTION (1 << 16) /* products of a block's attention that are worth a second thread */

/* A token on its way, and where its numbers lie. */
typedef struct {
    const eggs_model *m;
    const eggs_math *math;
    eggs_team *team;
    int64_t token, position, best;
    int path, threads;
    float *x, *normed, *q, *k, *v, *mixed, *gate, *up, *cosine, *sine, *parts;
    eggs_sum *sums;
    void *room; /* for products */
} passage;

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t products_room(const eggs_model *m, int path) {
    int64_t room = eggs_product_room(&m->head, 1, 1, path);
    for (int64_t i = 0; i < m->count; i++) {
        const eggs_block *b = &m->blocks[i];
        room = larger(room, eggs_product_room(b->attention, 3, 1, path));
        room = larger(room, eggs_product_room(&b->output, 1, 1, path));
        room = larger(room, eggs_product_room(b->gate, 2, 1, path));
        room = larger(room, eggs_product_room(&b->down, 1, 1, path));
    }
    return room;
}

/* Puts the passage's numbers one after the other, each on a cache line of its own; returns the bytes used. */
static int64_t lay_out(passage *p) {
    const eggs_model *m = p->m;
    const int64_t chunks = m->heads * (m->capacity / EGGS_CHUNK + 2); /* and heads */
    float *sums;
    const int64_t sizes[] = {m->hidden, m->hidden, m->heads * m->dim, m->kv_heads * m->dim, m->kv_heads * m->dim,
                             larger(m->hidden, m->heads * m->dim), m->inner, m->inner, m->dim, m->dim,
                             chunks * m->dim, 2 * chunks};
    float **places[] = {&p->x, &p->normed, &p->q, &p->k, &p->v, &p->mixed, &p->gate, &p->up, &p->cosine, &p->sine,
                        &p->parts, &sums};
    char *next = (char *)m->room + (64 - (uintptr_t)m->room % 64) % 64, *begin = m->room;
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) *places[i] = (float *)next, next += (4 * sizes[i] + 63) / 64 * 64;
    p->sums = (eggs_sum *)sums, p->room = next;
    return next - begin;
}

int64_t eggs_step_room(const eggs_model *m, int path) {
    passage p = {.m = m};
    return 64 + lay_out(&p) + products_room(m, path);
}

static void multiply(passage *p, const eggs_layer *layers, int count, const float *x, float *const *y) {
    eggs_product product;
    eggs_product_of(&product, layers, count, x, EGGS_FP32, 1, p->path, p->threads, NULL, p->room);
    for (int i = 0; i < count; i++) product.y[i] = y[i];
    eggs_team_share(p->team, eggs_product_piece, &product, product.pieces);
}

typedef struct {
    passage *p;
    const eggs_block *block;
    int64_t from; /* the first token that is seen */
} attention;

/* One chunk of tokens for the heads that share a key head. */
static void attend_piece(void *data, int64_t piece) {
    const attention *a = data;
    passage *p = a->p;
    const eggs_model *m = p->m;
    const int64_t kv = piece % m->kv_heads, chunk = piece / m->kv_heads, each = m->heads / m->kv_heads;
    const int64_t begin = (a->from / EGGS_CHUNK + chunk) * EGGS_CHUNK, end = begin + EGGS_CHUNK, at = chunk * m->heads + kv * each;
    const int64_t from = begin > a->from ? begin : a->from, to = end < p->position + 1 ? end : p->position + 1;
    const int64_t head = kv * m->capacity * m->dim;
    p->math->attend(p->q + kv * each * m->dim, each, a->block->keys + head, a->block->values + head, from, to, m->dim, m->scale,
                    m->soft_cap, p->sums + at, p->parts + at * m->dim);
}

static void turn(passage *p, const eggs_block *b) {
    for (int64_t i = 0; i < p->m->dim / 2; i++) {
        const float angle = (float)p->position * b->frequencies[i];
        p->cosine[i] = cosf(angle) * b->rope_scale, p->sine[i] = sinf(angle) * b->rope_scale;
    }
}

static void attention_of(passage *p, const eggs_block *b) {
    const eggs_model *m = p->m;
    float *const qkv[] = {p->q, p->k, p->v};
    p->math->norm(p->x, b->input_norm, m->hidden, m->epsilon, p->normed);
    multiply(p, b->attention, 3, p->normed, qkv);
    for (int64_t h = 0; h < m->heads + m->kv_heads; h++) {
        const int is_key = h >= m->heads;
        float *x = is_key ? p->k + (h - m->heads) * m->dim : p->q + h * m->dim;
        const float *w = is_key ? b->k_norm : b->q_norm;
        if (w) p->math->norm(x, w, m->dim, m->epsilon, x);
        p->math->rotate(x, p->cosine, p->sine, m->dim / 2);
    }
    for (int64_t h = 0; h < m->kv_heads; h++) {
        const int64_t head = h * m->capacity * m->dim, place = p->position % EGGS_BLOCK;
        float *keys = b->keys + head + (p->position - place) * m->dim + place;
        for (int64_t i = 0; i < m->dim; i++) keys[i * EGGS_BLOCK] = p->k[h * m->dim + i];
        memcpy(b->values + head + p->position * m->dim, p->v + h * m->dim, (size_t)m->dim * 4);
    }
    attention a = {p, b, b->window && p->position >= b->window ? p->position + 1 - b->window : 0};
    const int64_t seen = p->position + 1 - a.from, chunks = p->position / EGGS_CHUNK - a.from / EGGS_CHUNK + 1;
    eggs_team_share(seen * m->heads * m->dim < MIN_ATTENTION ? NULL : p->team, attend_piece, &a, chunks * m->kv_heads);
    p->math->join(p->sums, p->parts, chunks, m->heads, m->dim, p->mixed);
    float *const out[] = {p->normed};
    multiply(p, &b->output, 1, p->mixed, out);
    if (b->attention_norm) p->math->norm(p->normed, b->attention_norm, m->hidden, m->epsilon, p->normed);
    p->math->add(p->x, p->normed, m->hidden);
}

static void mlp_of(passage *p, const eggs_block *b) {
    const eggs_model *m = p->m;
    float *const inner[] = {p->gate, p->up}, *const out[] = {p->normed};
    p->math->norm(p->x, b->mlp_norm, m->hidden, m->epsilon, p->normed);
    multiply(p, b->gate, 2, p->normed, inner);
    p->math->activate(p->gate, p->up, m->inner, m->activation);
    multiply(p, &b->down, 1, p->gate, out);
    if (b->output_norm) p->math->norm(p->normed, b->output_norm, m->hidden, m->epsilon, p->normed);
    p->math->add(p->x, p->normed, m->hidden);
}

static void lead(eggs_team *team, void *data) {
    passage *p = data;
    const eggs_model *m = p->m;
    p->team = team;
    for (int64_t i = 0; i < m->hidden; i++)
        p->x[i] = eggs_weight(&m->embedding, p->token, i) * m->embedding_scale;
    for (int64_t i = 0; i < m->count; i++) {
        const eggs_block *b = &m->blocks[i];
        if (!i || b->frequencies != b[-1].frequencies) turn(p, b);
        attention_of(p, b);
        mlp_of(p, b);
    }
    float *const out[] = {m->logits};
    p->math->norm(p->x, m->norm, m->hidden, m->epsilon, p->normed);
    multiply(p, &m->head, 1, p->normed, out);
    if (m->final_cap > 0) for (int64_t i = 0; i < m->head.out; i++) m->logits[i] = m->final_cap * tanhf(m->logits[i] / m->final_cap);
    p->best = 0;
    for (int64_t i = 1; i < m->head.out; i++) if (m->logits[i] > m->logits[p->best]) p->best = i;
}

/* Reads `token` at `position` after those in the cache, writes its keys, values and the logits that follow; returns the
   likeliest next token, or −1 for a token or position out of range. */
int64_t eggs_step(const eggs_model *m, int64_t token, int64_t position, int threads, int path, eggs_parallel parallel) {
    if (token < 0 || token >= m->head.out || position < 0 || position >= m->capacity) return -1;
    passage p = {.m = m, .math = &eggs_math_portable, .token = token, .position = position, .path = path, .threads = threads};
#if defined(__x86_64__)
    if (path >= EGGS_AVX2) p.math = path >= EGGS_AVX512 ? &eggs_math_avx512 : &eggs_math_avx2;
#endif
    lay_out(&p);
    eggs_team_work(lead, &p, threads, parallel);
    return p.best;
}
