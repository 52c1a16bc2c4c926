/* floor_log.h - a log on disk, written as libraft writes its own: into allocated space with O_DIRECT, from the first
 * block that is not full; io_submit() with RWF_DSYNC | RWF_NOWAIT, and again by a thread if that would have to wait.
 * One write at a time; what is appended meanwhile is the next. What fails ends the process. */
#ifndef NETLOCK_BENCH_FLOOR_LOG_H
#define NETLOCK_BENCH_FLOOR_LOG_H

#include <stddef.h>
#include <stdint.h>

#include <uv.h>

/* End the process with a word about @what if @rv is a negative errno. */
void floor_check(const char *what, long rv);

/* There is one log in a process, a new file in @directory. @on_durable: floor_log_durable() is more
 * than it was. */
void floor_log_open(uv_loop_t *loop, const char *directory, void (*on_durable)(void));

/* Returns the position behind it, in bytes since the start. */
uint64_t floor_log_append(const uint8_t *record, size_t len);
uint64_t floor_log_durable(void);

#endif
