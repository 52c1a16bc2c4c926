/* sim_pair.h - for tests of the simulator's network: two processes on two hosts, and what they do
 * with sockets, one call at a time. */
#ifndef NETLOCK_TESTS_SIM_PAIR_H
#define NETLOCK_TESTS_SIM_PAIR_H

#include <stddef.h>
#include <stdint.h>

#include "net.h"
#include "process.h"

enum { MS = 1000, SECOND = 1000000, PORT = 7670 };

extern struct sim_process a, b; /* who calls, who listens */
extern int listening, ca,
    cb; /* descriptors: b's listener, and the two ends of open_pair() */

void pair_new(uint64_t seed);
/* Of a test. */
int pair_setup(void **state);
int pair_teardown(void **state);

void run(uint64_t us);
/* Both ways. */
void healed(void);
void weather(struct sim_weather weather);
/* From a to b. */
void decree(uint64_t number, enum sim_fate_kind kind, uint64_t extra_us);
/* From a to b, and back. */
void cut(bool there, bool back, bool is_cut);

/* Inside of a process; each returns what the call does, or a negative errno. */
int listen_on(struct sim_process *process);
int call_to(struct sim_process *process, uint32_t host);
int accepted(void); /* by b */
int put_text(struct sim_process *process, int fd, const char *text);
int put_bytes(struct sim_process *process, int fd, const void *data, size_t len);
int get_bytes(struct sim_process *process, int fd, void *data, size_t len);
int shut(struct sim_process *process, int fd);
int error_of(struct sim_process *process, int fd);
void set_option(struct sim_process *process, int fd, int level, int name, int value);
/* What is there: its text, or "" at the end, or the error's name. */
const char *got(struct sim_process *process, int fd);

void open_pair(void);

/* The same, for code that is inside. */
int connect_here(uint32_t host);

#endif
