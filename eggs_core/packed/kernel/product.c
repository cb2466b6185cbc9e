/* Entry points for products of layers that share an input, for unpacking, and for reading memory. */
#include "nm.h"
#include <stdlib.h>
#include <time.h>

#define MIN_BYTES (768 << 10) /* a call that reads fewer bytes of weights, each token anew, stays on one thread */
#define MIN_SHARED (32 << 10) /* so do those that threads already awake could share */

/* An OpenMP team ends together: while other programs hold the cores, a call waits for a helper that is not scheduled,
   milliseconds for microseconds of work. A call that took far longer than one thread would need sends the next ones to
   one thread, twice as many after each further failure (up to STALL_MOST), until a call with helpers goes well again. */
#define STALL_RATE 6e9     /* bytes of weights a second and token that one thread manages on a slow machine */
#define STALL_FLOOR 400e-6 /* seconds that are never called a stall */
#define STALL_MOST 1024
static atomic_int alone, last_alone;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int helpers_wanted(void) {
    int left = atomic_load_explicit(&alone, memory_order_relaxed);
    if (left <= 0) return 1;
    atomic_store_explicit(&alone, left - 1, memory_order_relaxed);
    return 0;
}

static void judge(double seconds, double work) {
    int next = 0;
    if (seconds > STALL_FLOOR + work / STALL_RATE) {
        int last = atomic_load_explicit(&last_alone, memory_order_relaxed);
        next = last ? (last < STALL_MOST ? 2 * last : STALL_MOST) : 8;
        atomic_store_explicit(&alone, next, memory_order_relaxed);
    }
    atomic_store_explicit(&last_alone, next, memory_order_relaxed);
}

static void widen(const char *x, const int32_t *perm, int64_t in, int dtype, float *to) {
    if (perm) for (int64_t c = 0; c < in; c++) to[c] = eggs_read(x, perm[c], dtype);
    else if (dtype == EGGS_BF16) for (int64_t c = 0; c < in; c++) to[c] = eggs_read(x, c, EGGS_BF16);
    else for (int64_t c = 0; c < in; c++) to[c] = eggs_read(x, c, dtype);
}

static void to_bfloat(const char *x, const int32_t *perm, int64_t in, int dtype, uint16_t *to) {
    if (dtype == EGGS_BF16) for (int64_t c = 0; c < in; c++) to[c] = ((const uint16_t *)x)[perm ? perm[c] : c];
    else for (int64_t c = 0; c < in; c++) to[c] = eggs_to_bfloat(eggs_read(x, perm ? perm[c] : c, dtype));
}

static int64_t in_registers(int64_t tokens, int lanes) { return (tokens + lanes - 1) / lanes * lanes; }

static int64_t lines(int64_t floats) { return (4 * floats + 63) / 64 * 64; }

int64_t eggs_product_room(const eggs_layer *layers, int count, int64_t tokens, int path) {
    int64_t room = 64 + lines(layers[0].in);
    for (int i = 0; i < count; i++) {
        const eggs_way w = eggs_way_of(&layers[i], path, tokens);
        room += lines(tokens * w.stride) + (w.beside ? lines(in_registers(tokens, w.beside) * w.stride) : 0);
    }
    return room;
}

/* Can a layer read the x that was arranged for an earlier one? */
static int same_order(const eggs_layer *a, const eggs_way *wa, const eggs_layer *b, const eggs_way *wb) {
    if (a->permutation || b->permutation || wa->x_dtype != wb->x_dtype || wa->arrange != wb->arrange || wa->beside != wb->beside) return 0;
    return !wa->arrange || (a->dtype == b->dtype && a->keep == b->keep && a->group == b->group);
}

typedef struct {
    const eggs_layer *layer;
    eggs_way way;
    const void *x;
    int x_dtype;
    char *to;
    float *wide;
} arranging;

static void arrange_token(void *data, int64_t t) {
    const arranging *a = data;
    const eggs_layer *l = a->layer;
    const char *from = (const char *)a->x + t * l->in * eggs_size(a->x_dtype);
    float *to = (float *)a->to + t * a->way.stride;
    if (a->way.x_dtype == EGGS_BF16) to_bfloat(from, l->permutation, l->in, a->x_dtype, (uint16_t *)a->to + t * a->way.stride);
    else if (!a->way.arrange) widen(from, l->permutation, l->in, a->x_dtype, to);
    else if (a->x_dtype == EGGS_FP32) a->way.arrange(l, (const float *)from, to);
    else widen(from, NULL, l->in, a->x_dtype, a->wide), a->way.arrange(l, a->wide, to);
}

#if defined(__x86_64__)
#define FLIPPED 256 /* columns that are put beside each other together */
typedef struct {
    const float *x;
    float *to;
    int64_t in, tokens;
    int lanes;
} flipping;

/* Some columns of a block of tokens, with zeros for tokens that are not there. */
static void flip_piece(void *data, int64_t piece) {
    const flipping *f = data;
    const int64_t tiles = (f->in + FLIPPED - 1) / FLIPPED, t = piece / tiles * 4 * f->lanes, c = piece % tiles * FLIPPED;
    const int64_t n = f->tokens - t < 4 * f->lanes ? f->tokens - t : 4 * f->lanes, side = in_registers(n, f->lanes);
    const int64_t columns = f->in - c < FLIPPED ? f->in - c : FLIPPED;
    float *to = f->to + t * f->in + c * side;
    if (n < side) memset(to, 0, (size_t)(columns * side) * sizeof *to);
    eggs_flip(f->x + t * f->in + c, f->in, to, side, n, columns);
}

static void put_beside(const float *x, float *to, int64_t in, int64_t tokens, int lanes, int threads, eggs_parallel parallel) {
    flipping job = {x, to, in, tokens, lanes};
    const int64_t blocks = (tokens + 4 * lanes - 1) / (4 * lanes);
    eggs_share(flip_piece, &job, blocks * ((in + FLIPPED - 1) / FLIPPED), tokens < EGGS_MANY ? 1 : threads, parallel);
}
#endif

void eggs_product_of(eggs_product *p, const eggs_layer *layers, int count, const void *x, int x_dtype, int64_t tokens,
                     int path, int threads, eggs_parallel parallel, void *room) {
    char *next = (char *)room + (64 - (uintptr_t)room % 64) % 64; /* no split loads */
    float *wide = (float *)next;
    int64_t total = 0;
    p->layers = layers, p->count = count, p->tokens = tokens, p->bytes = 0, p->pieces = 0;
    next += lines(layers[0].in);
    for (int i = 0; i < count; i++) {
        const eggs_layer *l = &layers[i];
        const eggs_way w = p->way[i] = eggs_way_of(l, path, tokens);
        total += l->out, p->bytes += l->out * (eggs_row_bytes(l) + l->words * 4 + eggs_scales(l) * 2);
        const void *whole = !l->permutation && !w.arrange && w.x_dtype == x_dtype ? x : NULL;
        p->x[i] = w.beside ? NULL : whole;
        for (int k = 0; k < i && !p->x[i]; k++) if (same_order(&layers[k], &p->way[k], l, &w)) p->x[i] = p->x[k];
        if (p->x[i]) continue;
#if defined(__x86_64__)
        if (w.beside && whole) {
            put_beside(whole, (float *)next, l->in, tokens, w.beside, threads, parallel);
            p->x[i] = next, next += lines(in_registers(tokens, w.beside) * w.stride);
            continue;
        }
#endif
        arranging job = {l, w, x, x_dtype, next, wide};
        if (w.arrange) for (int64_t t = 0; t < tokens; t++) arrange_token(&job, t); /* they share `wide` */
        else eggs_share(arrange_token, &job, tokens, tokens < EGGS_MANY ? 1 : threads, parallel);
        p->x[i] = next;
        next += lines(tokens * w.stride);
#if defined(__x86_64__)
        if (!w.beside) continue;
        put_beside(p->x[i], (float *)next, l->in, tokens, w.beside, threads, parallel);
        p->x[i] = next, next += lines(in_registers(tokens, w.beside) * w.stride);
#endif
    }
    p->step = threads <= 1 || p->bytes < MIN_SHARED ? total : (total / (threads * 8) + 3) / 4 * 4;
    if (tokens >= EGGS_MANY) p->step = p->step / EGGS_PANEL * EGGS_PANEL;
    if (p->step < 4) p->step = tokens >= EGGS_MANY ? EGGS_PANEL : 4;
    for (int i = 0; i < count; i++) p->pieces += (layers[i].out + p->step - 1) / p->step;
}

void eggs_product_piece(void *data, int64_t piece) {
    eggs_product *p = data;
    for (int i = 0; i < p->count; i++) {
        const eggs_layer *l = &p->layers[i];
        int64_t n = (l->out + p->step - 1) / p->step;
        if (piece < n) {
            int64_t r0 = piece * p->step, r1 = r0 + p->step < l->out ? r0 + p->step : l->out;
            p->way[i].rows(l, p->x[i], p->tokens, p->y[i], r0, r1);
            return;
        }
        piece -= n;
    }
}

/* Multiply a request's layers by its x. Returns 0, or 1 for arguments out of range, 2 for no memory. */
int eggs_linear(const eggs_request *request) {
    const eggs_layer *layers = request->layers;
    const int64_t tokens = request->tokens;
    const int count = request->count, threads = request->threads, path = request->path;
    const eggs_parallel parallel = request->parallel;
    if (count < 1 || count > EGGS_MOST || tokens < 0) return 1;
    for (int i = 1; i < count; i++) if (layers[i].in != layers[0].in || layers[i].plain != layers[0].plain) return 1;
    if (!tokens) return 0;
    char few[16 << 10], *room = few;
    const int64_t needed = eggs_product_room(layers, count, tokens, path);
    if (needed > (int64_t)sizeof few && !(room = malloc((size_t)needed))) return 2;
    eggs_product p;
    eggs_product_of(&p, layers, count, request->x, layers[0].plain, tokens, path, threads, parallel, room);
    char *to = request->y;
    for (int i = 0; i < count; i++) p.y[i] = to, to += tokens * layers[i].out * eggs_size(layers[i].result);
    if (threads <= 1 || p.bytes * tokens < MIN_BYTES || !helpers_wanted()) eggs_team_share(NULL, eggs_product_piece, &p, p.pieces);
    else {
        double begin = now();
        eggs_share(eggs_product_piece, &p, p.pieces, threads, parallel);
        judge(now() - begin, (double)p.bytes * (double)tokens);
    }
    if (room != few) free(room);
    return 0;
}

#define UNPACKED 16 /* rows that are unpacked together */
typedef struct {
    const eggs_layer *layer;
    eggs_dense dense;
    char *to;
    int64_t r0, r1;
} unpacking;

static void unpack_piece(void *data, int64_t piece) {
    unpacking *job = data;
    int64_t r0 = job->r0 + UNPACKED * piece, r1 = r0 + UNPACKED < job->r1 ? r0 + UNPACKED : job->r1;
    job->dense(job->layer, job->to + (r0 - job->r0) * job->layer->in * eggs_size(job->layer->plain), r0, r1);
}

/* Write rows r0 ≤ r < r1 with their zeros: dense is (r1 − r0, in) in plain and packed column order. */
void eggs_unpack(const eggs_layer *l, void *dense, int64_t r0, int64_t r1, int threads, int path, eggs_parallel parallel) {
    unpacking job = {l, eggs_dense_of(l, path), dense, r0, r1};
    eggs_share(unpack_piece, &job, (r1 - r0 + UNPACKED - 1) / UNPACKED, threads, parallel);
}

typedef struct {
    const float *data;
    int64_t length, step;
    int path;
    _Atomic double sum;
} reading;

static void read_piece(void *data, int64_t piece) {
    reading *job = data;
    const int64_t from = job->step * piece, n = from + job->step < job->length ? job->step : job->length - from;
    double sum = 0;
#if defined(__x86_64__)
    if (job->path >= EGGS_AVX512) sum = eggs_sum_avx512(job->data + from, n);
    else if (job->path == EGGS_AVX2) sum = eggs_sum_avx2(job->data + from, n);
    else
#endif
    {
        float a[8] = {0};
        int64_t i = 0;
        for (; i + 8 <= n; i += 8) for (int k = 0; k < 8; k++) a[k] += job->data[from + i + k];
        for (; i < n; i++) a[0] += job->data[from + i];
        for (int k = 0; k < 8; k++) sum += a[k];
    }
    double old = atomic_load(&job->sum);
    while (!atomic_compare_exchange_weak(&job->sum, &old, old + sum)) {}
}

/* The sum of `length` floats: reads memory as fast as the processor can, to measure its bandwidth. */
double eggs_read_memory(const float *data, int64_t length, int threads, int path, eggs_parallel parallel) {
    int64_t step = (length / (8 * (threads < 1 ? 1 : threads)) + 64) / 64 * 64; /* whole cache lines for each turn */
    if (step > 1 << 18) step = 1 << 18;
    reading job = {data, length, step, path, 0};
    eggs_share(read_piece, &job, (length + step - 1) / step, threads, parallel);
    return atomic_load(&job.sum);
}
