#include "raft_io.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "disk_io.h"
#include "node.h"
#include "peer_links.h"
#include "process.h"
#include "server_internal.h"

/* libraft's own, and not in its headers: call back the requests of the node that were completed
 * meanwhile. raft_uv calls it before and after I/O. */
void LegacyFireCompletedRequests(struct raft *raft);

/* One request of the disk; the simulator's memory. Its callbacks into libraft come last in each function
 * below: they may be the process's end. */
struct io_request {
    struct sim_disk_request disk;
    struct sim_post post;
    struct sim_raft_io *io;
    int status;
    union {
        struct raft_io_append *append;
        struct raft_io_snapshot_put *put;
        struct raft_io_snapshot_get *get;
    };
};

static struct sim_raft_io *inside(const struct raft_io *io)
{
    return io->impl;
}

static struct sim_disk *disk_of(const struct raft_io *io)
{
    return inside(io)->node->disk;
}

static void *heap(size_t size)
{
    void *memory = raft_calloc(1, size);

    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* ---- closing ---- */

static void close_step(struct sim_raft_io *io)
{
    if (io->closing && io->handles == 0 && io->requests == 0) {
        sim_peers_cancel(&io->sends);
        io->node->raft = NULL; /* nobody may look into it from here on */
        io->on_closed(io->io);
    }
}

static void on_part_closed(void *arg)
{
    struct sim_raft_io *io = arg;

    io->handles--;
    close_step(io);
}

static void on_handle_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

/* ---- completions ---- */

/* raft_uv does not report these: it says so to its tracer, which is how the guard learns of it. */
static void say(const struct sim_raft_io *io, const char *message)
{
    struct raft_tracer_info info = {.version = 1};

    info.diagnostic.level = 4;
    info.diagnostic.message = message;
    info.diagnostic.file = "uv";
    io->tracer->emit(io->tracer, RAFT_TRACER_DIAGNOSTIC, &info);
}

static void on_append_failed(struct sim_raft_io *io)
{
    snprintf(io->io->errmsg, RAFT_ERRMSG_BUF_SIZE, "io_submit: Input/output error");
    say(io, "retry failed write (io_submit: Input/output error)");
    abort();
}

/* What its thread pool would have said before, the guard has noted in this flag. */
static void on_truncate_failed(struct sim_raft_io *io)
{
    atomic_store(&io->node->guard->truncating, true);
    say(io, "uv truncate after work cb status:0");
    abort();
}

static void
tell_read(struct sim_raft_io *io, struct raft_io_snapshot_get *get, int status)
{
    struct raft_snapshot *snapshot = NULL;

    if (status == 0) {
        status = sim_image_load_snapshot(sim_disk_image(io->node->disk)->snapshots[0],
                                         &snapshot, io->io->errmsg);
    }
    get->cb(get, snapshot, status);
}

/* A snapshot that was to be installed and ends while closing counts as cancelled: libraft would lose
 * track of its data otherwise. raft_uv cancels it unless it is at its last step. */
static int put_status(const struct sim_raft_io *io, int status)
{
    return io->closing ? RAFT_CANCELED : status;
}

static void tell(struct sim_post *post)
{
    struct io_request *request =
        (struct io_request *)((char *)post - offsetof(struct io_request, post));
    struct io_request told = *request;
    struct sim_raft_io *io = told.io;

    sim_free(request);
    io->requests--;
    switch (told.disk.work) {
    case SIM_WORK_APPEND:
        if (told.status != 0) {
            on_append_failed(io);
        }
        told.append->cb(told.append, 0);
        break;
    case SIM_WORK_TRUNCATE:
        if (told.status != 0) {
            on_truncate_failed(io);
        }
        break;
    case SIM_WORK_INSTALL:
    case SIM_WORK_SNAPSHOT:
        told.put->cb(told.put, put_status(io, told.status));
        break;
    case SIM_WORK_READ:
        tell_read(io, told.get, told.status);
        break;
    }
    close_step(io);
}

static void drop(struct sim_post *post)
{
    sim_free((char *)post - offsetof(struct io_request, post));
}

static void on_done(struct sim_disk_request *done, int status)
{
    struct io_request *request = (struct io_request *)done;

    request->status = status;
    sim_process_post(&request->io->node->process, &request->post);
}

static void on_lost(struct sim_disk_request *lost)
{
    sim_free(lost);
}

static struct io_request *request_new(struct sim_raft_io *io)
{
    struct io_request *request = sim_alloc(sizeof(*request));

    request->disk.done = on_done;
    request->disk.lost = on_lost;
    request->post.run = tell;
    request->post.drop = drop;
    request->io = io;
    io->requests++;
    return request;
}

/* ---- the disk ---- */

static int io_append(struct raft_io *io,
                     struct raft_io_append *append,
                     const struct raft_entry entries[],
                     unsigned count,
                     raft_io_append_cb cb)
{
    struct io_request *request = request_new(inside(io));

    append->cb = cb;
    request->append = append;
    sim_disk_append(disk_of(io), &request->disk, entries, count);
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    struct io_request *request = request_new(inside(io));

    if (!sim_disk_truncate(disk_of(io), &request->disk, index)) {
        inside(io)->requests--;
        sim_free(request);
    }
    return 0;
}

static int io_snapshot_put(struct raft_io *io,
                           unsigned trailing,
                           struct raft_io_snapshot_put *put,
                           const struct raft_snapshot *snapshot,
                           raft_io_snapshot_put_cb cb)
{
    struct io_request *request = request_new(inside(io));

    put->cb = cb;
    request->put = put;
    sim_disk_put(disk_of(io), &request->disk, snapshot, trailing);
    return 0;
}

static int io_snapshot_get(struct raft_io *io,
                           struct raft_io_snapshot_get *get,
                           raft_io_snapshot_get_cb cb)
{
    struct io_request *request = request_new(inside(io));

    get->cb = cb;
    request->get = get;
    sim_disk_read(disk_of(io), &request->disk);
    return 0;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    int rv = sim_disk_set_term(disk_of(io), term);

    if (rv != 0) {
        snprintf(io->errmsg, RAFT_ERRMSG_BUF_SIZE, "persist metadata: write error");
    }
    return rv;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    int rv = sim_disk_set_vote(disk_of(io), id);

    if (rv != 0) {
        snprintf(io->errmsg, RAFT_ERRMSG_BUF_SIZE, "persist metadata: write error");
    }
    return rv;
}

/* ---- the beginning ---- */

static int io_load(struct raft_io *io,
                   raft_term *ret_term,
                   raft_id *ret_voted_for,
                   struct raft_snapshot **ret_snapshot,
                   raft_index *ret_start_index,
                   struct raft_entry *ret_entries[],
                   size_t *ret_count)
{
    struct sim_image *image = sim_disk_image(disk_of(io));

    *ret_term = image->term;
    *ret_voted_for = image->voted_for;
    *ret_snapshot = NULL;
    int rv = sim_image_load(image, ret_snapshot, ret_start_index, ret_entries, ret_count,
                            io->errmsg);
    if (rv == 0) {
        sim_disk_open(disk_of(io), *ret_start_index + *ret_count);
        inside(io)->loaded_index = *ret_snapshot != NULL ? (*ret_snapshot)->index : 0;
    }
    return rv;
}

static int io_bootstrap(struct raft_io *io,
                        const struct raft_configuration *configuration)
{
    struct sim_image *image = sim_disk_image(disk_of(io));
    struct raft_entry entry = {.term = 1, .type = RAFT_CHANGE};

    if (image->term != 0) {
        snprintf(io->errmsg, RAFT_ERRMSG_BUF_SIZE, "metadata contains term %llu",
                 image->term);
        return RAFT_CANTBOOTSTRAP;
    }
    int rv = raft_configuration_encode(configuration, &entry.buf);
    if (rv != 0) {
        return rv;
    }
    struct sim_batch *batch = sim_batch_new(&entry, 1);
    raft_free(entry.buf.base);
    image->term = 1;
    sim_image_append(image, batch, 1);
    sim_batch_release(batch);
    return 0;
}

static int io_recover(struct raft_io *io, const struct raft_configuration *configuration)
{
    (void)io;
    (void)configuration;
    return RAFT_IOERR;
}

static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct sim_node *node = sim_node_of(sim_process_current());
    raft_index index = raft_commit_index(node->raft);

    int rv = node->io->restore(fsm, buf);
    if (rv == 0 && sim_node_hooks.restored != NULL) {
        struct replica *replica = raft_node_replica(node->server->node);
        struct sim_process *in = sim_process_outside(NULL);
        sim_node_hooks.restored(node, index != 0 ? index : node->io->loaded_index,
                                replica_table(replica));
        sim_process_outside(in);
    }
    return rv;
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    struct sim_raft_io *impl = inside(io);
    struct raft *raft = io->data;

    (void)address;
    assert(id == impl->node->number);
    uv_timer_init(impl->loop, &impl->tick);
    uv_prepare_init(impl->loop, &impl->before_io);
    uv_check_init(impl->loop, &impl->after_io);
    impl->tick.data = impl->before_io.data = impl->after_io.data = impl;
    impl->handles = 3;
    impl->restore = raft->fsm->restore;
    raft->fsm->restore = on_restore;
    impl->node->raft = raft;
    return 0;
}

static void on_tick(uv_timer_t *timer)
{
    struct sim_raft_io *impl = timer->data;

    impl->on_tick(impl->io);
}

static void fire_requests(struct sim_raft_io *impl)
{
    impl->io->capacity = sim_disk_capacity(impl->node->disk);
    LegacyFireCompletedRequests(impl->io->data);
}

static void on_before_io(uv_prepare_t *prepare)
{
    struct sim_raft_io *impl = prepare->data;

    fire_requests(impl);
    if (!impl->closing) {
        sim_peers_tell(&impl->sends, uv_now(impl->loop));
    }
}

static void on_after_io(uv_check_t *check)
{
    struct sim_raft_io *impl = check->data;

    fire_requests(impl);
    sim_peers_turn_over(&impl->sends);
}

static int
io_start(struct raft_io *io, unsigned tick_ms, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct sim_raft_io *impl = inside(io);

    impl->on_tick = tick;
    impl->on_message = recv;
    uv_timer_start(&impl->tick, on_tick, tick_ms, tick_ms);
    uv_prepare_start(&impl->before_io, on_before_io);
    uv_check_start(&impl->after_io, on_after_io);
    io->capacity = sim_disk_capacity(disk_of(io));
    sim_peer_links_start(impl->node->links);
    impl->handles++;
    return 0;
}

/* ---- the end ---- */

static void cancel(struct io_request *request)
{
    struct io_request cancelled = *request;

    sim_free(request);
    cancelled.io->requests--;
    if (cancelled.disk.work == SIM_WORK_APPEND) {
        cancelled.append->cb(cancelled.append, RAFT_CANCELED);
    } else if (cancelled.disk.work != SIM_WORK_TRUNCATE) {
        cancelled.put->cb(cancelled.put, RAFT_CANCELED);
    }
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct sim_raft_io *impl = inside(io);
    struct sim_disk_request *request;

    impl->closing = true;
    impl->on_closed = cb;
    if (impl->on_message != NULL) {
        sim_peer_links_close(impl->node->links, on_part_closed, impl);
    }
    while ((request = sim_disk_cancel(disk_of(io))) != NULL) {
        cancel((struct io_request *)request);
    }
    uv_close((uv_handle_t *)&impl->tick, on_handle_closed);
    uv_close((uv_handle_t *)&impl->before_io, on_handle_closed);
    uv_close((uv_handle_t *)&impl->after_io, on_handle_closed);
}

/* ---- the rest ---- */

static int io_send(struct raft_io *io,
                   struct raft_io_send *send,
                   const struct raft_message *message,
                   raft_io_send_cb cb)
{
    struct sim_raft_io *impl = inside(io);

    send->cb = cb;
    sim_peers_send(impl->node, send, message, uv_now(impl->loop));
    return 0;
}

static raft_time io_time(struct raft_io *io)
{
    return uv_now(inside(io)->loop);
}

static int io_random(struct raft_io *io, int min, int max)
{
    uint32_t number;

    (void)io;
    if (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
        abort();
    }
    return min + (int)(number % (uint32_t)(max - min));
}

void sim_raft_io_init(struct raft_io *io, struct sim_node *node, uv_loop_t *loop)
{
    struct sim_raft_io *impl = heap(sizeof(*impl));
    void *data = io->data;

    impl->io = io;
    impl->node = node;
    impl->loop = loop;
    *io = (struct raft_io){
        .version = 2,
        .data = data,
        .impl = impl,
        .init = io_init,
        .close = io_close,
        .load = io_load,
        .start = io_start,
        .bootstrap = io_bootstrap,
        .recover = io_recover,
        .set_term = io_set_term,
        .set_vote = io_set_vote,
        .send = io_send,
        .append = io_append,
        .truncate = io_truncate,
        .snapshot_put = io_snapshot_put,
        .snapshot_get = io_snapshot_get,
        .time = io_time,
        .random = io_random,
    };
    node->io = impl;
    node->guard = (struct raft_guard *)io; /* its first member */
}

void sim_raft_io_release(struct raft_io *io)
{
    raft_free(io->impl);
    io->impl = NULL;
}
