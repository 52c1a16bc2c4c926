/* disk_space.h - how much room the file system of the data directory has left, asked once a
 * second. Asked on libuv's threads: a disk that hangs does not hold up the loop.
 *
 *     disk_space_start(&space, loop)          path, floor_bytes, on_change and arg are set
 *     disk_space_close(&space)                the struct must live until the loop ends
 *
 * on_change() hears the first answer if it is bad, and then each change. What cannot be asked
 * counts as enough: writing itself finds out. */
#ifndef NETLOCK_DISK_SPACE_H
#define NETLOCK_DISK_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

enum { DISK_SPACE_INTERVAL_MS = 1000 };

struct disk_space {
    const char *path; /* borrowed */
    uint64_t floor_bytes;
    void (*on_change)(void *arg, bool low, uint64_t free_bytes);
    void *arg;

    uv_timer_t timer;
    uv_fs_t ask;
    bool asking, low;
};

void disk_space_start(struct disk_space *space, uv_loop_t *loop);
void disk_space_close(struct disk_space *space);

#endif
