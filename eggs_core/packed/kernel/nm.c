/* N:M packed products: entry points, threads and the portable path. Compiled at first use, see __init__.py. */
#include "nm.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define CHUNK 64      /* kept weights that the portable path decodes at a time */
#define MAX_THREADS 256
#define MIN_BYTES (48 << 10) /* a call that reads fewer bytes of weights stays on one thread */

void eggs_rows_portable(const eggs_layer *l, const void *x, int64_t tokens, void *y, int64_t r0, int64_t r1) {
    for (int64_t r = r0; r < r1; r++) {
        const uint32_t *row = l->positions + r * l->words;
        for (int64_t t0 = 0; t0 < tokens; t0 += 8) {
            float sums[8] = {0};
            int64_t n = tokens - t0 < 8 ? tokens - t0 : 8, column = 0;
            int32_t left = l->keep;
            for (int64_t j0 = 0; j0 < l->kept; j0 += CHUNK) {
                float v[CHUNK];
                int64_t at[CHUNK], m = l->kept - j0 < CHUNK ? l->kept - j0 : CHUNK;
                for (int64_t j = 0; j < m; j++) {
                    at[j] = column + (l->bits ? eggs_position(row, j0 + j, l->bits) : 0);
                    v[j] = eggs_read(l->values, r * l->kept + j0 + j, l->dtype);
                    if (--left == 0) left = l->keep, column += l->group;
                }
                for (int64_t t = 0; t < n; t++) {
                    const float *xt = (const float *)x + (t0 + t) * l->in;
                    float a = 0, b = 0, c = 0, d = 0;
                    int64_t j = 0;
                    for (; j + 4 <= m; j += 4) {
                        a += v[j] * xt[at[j]], b += v[j + 1] * xt[at[j + 1]];
                        c += v[j + 2] * xt[at[j + 2]], d += v[j + 3] * xt[at[j + 3]];
                    }
                    for (; j < m; j++) a += v[j] * xt[at[j]];
                    sums[t] += (a + b) + (c + d);
                }
            }
            for (int64_t t = 0; t < n; t++) eggs_write(y, (t0 + t) * l->out + r, l->dtype, sums[t] + eggs_bias(l, r));
        }
    }
}

void eggs_finish(const eggs_layer *l, const void *x, int x_dtype, void *y, int64_t r, int64_t n, int64_t tokens,
                 int64_t done, const float *sums) {
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < n; i++) {
            float sum = sums[t * EGGS_ROWS + i];
            for (int64_t j = done; j < l->kept; j++) {
                int64_t at = j / l->keep * l->group + eggs_position(l->positions + (r + i) * l->words, j, l->bits);
                sum += eggs_read(l->values, (r + i) * l->kept + j, l->dtype) * eggs_read(x, t * l->in + at, x_dtype);
            }
            eggs_write(y, t * l->out + r + i, l->dtype, sum + eggs_bias(l, r + i));
        }
}

void eggs_dense_portable(const eggs_layer *l, void *dense, int64_t r0, int64_t r1) {
    const int64_t size = l->dtype == EGGS_FP32 ? 4 : 2;
    memset(dense, 0, (size_t)((r1 - r0) * l->in * size));
    for (int64_t r = r0; r < r1; r++) {
        const uint32_t *row = l->positions + r * l->words;
        int64_t at = (r - r0) * l->in, from = r * l->kept;
        for (int64_t j = 0, left = l->keep; j < l->kept; j++) {
            int64_t to = at + (l->bits ? eggs_position(row, j, l->bits) : 0);
            if (size == 4) ((uint32_t *)dense)[to] = ((const uint32_t *)l->values)[from + j];
            else ((uint16_t *)dense)[to] = ((const uint16_t *)l->values)[from + j];
            if (--left == 0) left = l->keep, at += l->group;
        }
    }
}

/* The fastest path of this processor, an eggs_path. */
int eggs_best_path(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
#if defined(__clang__) || __GNUC__ >= 10
        if (__builtin_cpu_supports("avx512bf16")) return EGGS_BF16_DOT;
#endif
        return EGGS_AVX512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) return EGGS_AVX2;
#endif
    return EGGS_PORTABLE;
}

/* The path that runs this layer when the processor offers `path`. */
int eggs_layer_path(const eggs_layer *l, int path) {
#if defined(__x86_64__)
    if (path >= EGGS_BF16_DOT && eggs_bf16_takes(l)) return EGGS_BF16_DOT;
    if (path >= EGGS_AVX512 && eggs_avx512_takes(l)) return EGGS_AVX512;
    if (path >= EGGS_AVX2 && eggs_avx2_takes(l)) return EGGS_AVX2;
#endif
    (void)l, (void)path;
    return EGGS_PORTABLE;
}

static eggs_rows rows_of(const eggs_layer *l, int path) {
#if defined(__x86_64__)
    switch (eggs_layer_path(l, path)) {
        case EGGS_BF16_DOT: return eggs_rows_bf16;
        case EGGS_AVX512:
            return path >= EGGS_BF16_DOT && __builtin_cpu_supports("avx512vbmi") ? eggs_rows_vbmi : eggs_rows_avx512;
        case EGGS_AVX2: return eggs_rows_avx2;
    }
#endif
    (void)l, (void)path;
    return eggs_rows_portable;
}

typedef struct {
    void (*body)(void *);
    void *data;
} pthread_job;

static void *pthread_run(void *p) {
    pthread_job *job = p;
    job->body(job->data);
    return NULL;
}

/* Stands in for GOMP_parallel in a process without an OpenMP runtime: threads live for one call. */
static void pthread_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags) {
    pthread_t ids[MAX_THREADS];
    pthread_job job = {body, data};
    unsigned started = 0;
    (void)flags;
    while (started + 1 < threads && started < MAX_THREADS && !pthread_create(&ids[started], NULL, pthread_run, &job)) started++;
    body(data);
    while (started) pthread_join(ids[--started], NULL);
}

/* Work is dealt out by an atomic counter in pieces of some rows, so it is right for any number of threads that turn up
   (an OpenMP runtime may give fewer than asked) and a thread that is held up delays nobody. */
typedef struct {
    const eggs_layer *layers;
    const void **x;  /* one per layer */
    void **y;        /* one per layer */
    eggs_rows *rows; /* one per layer */
    int count;
    int64_t tokens, step, pieces;
    atomic_llong next;
} product;

static void product_body(void *p) {
    product *job = p;
    for (;;) {
        int64_t piece = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (piece >= job->pieces) return;
        for (int i = 0; i < job->count; i++) {
            const eggs_layer *l = &job->layers[i];
            int64_t n = (l->out + job->step - 1) / job->step;
            if (piece < n) {
                int64_t r0 = piece * job->step, r1 = r0 + job->step < l->out ? r0 + job->step : l->out;
                job->rows[i](l, job->x[i], job->tokens, job->y[i], r0, r1);
                break;
            }
            piece -= n;
        }
    }
}

static void run_parallel(void (*body)(void *), void *data, int threads, eggs_parallel parallel) {
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads <= 1) body(data);
    else (parallel ? parallel : pthread_parallel)(body, data, (unsigned)threads, 0);
}

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

#define MAX_LAYERS 8

/* Does this path read x in the dtype that it comes in? */
static int as_given(eggs_rows rows, int dtype) { return dtype == EGGS_FP32 || rows == eggs_rows_bf16; }

static void arrange(const char *x, const int32_t *perm, int64_t in, int64_t size, char *to) {
    if (size == 4) for (int64_t c = 0; c < in; c++) ((uint32_t *)to)[c] = ((const uint32_t *)x)[perm[c]];
    else for (int64_t c = 0; c < in; c++) ((uint16_t *)to)[c] = ((const uint16_t *)x)[perm[c]];
}

static void widen(const char *x, const int32_t *perm, int64_t in, int dtype, float *to) {
    if (perm) for (int64_t c = 0; c < in; c++) to[c] = eggs_read(x, perm[c], dtype);
    else if (dtype == EGGS_BF16) for (int64_t c = 0; c < in; c++) to[c] = eggs_read(x, c, EGGS_BF16);
    else for (int64_t c = 0; c < in; c++) to[c] = eggs_read(x, c, dtype);
}

/* Multiply `count` layers that read the same x. x: (tokens, in) in the layers' dtype; y: for each layer in turn
   (tokens, out) in that dtype, one after the other. Returns 0, or 1 for arguments out of range, 2 for no memory. */
int eggs_linear(const eggs_layer *layers, int count, const void *x, void *y, int64_t tokens, int threads, int path,
                eggs_parallel parallel) {
    if (count < 1 || count > MAX_LAYERS || tokens < 0) return 1;
    const int dtype = layers[0].dtype;
    const int64_t in = layers[0].in, size = dtype == EGGS_FP32 ? 4 : 2;
    const void *xs[MAX_LAYERS];
    void *ys[MAX_LAYERS];
    eggs_rows rows[MAX_LAYERS];
    int64_t total = 0, bytes = 0, room = 0;
    char *to = y;
    for (int i = 0; i < count; i++) {
        const eggs_layer *l = &layers[i];
        if (l->in != in || l->dtype != dtype) return 1;
        ys[i] = to, rows[i] = rows_of(l, path);
        to += tokens * l->out * size;
        total += l->out;
        bytes += l->out * (l->kept * size + l->words * 4);
        room += l->permutation || !as_given(rows[i], dtype);
    }
    char *copy = room ? malloc((size_t)(room * tokens * in) * 4 + 128) : NULL;
    if (room && !copy) return 2;
    char *next = copy + (64 - (uintptr_t)copy % 64) % 64; /* no split loads */
    const void *widened = NULL; /* shared by the layers without a permutation */
    for (int i = 0; i < count; i++) {
        const int32_t *perm = layers[i].permutation;
        const int raw = as_given(rows[i], dtype);
        xs[i] = perm ? NULL : raw ? x : widened;
        if (xs[i]) continue;
        for (int64_t t = 0; t < tokens; t++) {
            const char *from = (const char *)x + t * in * size;
            if (raw) arrange(from, perm, in, size, next + t * in * size);
            else widen(from, perm, in, dtype, (float *)next + t * in);
        }
        xs[i] = next;
        if (!perm) widened = next;
        next += tokens * in * 4;
    }
    product job = {layers, xs, ys, rows, count, tokens, 0, 0, 0};
    if (bytes < MIN_BYTES || (threads > 1 && !helpers_wanted())) threads = 1;
    job.step = threads <= 1 ? total : (total / (threads * 8) + 3) / 4 * 4;
    if (job.step < 4) job.step = 4;
    for (int i = 0; i < count; i++) job.pieces += (layers[i].out + job.step - 1) / job.step;
    if (tokens && threads <= 1) product_body(&job);
    else if (tokens) {
        double begin = now();
        run_parallel(product_body, &job, threads, parallel);
        judge(now() - begin, (double)bytes * (double)tokens);
    }
    free(copy);
    return 0;
}

typedef struct {
    const eggs_layer *layer;
    eggs_dense dense;
    char *to;
    int64_t r0, r1, step, row_bytes;
    atomic_llong next;
} unpacking;

static void unpack_body(void *p) {
    unpacking *job = p;
    for (;;) {
        int64_t r0 = job->r0 + job->step * atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (r0 >= job->r1) return;
        int64_t r1 = r0 + job->step < job->r1 ? r0 + job->step : job->r1;
        job->dense(job->layer, job->to + (r0 - job->r0) * job->row_bytes, r0, r1);
    }
}

/* Write rows r0 ≤ r < r1 with their zeros: dense is (r1 − r0, in) in dtype and packed column order. */
void eggs_unpack(const eggs_layer *l, void *dense, int64_t r0, int64_t r1, int threads, int path, eggs_parallel parallel) {
    eggs_dense run = eggs_dense_portable;
#if defined(__x86_64__)
    if (eggs_layer_path(l, path) >= EGGS_AVX512 && l->group <= 16) {
        run = path >= EGGS_BF16_DOT && __builtin_cpu_supports("avx512vbmi2") ? eggs_dense_vbmi2 : eggs_dense_avx512;
    }
#endif
    (void)path;
    unpacking job = {l, run, dense, r0, r1, 16, l->in * (l->dtype == EGGS_FP32 ? 4 : 2), 0};
    run_parallel(unpack_body, &job, threads, parallel);
}

/* The first row whose positions do not rise strictly inside each group, below `group`; −1 when all do. */
int64_t eggs_bad_row(const eggs_layer *l) {
    for (int64_t r = 0; r < l->out; r++) {
        const uint32_t *row = l->positions + r * l->words;
        int64_t last = -1;
        for (int64_t j = 0, left = l->keep; j < l->kept; j++) {
            int64_t at = l->bits ? eggs_position(row, j, l->bits) : 0;
            if (at <= last || at >= l->group) return r;
            last = at;
            if (--left == 0) left = l->keep, last = -1;
        }
    }
    return -1;
}

typedef struct {
    const float *data;
    int64_t length, step;
    int path;
    atomic_llong next;
    _Atomic double sum;
} reading;

static void read_body(void *p) {
    reading *job = p;
    double sum = 0;
    for (;;) {
        int64_t from = job->step * atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (from >= job->length) break;
        int64_t n = from + job->step < job->length ? job->step : job->length - from;
#if defined(__x86_64__)
        if (job->path >= EGGS_AVX512) {
            sum += eggs_sum_avx512(job->data + from, n);
            continue;
        }
#endif
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
    reading job = {data, length, step < 1 << 18 ? step : 1 << 18, path, 0, 0};
    run_parallel(read_body, &job, threads, parallel);
    return atomic_load(&job.sum);
}
