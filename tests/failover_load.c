/* failover_load - clients of every kind against a cluster whose leader is being killed.
 *
 *     failover_load SERVERS CLIENTS SEED
 *
 * CLIENTS blocking clients of libnetlock, each a thread, take and free locks in mixed
 * modes until standard input ends. Four more form the "scene" of a round, driven by lines
 * on standard input:
 *
 *     prepare N   a holder takes round-N, three waiters queue behind it in a known order
 *     check N     the holder must still have its token, then the lock passes down the
 * queue
 *
 * Everything that happens is one line on standard output, `NANOSECONDS WHO WHAT ...`, on
 * CLOCK_MONOTONIC; tests/failover.py, which kills the nodes, decides what the lines
 * prove. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "netlock.h"

enum { CLIENTS_MAX = 256, WAITERS = 3, HOT_LOCKS = 4, PERMITS = 3 };

static atomic_bool stopping;
static const char *servers;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((format(printf, 3, 4))) static void
say(uint64_t at_ns, const char *who, const char *format, ...)
{
    char line[512];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (len > 0) {
        flockfile(stdout);
        printf("%" PRIu64 " %s %s\n", at_ns, who, line);
        fflush(stdout);
        funlockfile(stdout);
    }
}

static uint32_t next_random(uint64_t *state)
{
    *state ^= *state << 13; /* xorshift64 */
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

static void pause_ms(uint32_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

static void on_notice(void *arg, const struct netlock_notice *notice)
{
    static const char *const names[] = {
        [NETLOCK_QUEUED] = "queued",       [NETLOCK_JEOPARDY] = "jeopardy",
        [NETLOCK_SAFE] = "safe",           [NETLOCK_LOST] = "lost",
        [NETLOCK_CONNECTED] = "connected", [NETLOCK_DISCONNECTED] = "disconnected"};

    say(now_ns(), arg, "%s %s %" PRIu64, names[notice->event],
        notice->name != NULL ? notice->name : "-", notice->token);
}

static struct netlock *open_client(char *who)
{
    struct netlock *nl;
    struct netlock_options options = {
        .servers = servers,
        .connect_timeout_ms = 60000,
        .session_grace_ms = 20000,
        .application = who,
        .on_notice = on_notice,
        .arg = who,
    };
    int rv = netlock_open(&nl, &options);

    if (rv != 0) {
        say(now_ns(), who, "fatal open: %s", netlock_strerror(rv));
        exit(1);
    }
    return nl;
}

/* ---- the crowd -------------------------------------------------------------------- */

struct walker {
    pthread_t thread;
    char who[16];
    uint64_t random;
};

/* One lock, held for a moment. `held` and `freed` frame the time in which this client is
 * entitled to act: the first is written after the grant, the second before the release is
 * sent. */
static void take_and_free(struct netlock *nl, struct walker *walker)
{
    uint32_t kind = next_random(&walker->random) % 6;
    struct netlock_lock_options how = {.lock_timeout_ms = 20000};
    struct netlock_grant grant;
    char name[32];
    int rv;

    snprintf(name, sizeof name, "%s-%u", kind == 3 ? "permits" : "hot",
             next_random(&walker->random) % HOT_LOCKS);
    how.type = kind == 1 || kind == 2 ? NETLOCK_READ : NETLOCK_WRITE;
    how.limit = kind == 3 ? PERMITS : 1;
    how.try_only = kind == 4;
    how.wait_timeout_ms = kind == 5 ? 30 + next_random(&walker->random) % 300 : 0;
    how.lock_timeout_ms = kind == 0 ? NETLOCK_UNLIMITED : 20000;

    say(now_ns(), walker->who, "ask %s %u %u", name, how.type, how.limit);
    rv = netlock_lock(nl, name, &how, &grant);
    if (rv != 0) {
        say(now_ns(), walker->who, "refused %s %d %s", name, -rv, netlock_strerror(rv));
        return;
    }
    say(now_ns(), walker->who, "held %s %u %u %" PRIu64 " %u %" PRIu64, name, how.type,
        how.limit, grant.token, grant.slot, grant.index);
    pause_ms(next_random(&walker->random) % 20);
    say(now_ns(), walker->who, "freeing %s %" PRIu64, name, grant.token);
    rv = netlock_unlock_token(nl, name, grant.token);
    say(now_ns(), walker->who, "freed %s %" PRIu64 " %d", name, grant.token, -rv);
}

static void *walk(void *arg)
{
    struct walker *walker = arg;
    struct netlock *nl = open_client(walker->who);

    while (!stopping) {
        take_and_free(nl, walker);
        pause_ms(next_random(&walker->random) % 10);
    }
    netlock_close(nl);
    return NULL;
}

/* ---- the scene of a round --------------------------------------------------------- */

struct waiter {
    pthread_t thread;
    char who[16];
    char name[32];
    struct netlock *nl;
    struct netlock_grant grant;
    int rv;
    atomic_bool queued;
};

static void on_waiter_notice(void *arg, const struct netlock_notice *notice)
{
    struct waiter *waiter = arg;

    on_notice(waiter->who, notice);
    if (notice->event == NETLOCK_QUEUED) {
        waiter->queued = true;
    }
}

static void *wait_in_queue(void *arg)
{
    struct waiter *waiter = arg;
    struct netlock_lock_options how = {.lock_timeout_ms = 60000};

    waiter->rv = netlock_lock(waiter->nl, waiter->name, &how, &waiter->grant);
    say(now_ns(), waiter->who, "turn %s %d %" PRIu64, waiter->name, -waiter->rv,
        waiter->grant.token);
    if (waiter->rv == 0) {
        waiter->rv = netlock_unlock_token(waiter->nl, waiter->name, waiter->grant.token);
    }
    return NULL;
}

struct scene {
    struct netlock *holder;
    struct netlock_grant grant;
    struct waiter waiters[WAITERS];
};

static void scene_prepare(struct scene *scene, const char *round)
{
    struct netlock_lock_options how = {.lock_timeout_ms = 60000};
    char name[32];
    int rv;

    snprintf(name, sizeof name, "round-%.20s", round);
    rv = netlock_lock(scene->holder, name, &how, &scene->grant);
    if (rv != 0) {
        say(now_ns(), "scene", "failed %s prepare: %s", round, netlock_strerror(rv));
        return;
    }
    for (int i = 0; i < WAITERS; i++) {
        struct waiter *waiter = &scene->waiters[i];

        memcpy(waiter->name, name, sizeof name);
        waiter->queued = false;
        pthread_create(&waiter->thread, NULL, wait_in_queue, waiter);
        for (int tries = 0; !waiter->queued && tries < 10000; tries++) {
            pause_ms(1);
        }
    }
    say(now_ns(), "scene", "ready %s %" PRIu64, round, scene->grant.token);
}

static void scene_check(struct scene *scene, const char *round)
{
    struct netlock_grant grant = {0};
    const char *name = scene->waiters[0].name;
    uint64_t token = scene->grant.token;
    const char *verdict = "kept";
    int rv = netlock_refresh(scene->holder, name, 0, NULL, &grant);

    if (rv != 0 || grant.token != token) {
        verdict = "hold-lost";
    }
    netlock_unlock_token(scene->holder, name, token);
    for (int i = 0; i < WAITERS; i++) {
        struct waiter *waiter = &scene->waiters[i];

        pthread_join(waiter->thread, NULL);
        if (waiter->rv != 0) {
            verdict = "waiter-failed";
        } else if (waiter->grant.token <= token) {
            verdict = "out-of-turn"; /* tokens are given in the order of the grants */
        }
        token = waiter->grant.token;
    }
    say(now_ns(), "scene", "done %s %s", round, verdict);
}

static void scene_open(struct scene *scene)
{
    static char holder[] = "holder";

    scene->holder = open_client(holder);
    for (int i = 0; i < WAITERS; i++) {
        struct waiter *waiter = &scene->waiters[i];
        struct netlock_options options = {
            .servers = servers,
            .connect_timeout_ms = 60000,
            .session_grace_ms = 20000,
            .on_notice = on_waiter_notice,
            .arg = waiter,
        };

        snprintf(waiter->who, sizeof waiter->who, "waiter%d", i + 1);
        if (netlock_open(&waiter->nl, &options) != 0) {
            say(now_ns(), waiter->who, "fatal open");
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    static struct walker walkers[CLIENTS_MAX];
    static struct scene scene;
    size_t count;
    uint64_t seed;
    char line[64];

    if (argc != 4) {
        fprintf(stderr, "usage: failover_load SERVERS CLIENTS SEED\n");
        return 64;
    }
    servers = argv[1];
    count = (size_t)strtoul(argv[2], NULL, 10);
    seed = strtoull(argv[3], NULL, 10);
    if (count > CLIENTS_MAX) {
        fprintf(stderr, "failover_load: at most %d clients\n", CLIENTS_MAX);
        return 64;
    }

    scene_open(&scene);
    for (size_t i = 0; i < count; i++) {
        snprintf(walkers[i].who, sizeof walkers[i].who, "c%zu", i);
        walkers[i].random = (seed + 1) * 0x9e3779b97f4a7c15u + i * 0xbf58476d1ce4e5b9u;
        pthread_create(&walkers[i].thread, NULL, walk, &walkers[i]);
    }
    say(now_ns(), "scene", "open");
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "prepare ", 8) == 0) {
            scene_prepare(&scene, line + 8);
        } else if (strncmp(line, "check ", 6) == 0) {
            scene_check(&scene, line + 6);
        }
    }
    stopping = true;
    for (size_t i = 0; i < count; i++) {
        pthread_join(walkers[i].thread, NULL);
    }
    for (int i = 0; i < WAITERS; i++) {
        netlock_close(scene.waiters[i].nl);
    }
    netlock_close(scene.holder);
    say(now_ns(), "scene", "closed");
    return 0;
}
