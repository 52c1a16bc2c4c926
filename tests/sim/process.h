/* process.h - simulated processes: memory, clock and life of one program among many in here.
 *
 * A node (the shipped server) and a client (the shipped library, or a hostile one) each are a process
 * on a host of their own. Code runs inside a process only under sim_process_enter(); while it does:
 *
 *     malloc, calloc, realloc, free      are the process's heap: when it dies, all of it is gone
 *     clock_gettime()                    is its clock
 *     getrandom()                        is its random stream
 *     sockets, libuv                     are its own (socket.h, loop.h)
 *     sim_process_exit(), abort in a guard's `fatal`   end the process, not the simulator
 *
 * The simulator's own memory must come from sim_alloc(), or be allocated outside of any process.
 *
 * A process does one thing: its `turn`, inside, at the time that sim_process_wake() asked for. A paused
 * process (SIGSTOP, a stalled disk below its loop) has its turns put off until it goes on. */
#ifndef NETLOCK_SIM_PROCESS_H
#define NETLOCK_SIM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

/* Its steady clock: shows `shown_us` at simulated time `since_us` and runs `ppm` too fast. */
struct sim_clock {
    uint64_t since_us;
    uint64_t shown_us;
    int32_t ppm;
    int64_t wall_offset_us; /* of CLOCK_REALTIME; may jump */
};

/* Machines were switched on at different times, a multiple of @step_us ago, and know the date. */
struct sim_clock sim_machine_clock(uint64_t seed, uint64_t step_us);
uint64_t sim_clock_us(const struct sim_clock *clock);
/* The simulated time at which the clock will show @shown_us (rounded up); now, if it does. */
uint64_t sim_clock_when(const struct sim_clock *clock, uint64_t shown_us);
/* From now on. The clock of a process that may run: sim_process_set_rate(), which also has it look at
 * its timers anew. @ppm is above -1000000. */
void sim_clock_set_rate(struct sim_clock *clock, int32_t ppm);

/* The feature level that the sources are built for. */
extern const uint32_t sim_newest_level;

struct sim_socket;

struct sim_process {
    char name[16];
    uint32_t host; /* of net.h */
    void *arg;
    void (*turn)(struct sim_process *process); /* inside */
    /* After each turn that it survived, outside. NULL: nothing. */
    void (*on_turned)(struct sim_process *process);
    /* It died: by itself (@status), or killed (-1). Called outside of it, its memory gone. */
    void (*on_end)(struct sim_process *process, int status);

    uint32_t
        level; /* feature level of the build that it runs, or ran last; 0: the newest */

    /* Private. */
    bool alive;
    bool paused;
    bool ready;   /* something came while it was paused */
    bool entered; /* it runs, or stepped out of itself */
    bool turning;
    struct sim_clock clock;
    uint64_t random;
    struct sim_event wake;
    struct sim_block *blocks; /* the heap */
    size_t heap_bytes;
    struct sim_socket *sockets; /* open files */
    int next_fd;
    struct sim_post *posts, **posts_end;
    void *loop; /* loop.h */
};

/* Begin a life. @process keeps its name, host, arg, turn, on_turned, on_end and its clock (a machine's
 * clock outlives a process); everything else starts anew. The random stream is seeded from @seed. */
void sim_process_start(struct sim_process *process, uint64_t seed);

/* Run @call inside; false if the process died in it, or is dead. Nests only through
 * sim_process_outside(). To the process this is as if something came from outside: one that has a loop
 * gets a turn right after. From inside the same process it is just a call. */
bool sim_process_enter(struct sim_process *process, void (*call)(void *arg), void *arg);

/* The process that runs now, or NULL. */
struct sim_process *sim_process_current(void);

/* Step out of the running process for a moment, to call what must not use its heap:
 *     struct sim_process *inside = sim_process_outside(NULL);  ...  sim_process_outside(inside); */
struct sim_process *sim_process_outside(struct sim_process *back);

/* From inside: the end, with this exit status. Nothing of the call that was entered returns. */
_Noreturn void sim_process_exit(int status);

/* From outside, and from no call out of it: kill -9. Nothing if it is not alive. */
void sim_process_kill(struct sim_process *process);

/* Its turn comes at simulated time @at_us at the latest. Each turn says anew when the next one is due:
 * one that comes early takes the place of the one that was asked for. */
void sim_process_wake(struct sim_process *process, uint64_t at_us);
void sim_process_pause(struct sim_process *process);
void sim_process_resume(struct sim_process *process);
/* Of its clock. It may be dead: the clock is the machine's. */
void sim_process_set_rate(struct sim_process *process, int32_t ppm);

/* A call into the process from its machine (a disk that is done, a packet that came): queued until its
 * next turn, which is woken. If the process dies before, @drop is called instead, outside, while its
 * memory is still there; so it is, at once, if it is dead already. The post is embedded in its owner,
 * and given back before it is run or dropped. */
struct sim_post {
    struct sim_post *next;
    void (*run)(struct sim_post *post);
    void (*drop)(struct sim_post *post);
};
void sim_process_post(struct sim_process *process, struct sim_post *post);
/* Run, inside, what was posted up to now. To be called from a turn. */
void sim_process_run_posts(struct sim_process *process);

/* ---- memory ---- */

/* The simulator's own: never a process's. Aborts when there is none. Zeroed; what sim_realloc() adds is
 * not. */
void *sim_alloc(size_t size);
void *sim_realloc(void *memory, size_t size);
void sim_free(void *memory);
char *sim_strdup(const char *text);

/* Bytes that the process has allocated now; of a dead one: that it had when it died, so after an orderly
 * end the bytes that it lost track of. */
size_t sim_process_heap_bytes(const struct sim_process *process);

/* Give the memory of libraft to the processes too. sim_process_start() has done it. */
void sim_heap_install(void);
void sim_heap_end(struct sim_process *process); /* for process.c: free all that it has */

#endif
