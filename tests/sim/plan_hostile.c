#include "plan_internal.h"

#include <inttypes.h>
#include <stdarg.h>

/* What raw clients do: bytes that come too late on connections that were given up, the same request
 * twice, garbage, answers that nobody reads, connections that are dropped, stale epochs, and the
 * plain protocol without any extension. Each act begins with connections of its own and leaves none.
 *
 * They use ids of their own. Of the users' ids they use only ones that are bound to be refused: who may act
 * for an open id may also give its locks away, and no check could hold that against the cluster. */

struct act {
    struct sim_plan *plan;
    struct sim_random *random;
    unsigned who; /* h1.. */
    uint64_t at_us;
    uint64_t epoch; /* of its own client, rising */
};

static uint64_t below(struct act *act, uint64_t limit)
{
    return sim_random_below(act->random, limit);
}

/* Time passes between two lines of an act. */
static void later(struct act *act, uint64_t most_us)
{
    act->at_us += 1 + sim_plan_between_log(act->random, 100, most_us);
}

static unsigned any_lock(struct act *act)
{
    return 1 + (unsigned)below(act, act->plan->locks);
}

__attribute__((format(printf, 3, 4))) static void
say(struct act *act, unsigned conn, const char *format, ...)
{
    char text[400];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    sim_plan_at(act->plan, act->at_us, "h%u.%u %s", act->who, conn, text);
    later(act, 20000);
}

/* To the node that serves, which is what matters; or to any other. */
static void connect(struct act *act, unsigned conn)
{
    if (below(act, 5) == 0) {
        say(act, conn, "connect n%u", 1 + (unsigned)below(act, act->plan->nodes));
    } else {
        say(act, conn, "connect");
    }
}

static void leave(struct act *act, unsigned conn)
{
    say(act, conn, "%s", below(act, 2) == 0 ? "hang-up" : "reset");
}

static void attach(struct act *act, unsigned conn)
{
    connect(act, conn);
    say(act, conn,
        "hello grace=%u"
        "ms",
        500 * (unsigned)below(act, 8));
    say(act, conn, "attach h%u epoch=%" PRIu64 " supersede", act->who, ++act->epoch);
}

/* A request that is stuck on the old connection arrives when the client has a new one. */
static void delayed(struct act *act)
{
    unsigned lock = any_lock(act);

    attach(act, 0);
    say(act, 0, "hold on");
    say(act, 0, "lock L%u hold=2s client=h%u%s", lock, act->who,
        below(act, 2) == 0 ? " try" : "");
    if (below(act, 2) == 0) {
        say(act, 0, "unlock L%u client=h%u", lock, act->who);
    }
    attach(act, 1);
    if (below(act, 2) == 0) {
        say(act, 1, "lock L%u wait=1s hold=2s client=h%u", lock, act->who);
    }
    later(act, 2 * SIM_SECOND_US);
    say(act, 0, "hold off");
    later(act, 2 * SIM_SECOND_US);
    say(act, 1, "status L%u client=h%u", lock, act->who);
    say(act, 1, "unlock L%u client=h%u", lock, act->who);
    leave(act, 0);
    leave(act, 1);
}

static void twice(struct act *act)
{
    unsigned lock = any_lock(act);
    unsigned times = 2 + (unsigned)below(act, 4);

    attach(act, 0);
    for (unsigned i = 0; i < times; i++) {
        say(act, 0, "lock L%u wait=5s hold=3s client=h%u", lock, act->who);
    }
    later(act, 5 * SIM_SECOND_US);
    for (unsigned i = 0; i < times; i++) {
        say(act, 0, "unlock L%u client=h%u", lock, act->who);
    }
    leave(act, 0);
}

static void garbage(struct act *act)
{
    static const char *const starts[] = {"",         "00000000", "00000004",
                                         "ffffffff", "00100001", "0000000a0a"};
    char hex[129];
    unsigned len = 2 * (unsigned)sim_random_between(act->random, 1, 64);

    for (unsigned i = 0; i < len; i++) {
        hex[i] = "0123456789abcdef"[below(act, 16)];
    }
    hex[len] = '\0';
    connect(act, 2);
    if (below(act, 2) == 0) {
        say(act, 2, "lock L%u try hold=1s", any_lock(act));
    }
    say(act, 2, "bytes %s%s", starts[below(act, 6)], hex);
    later(act, SIM_SECOND_US);
    say(act, 2, "status L%u", any_lock(act));
    leave(act, 2);
}

/* Asks and asks, and does not read. */
static void deaf(struct act *act)
{
    unsigned times = (unsigned)sim_random_between(act->random, 10, 100);

    connect(act, 3);
    say(act, 3, "hello");
    say(act, 3, "read off");
    for (unsigned i = 0; i < times; i++) {
        sim_plan_at(act->plan, act->at_us, "h%u.3 status L%u", act->who, any_lock(act));
        act->at_us += 200;
    }
    later(act, 10 * SIM_SECOND_US);
    if (below(act, 2) == 0) {
        say(act, 3, "read on");
    }
    leave(act, 3);
}

/* Waits or holds, and is gone. */
static void drops(struct act *act)
{
    unsigned times = 1 + (unsigned)below(act, 5);

    for (unsigned i = 0; i < times; i++) {
        attach(act, 4);
        unsigned lock = any_lock(act);
        say(act, 4, "lock L%u wait=5s hold=3s client=h%u%s", lock, act->who,
            below(act, 4) == 0 ? " ignore" : "");
        later(act, SIM_SECOND_US);
        leave(act, 4);
    }
}

/* An old epoch, of its own client and of a user's. */
static void stale(struct act *act)
{
    unsigned user = 1 + (unsigned)below(act, act->plan->users);
    unsigned lock = any_lock(act);

    attach(act, 0);
    connect(act, 1);
    say(act, 1, "hello");
    uint64_t epoch = act->epoch - below(act, 2);
    say(act, 1, "attach h%u epoch=%" PRIu64 "%s", act->who, epoch,
        below(act, 2) == 0 ? " supersede" : "");
    say(act, 1, "lock L%u hold=1s try client=h%u", lock, act->who);
    say(act, 1, "attach u%u epoch=1 supersede", user);
    say(act, 0, "unlock L%u client=h%u", lock, act->who);
    leave(act, 1);
    leave(act, 0);
}

/* A GoNetLock client as it was before netlock: no hello, no tokens, seconds as milliseconds. */
static void plain(struct act *act)
{
    unsigned times = 1 + (unsigned)below(act, 6), lock = any_lock(act);

    connect(act, 5);
    for (unsigned i = 0; i < times; i++) {
        lock = any_lock(act);
        bool read = below(act, 3) == 0, try = below(act, 2) == 0;
        say(act, 5, "lock L%u%s hold=%us%s", lock, read ? " read" : "",
            1 + (unsigned)below(act, 4), try ? " try" : " wait=2s");
        later(act, 2 * SIM_SECOND_US);
        if (below(act, 3) == 0) {
            say(act, 5, "refresh L%u", lock);
        }
        if (below(act, 4) != 0) {
            say(act, 5, "unlock L%u", lock);
        }
    }
    leave(act, 5);
}

/* One connection after the other, the new one before the old one is closed: nothing may be lost. */
static void moves(struct act *act)
{
    unsigned lock = any_lock(act), conn = 0;
    unsigned times = 1 + (unsigned)below(act, 4);

    attach(act, conn);
    say(act, conn, "lock L%u wait=5s hold=5s client=h%u", lock, act->who);
    for (unsigned i = 0; i < times; i++) {
        attach(act, !conn);
        leave(act, conn);
        conn = !conn;
        say(act, conn, "status L%u client=h%u", lock, act->who);
    }
    say(act, conn, "detach h%u", act->who);
    leave(act, conn);
}

void sim_plan_hostile(struct sim_plan *plan)
{
    static void (*const acts[])(struct act *) = {delayed, twice, garbage, deaf,
                                                 drops,   stale, plain,   moves};
    struct sim_random random = sim_plan_stream(plan, SIM_FAULT_HOSTILE);
    uint64_t gap_us = 3000 * SIM_SECOND_US / plan->pace_percent;

    for (unsigned i = 1; i <= plan->hostile; i++) {
        struct act act = {plan, &random, i, SIM_SECOND_US, 0};
        for (;;) {
            act.at_us += sim_random_below(&random, 2 * gap_us);
            if (act.at_us >= plan->faults_us) {
                break;
            }
            acts[sim_random_below(&random, sizeof(acts) / sizeof(acts[0]))](&act);
        }
    }
}
