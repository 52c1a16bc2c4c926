#include "mem_io.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { PLENTY_OF_KIBIBYTES = 16384 };

enum mem_request_type { MEM_APPEND, MEM_TRUNCATE, MEM_SNAPSHOT_PUT, MEM_SNAPSHOT_GET };

struct mem_request {
    struct mem_request *next;
    enum mem_request_type type;
    union {
        struct {
            struct raft_io_append *req;
            const struct raft_entry *entries; /* libraft's, until its callback */
            unsigned count;
        } append;
        struct {
            raft_index index;
        } truncate;
        struct {
            struct raft_io_snapshot_put *req;
            const struct raft_snapshot *snapshot; /* libraft's, until its callback */
            unsigned trailing;
        } put;
        struct {
            struct raft_io_snapshot_get *req;
            raft_io_snapshot_get_cb cb;
        } get;
    };
};

struct mem_message {
    struct mem_message *next;
    struct raft_io_send *req;
    raft_id from;
    raft_id to;
    struct raft_message message; /* what it points to is libraft's, until the callback */
};

/* ---- copies --------------------------------------------------------------------------- */

static void *alloc(size_t size)
{
    void *memory = raft_malloc(size > 0 ? size : 1);
    assert(memory != NULL);
    return memory;
}

static struct raft_buffer copy_buffer(const struct raft_buffer *from)
{
    struct raft_buffer to = {.base = alloc(from->len), .len = from->len};

    memcpy(to.base, from->base, from->len);
    return to;
}

/* As libraft wants received and loaded entries: all data in one allocation, their `batch`. */
static struct raft_entry *copy_entries(const struct raft_entry *from, size_t count)
{
    struct raft_entry *to;
    uint8_t *batch;
    size_t bytes = 0;

    if (count == 0) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        bytes += from[i].buf.len;
    }
    to = alloc(count * sizeof(to[0]));
    batch = alloc(bytes);
    bytes = 0;
    for (size_t i = 0; i < count; i++) {
        to[i] = from[i];
        to[i].buf.base = batch + bytes;
        to[i].batch = batch;
        memcpy(to[i].buf.base, from[i].buf.base, from[i].buf.len);
        bytes += from[i].buf.len;
    }
    return to;
}

static struct raft_configuration copy_configuration(const struct raft_configuration *from)
{
    struct raft_configuration to;

    raft_configuration_init(&to);
    for (unsigned i = 0; i < from->n; i++) {
        int rv = raft_configuration_add(&to, from->servers[i].id,
                                        from->servers[i].address, from->servers[i].role);
        assert(rv == 0);
    }
    return to;
}

static struct raft_snapshot *copy_snapshot(const struct raft_snapshot *from)
{
    struct raft_snapshot *to = alloc(sizeof(*to));
    uint8_t *data;

    *to = *from;
    to->configuration = copy_configuration(&from->configuration);
    to->bufs = alloc(sizeof(to->bufs[0]));
    to->n_bufs = 1;
    to->bufs[0].len = 0;
    for (unsigned i = 0; i < from->n_bufs; i++) {
        to->bufs[0].len += from->bufs[i].len;
    }
    to->bufs[0].base = alloc(to->bufs[0].len);
    data = to->bufs[0].base;
    for (unsigned i = 0; i < from->n_bufs; i++) {
        memcpy(data, from->bufs[i].base, from->bufs[i].len);
        data += from->bufs[i].len;
    }
    return to;
}

static void free_snapshot(struct raft_snapshot *snapshot)
{
    if (snapshot != NULL) {
        raft_configuration_close(&snapshot->configuration);
        raft_free(snapshot->bufs[0].base);
        raft_free(snapshot->bufs);
        raft_free(snapshot);
    }
}

/* ---- the disk ------------------------------------------------------------------------- */

static void
disk_append(struct mem_disk *disk, const struct raft_entry *entries, size_t count)
{
    size_t total = disk->entries_count + count;

    if (disk->first_index == 0) {
        disk->first_index = 1;
    }
    disk->entries = reallocarray(disk->entries, total, sizeof(disk->entries[0]));
    assert(disk->entries != NULL);
    for (size_t i = 0; i < count; i++) {
        struct raft_entry *kept = &disk->entries[disk->entries_count++];
        *kept = entries[i];
        kept->buf = copy_buffer(&entries[i].buf);
        kept->batch = NULL;
    }
}

/* Drop the first entries until @index is the first, which may be behind all of them. */
static void disk_drop_before(struct mem_disk *disk, raft_index index)
{
    size_t dropped = 0;

    while (dropped < disk->entries_count && disk->first_index + dropped < index) {
        raft_free(disk->entries[dropped++].buf.base);
    }
    disk->entries_count -= dropped;
    if (disk->entries_count > 0) {
        memmove(disk->entries, disk->entries + dropped,
                disk->entries_count * sizeof(disk->entries[0]));
        disk->first_index += dropped;
    } else if (disk->first_index < index) {
        disk->first_index = index;
    }
}

static void disk_truncate(struct mem_disk *disk, raft_index index)
{
    while (disk->entries_count > 0 &&
           disk->first_index + disk->entries_count - 1 >= index) {
        raft_free(disk->entries[--disk->entries_count].buf.base);
    }
}

/* No trailing entries: the snapshot was received, and replaces the log. */
static void disk_put_snapshot(struct mem_disk *disk,
                              const struct raft_snapshot *snapshot,
                              unsigned trailing)
{
    free_snapshot(disk->snapshot);
    disk->snapshot = copy_snapshot(snapshot);
    if (trailing == 0) {
        disk_truncate(disk, 0);
        disk->first_index = snapshot->index + 1;
    } else if (snapshot->index > trailing) {
        disk_drop_before(disk, snapshot->index - trailing + 1);
    }
}

void mem_disk_release(struct mem_disk *disk)
{
    disk_truncate(disk, 0);
    free(disk->entries);
    free_snapshot(disk->snapshot);
    *disk = (struct mem_disk){0};
}

struct raft_entry *mem_disk_entry(struct mem_disk *disk, raft_index index)
{
    assert(index >= disk->first_index && index < disk->first_index + disk->entries_count);
    return &disk->entries[index - disk->first_index];
}

/* ---- requests of the disk ------------------------------------------------------------- */

static struct mem_request *request_new(struct mem_io *io, enum mem_request_type type)
{
    struct mem_request **end = &io->requests;
    struct mem_request *request = calloc(1, sizeof(*request));

    assert(request != NULL);
    request->type = type;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = request;
    return request;
}

static struct mem_request *request_take(struct mem_io *io)
{
    struct mem_request *request = io->requests;

    if (request != NULL) {
        io->requests = request->next;
    }
    return request;
}

static void request_cancel(struct mem_request *request)
{
    switch (request->type) {
    case MEM_APPEND:
        request->append.req->cb(request->append.req, RAFT_CANCELED);
        break;
    case MEM_TRUNCATE:
        break;
    case MEM_SNAPSHOT_PUT:
        request->put.req->cb(request->put.req, RAFT_CANCELED);
        break;
    case MEM_SNAPSHOT_GET:
        request->get.cb(request->get.req, NULL, RAFT_CANCELED);
        break;
    }
}

static void request_complete(struct mem_io *io, struct mem_request *request)
{
    switch (request->type) {
    case MEM_APPEND:
        disk_append(io->disk, request->append.entries, request->append.count);
        request->append.req->cb(request->append.req, 0);
        break;
    case MEM_TRUNCATE:
        disk_truncate(io->disk, request->truncate.index);
        break;
    case MEM_SNAPSHOT_PUT:
        disk_put_snapshot(io->disk, request->put.snapshot, request->put.trailing);
        request->put.req->cb(request->put.req, 0);
        break;
    case MEM_SNAPSHOT_GET:
        assert(io->disk->snapshot != NULL);
        request->get.cb(request->get.req, copy_snapshot(io->disk->snapshot), 0);
        break;
    }
}

bool mem_io_complete(struct mem_io *io)
{
    struct mem_request *request = request_take(io);

    if (request == NULL) {
        return false;
    }
    request_complete(io, request);
    free(request);
    return true;
}

/* ---- the network ---------------------------------------------------------------------- */

static void copy_payload(struct raft_message *message)
{
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        message->append_entries.entries = copy_entries(message->append_entries.entries,
                                                       message->append_entries.n_entries);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        message->install_snapshot.conf =
            copy_configuration(&message->install_snapshot.conf);
        message->install_snapshot.data = copy_buffer(&message->install_snapshot.data);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
    case RAFT_REQUEST_VOTE:
    case RAFT_REQUEST_VOTE_RESULT:
    case RAFT_TIMEOUT_NOW:
        break;
    }
}

bool mem_net_deliver(struct mem_net *net)
{
    struct mem_message *sent = net->messages;

    if (sent == NULL) {
        return false;
    }
    net->messages = sent->next;

    struct mem_io *to = net->nodes[sent->to];
    if (to != NULL && to->recv != NULL && !net->cut[sent->from][sent->to]) {
        struct raft_message message = sent->message;
        char address[] = {(char)('0' + sent->from), '\0'};
        message.server_id = sent->from;
        message.server_address = address;
        copy_payload(&message);
        if (net->on_message != NULL) {
            net->on_message(net->arg, sent->to, &message);
        }
        to->recv(&to->raft_io, &message);
    }
    sent->req->cb(sent->req, 0);
    free(sent);
    return true;
}

void mem_net_isolate(struct mem_net *net, raft_id id, bool cut)
{
    for (size_t other = 1; other <= MEM_NODES_MAX; other++) {
        net->cut[id][other] = cut;
        net->cut[other][id] = cut;
    }
}

static void net_cancel_from(struct mem_net *net, raft_id id)
{
    struct mem_message **link = &net->messages;

    while (*link != NULL) {
        struct mem_message *sent = *link;
        if (sent->from != id) {
            link = &sent->next;
            continue;
        }
        *link = sent->next;
        sent->req->cb(sent->req, RAFT_CANCELED);
        free(sent);
    }
}

/* ---- struct raft_io ------------------------------------------------------------------- */

static int io_init(struct raft_io *raft_io, raft_id id, const char *address)
{
    struct mem_io *io = raft_io->impl;

    (void)address;
    assert(id == io->id);
    return 0;
}

static void io_close(struct raft_io *raft_io, raft_io_close_cb cb)
{
    struct mem_io *io = raft_io->impl;
    struct mem_request *request;

    io->net->nodes[io->id] = NULL;
    net_cancel_from(io->net, io->id);
    while ((request = request_take(io)) != NULL) {
        request_cancel(request);
        free(request);
    }
    cb(raft_io);
}

static int io_load(struct raft_io *raft_io,
                   raft_term *ret_term,
                   raft_id *ret_voted_for,
                   struct raft_snapshot **ret_snapshot,
                   raft_index *ret_start_index,
                   struct raft_entry *ret_entries[],
                   size_t *ret_entries_count)
{
    const struct mem_disk *disk = ((struct mem_io *)raft_io->impl)->disk;

    *ret_term = disk->term;
    *ret_voted_for = disk->voted_for;
    *ret_snapshot = disk->snapshot != NULL ? copy_snapshot(disk->snapshot) : NULL;
    *ret_start_index = disk->first_index > 0 ? disk->first_index : 1;
    *ret_entries = copy_entries(disk->entries, disk->entries_count);
    *ret_entries_count = disk->entries_count;
    return 0;
}

static int io_start(struct raft_io *raft_io,
                    unsigned tick_ms,
                    raft_io_tick_cb tick,
                    raft_io_recv_cb recv)
{
    struct mem_io *io = raft_io->impl;

    (void)tick_ms;
    io->tick = tick;
    io->recv = recv;
    return 0;
}

static int io_bootstrap(struct raft_io *raft_io, const struct raft_configuration *conf)
{
    struct mem_disk *disk = ((struct mem_io *)raft_io->impl)->disk;
    struct raft_entry entry = {.term = 1, .type = RAFT_CHANGE};

    if (disk->term != 0) {
        return RAFT_CANTBOOTSTRAP;
    }
    int rv = raft_configuration_encode(conf, &entry.buf);
    if (rv != 0) {
        return rv;
    }
    disk_append(disk, &entry, 1);
    raft_free(entry.buf.base);
    disk->term = 1;
    return 0;
}

static int io_recover(struct raft_io *raft_io, const struct raft_configuration *conf)
{
    (void)raft_io;
    (void)conf;
    return RAFT_IOERR;
}

static int io_set_term(struct raft_io *raft_io, raft_term term)
{
    struct mem_disk *disk = ((struct mem_io *)raft_io->impl)->disk;

    disk->term = term;
    disk->voted_for = 0;
    return 0;
}

static int io_set_vote(struct raft_io *raft_io, raft_id id)
{
    ((struct mem_io *)raft_io->impl)->disk->voted_for = id;
    return 0;
}

static int io_send(struct raft_io *raft_io,
                   struct raft_io_send *req,
                   const struct raft_message *message,
                   raft_io_send_cb cb)
{
    struct mem_io *io = raft_io->impl;
    struct mem_message **end = &io->net->messages;
    struct mem_message *sent = calloc(1, sizeof(*sent));

    assert(sent != NULL);
    req->cb = cb;
    sent->req = req;
    sent->from = io->id;
    sent->to = message->server_id;
    sent->message = *message;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = sent;
    return 0;
}

static int io_append(struct raft_io *raft_io,
                     struct raft_io_append *req,
                     const struct raft_entry entries[],
                     unsigned count,
                     raft_io_append_cb cb)
{
    struct mem_request *request = request_new(raft_io->impl, MEM_APPEND);

    req->cb = cb;
    request->append.req = req;
    request->append.entries = entries;
    request->append.count = count;
    return 0;
}

static int io_truncate(struct raft_io *raft_io, raft_index index)
{
    request_new(raft_io->impl, MEM_TRUNCATE)->truncate.index = index;
    return 0;
}

static int io_snapshot_put(struct raft_io *raft_io,
                           unsigned trailing,
                           struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot,
                           raft_io_snapshot_put_cb cb)
{
    struct mem_request *request = request_new(raft_io->impl, MEM_SNAPSHOT_PUT);

    req->cb = cb;
    request->put.req = req;
    request->put.snapshot = snapshot;
    request->put.trailing = trailing;
    return 0;
}

static int io_snapshot_get(struct raft_io *raft_io,
                           struct raft_io_snapshot_get *req,
                           raft_io_snapshot_get_cb cb)
{
    struct mem_request *request = request_new(raft_io->impl, MEM_SNAPSHOT_GET);

    request->get.req = req;
    request->get.cb = cb;
    return 0;
}

static raft_time io_time(struct raft_io *raft_io)
{
    return ((struct mem_io *)raft_io->impl)->now_ms;
}

/* The seed of libraft's own generator of election timeouts. */
static int io_random(struct raft_io *raft_io, int min, int max)
{
    struct mem_io *io = raft_io->impl;
    unsigned state = (unsigned)(io->id * 7919 + io->disk->term);

    return (int)raft_random(&state, (unsigned)min, (unsigned)max);
}

void mem_io_init(struct mem_io *io,
                 struct mem_net *net,
                 struct mem_disk *disk,
                 raft_id id)
{
    assert(id >= 1 && id <= MEM_NODES_MAX && net->nodes[id] == NULL);

    *io = (struct mem_io){
        .net = net,
        .disk = disk,
        .id = id,
        .raft_io =
            {
                .version = 1,
                .impl = io,
                .capacity = PLENTY_OF_KIBIBYTES,
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
            },
    };
    net->nodes[id] = io;
}

void mem_io_tick(struct mem_io *io, raft_time now_ms)
{
    assert(now_ms >= io->now_ms);
    io->now_ms = now_ms;
    io->tick(&io->raft_io);
}
