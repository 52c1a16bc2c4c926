#include "disk_space.h"

#include <assert.h>

static void on_answer(uv_fs_t *ask)
{
    struct disk_space *space = ask->data;
    const uv_statfs_t *about = ask->ptr;
    bool known = ask->result == 0;
    uint64_t free_bytes = known ? about->f_bavail * about->f_bsize : 0;
    bool low = known && free_bytes < space->floor_bytes;

    uv_fs_req_cleanup(ask);
    space->asking = false;
    if (low != space->low && !uv_is_closing((uv_handle_t *)&space->timer)) {
        space->low = low;
        space->on_change(space->arg, low, free_bytes);
    }
}

/* One question at a time: while it has no answer, what was known stays. */
static void on_timer(uv_timer_t *timer)
{
    struct disk_space *space = timer->data;

    if (!space->asking) {
        space->asking =
            uv_fs_statfs(timer->loop, &space->ask, space->path, on_answer) == 0;
    }
}

void disk_space_start(struct disk_space *space, uv_loop_t *loop)
{
    int rv = uv_timer_init(loop, &space->timer);

    assert(rv == 0);
    (void)rv;
    space->timer.data = space;
    space->ask.data = space;
    uv_timer_start(&space->timer, on_timer, 0, DISK_SPACE_INTERVAL_MS);
}

void disk_space_close(struct disk_space *space)
{
    uv_close((uv_handle_t *)&space->timer, NULL);
}
