/* Threads: those of an OpenMP runtime where the process has one, else threads of our own for each call. */
#include "nm.h"
#include <pthread.h>
#include <sched.h>

#define MAX_THREADS 256
#define MAX_RANGES 32
#define SPINS 2000 /* looks for work before a thread offers its core to others */

static inline void rest_a_moment(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
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

/* Work is dealt out piece by piece, so it is right for any number of threads that turn up (an OpenMP runtime may give
   fewer than asked), and a thread that is held up delays nobody. Each thread begins with a range of its own, whose pieces
   it takes in order, so that it reads memory in address order; who has finished helps the others. A range's ticket holds
   the number of the work at hand in its upper half and the pieces left to take in its lower one: who takes a piece knows
   which work it belongs to, and what belongs to this work stays as it is until all its pieces are done. */
typedef struct {
    _Alignas(64) atomic_ullong ticket;
} range;

struct eggs_team {
    range ranges[MAX_RANGES];
    _Alignas(64) atomic_ullong number; /* of the work at hand, once it can be taken */
    _Alignas(64) atomic_llong done;
    atomic_int joined, over;
    int count; /* ranges */
    eggs_piece work;
    void *data;
    int64_t pieces;
    eggs_lead lead;
    void *leader;
};

static int64_t end_of(const eggs_team *team, int i) { return team->pieces * (i + 1) / team->count; }

static int take_piece(eggs_team *team, int i) {
    unsigned long long ticket = atomic_load_explicit(&team->ranges[i].ticket, memory_order_acquire);
    while (ticket & 0xffffffffu) {
        if (!atomic_compare_exchange_weak_explicit(&team->ranges[i].ticket, &ticket, ticket - 1, memory_order_acquire,
                                                   memory_order_acquire)) continue;
        team->work(team->data, end_of(team, i) - (int64_t)(ticket & 0xffffffffu));
        return 1;
    }
    return 0;
}

/* Takes what is left of all ranges, beginning with the thread's own. */
static void take_pieces(eggs_team *team, int own) {
    int64_t taken = 0;
    for (int i = 0; i < team->count; i++) while (take_piece(team, (own + i) % team->count)) taken++;
    if (taken) atomic_fetch_add_explicit(&team->done, taken, memory_order_release);
}

void eggs_team_share(eggs_team *team, eggs_piece work, void *data, int64_t pieces) {
    if (!team || pieces < 2) {
        for (int64_t i = 0; i < pieces; i++) work(data, i);
        return;
    }
    team->work = work, team->data = data, team->pieces = pieces;
    atomic_store_explicit(&team->done, 0, memory_order_relaxed);
    const unsigned long long number = atomic_load_explicit(&team->number, memory_order_relaxed) + 1;
    for (int i = 0; i < team->count; i++) {
        const int64_t mine = end_of(team, i) - (i ? end_of(team, i - 1) : 0);
        atomic_store_explicit(&team->ranges[i].ticket, number << 32 | (unsigned long long)mine, memory_order_release);
    }
    atomic_store_explicit(&team->number, number, memory_order_release);
    take_pieces(team, 0);
    for (int looks = 0; atomic_load_explicit(&team->done, memory_order_acquire) < pieces; looks++) {
        if (looks < SPINS) rest_a_moment();
        else sched_yield();
    }
}

/* The first thread leads, the others take pieces until it has ended. */
static void team_body(void *p) {
    eggs_team *team = p;
    const int own = atomic_fetch_add(&team->joined, 1);
    unsigned long long seen = 0;
    if (!own) {
        team->lead(team, team->leader);
        atomic_store_explicit(&team->over, 1, memory_order_release);
        return;
    }
    for (int looks = 0; !atomic_load_explicit(&team->over, memory_order_acquire); looks++) {
        const unsigned long long number = atomic_load_explicit(&team->number, memory_order_acquire);
        if (number != seen) take_pieces(team, own), seen = number, looks = 0;
        else if (looks < SPINS) rest_a_moment();
        else sched_yield();
    }
}

void eggs_team_work(eggs_lead lead, void *data, int threads, eggs_parallel parallel) {
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads <= 1) {
        lead(NULL, data);
        return;
    }
    eggs_team team;
    team.lead = lead, team.leader = data, team.count = threads < MAX_RANGES ? threads : MAX_RANGES;
    atomic_init(&team.number, 0), atomic_init(&team.joined, 0), atomic_init(&team.over, 0);
    for (int i = 0; i < team.count; i++) atomic_init(&team.ranges[i].ticket, 0);
    (parallel ? parallel : pthread_parallel)(team_body, &team, (unsigned)threads, 0);
}

typedef struct {
    eggs_piece work;
    void *data;
    int64_t pieces;
} sharing;

static void lead_sharing(eggs_team *team, void *p) {
    sharing *s = p;
    eggs_team_share(team, s->work, s->data, s->pieces);
}

void eggs_share(eggs_piece work, void *data, int64_t pieces, int threads, eggs_parallel parallel) {
    sharing s = {work, data, pieces};
    eggs_team_work(lead_sharing, &s, pieces < 2 ? 1 : threads, parallel);
}
