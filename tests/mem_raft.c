#include "mem_raft.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mem_node *node_of(struct raft_io *io)
{
    return io->impl;
}

struct mem_node *mem_node(struct mem_cluster *cluster, raft_id id)
{
    return &cluster->nodes[id - 1];
}

static void *copy_bytes(const void *bytes, size_t len)
{
    void *copy = raft_malloc(len > 0 ? len : 1);

    memcpy(copy, bytes, len);
    return copy;
}

static struct raft_configuration copy_configuration(const struct raft_configuration *from)
{
    struct raft_configuration copy;

    raft_configuration_init(&copy);
    for (unsigned i = 0; i < from->n; i++) {
        int rv = raft_configuration_add(&copy, from->servers[i].id,
                                        from->servers[i].address, from->servers[i].role);
        assert(rv == 0);
    }
    return copy;
}

/* ---- snapshots ------------------------------------------------------------------------------ */

static struct raft_snapshot *snapshot_copy(const struct raft_snapshot *from)
{
    struct raft_snapshot *copy = raft_malloc(sizeof *copy);
    size_t len = 0;

    *copy = *from;
    copy->configuration = copy_configuration(&from->configuration);
    for (unsigned i = 0; i < from->n_bufs; i++) {
        len += from->bufs[i].len;
    }
    copy->n_bufs = 1;
    copy->bufs = raft_malloc(sizeof *copy->bufs);
    copy->bufs[0] = (struct raft_buffer){.base = raft_malloc(len), .len = len};
    char *cursor = copy->bufs[0].base;
    for (unsigned i = 0; i < from->n_bufs; i++) {
        memcpy(cursor, from->bufs[i].base, from->bufs[i].len);
        cursor += from->bufs[i].len;
    }
    return copy;
}

static void snapshot_free(struct raft_snapshot *snapshot)
{
    if (snapshot != NULL) {
        raft_configuration_close(&snapshot->configuration);
        raft_free(snapshot->bufs[0].base);
        raft_free(snapshot->bufs);
        raft_free(snapshot);
    }
}

/* ---- messages ------------------------------------------------------------------------------- */
/* Until a message has been sent, its bytes are the sender's, as on a socket; then it is copied. */

/* As after decoding: one batch that the entries point into. */
static void copy_entries(struct raft_append_entries *append)
{
    const struct raft_entry *from = append->entries;
    size_t len = 8;

    if (append->n_entries == 0) {
        append->entries = NULL;
        return;
    }
    for (unsigned i = 0; i < append->n_entries; i++) {
        len += from[i].buf.len;
    }
    char *batch = raft_malloc(len);
    struct raft_entry *entries = raft_malloc(append->n_entries * sizeof *entries);
    char *cursor = batch;
    for (unsigned i = 0; i < append->n_entries; i++) {
        entries[i] = from[i];
        entries[i].batch = batch;
        entries[i].buf.base = cursor;
        memcpy(cursor, from[i].buf.base, from[i].buf.len);
        cursor += from[i].buf.len;
    }
    append->entries = entries;
}

static void message_copy(struct raft_message *message)
{
    if (message->type == RAFT_APPEND_ENTRIES) {
        copy_entries(&message->append_entries);
    } else if (message->type == RAFT_INSTALL_SNAPSHOT) {
        struct raft_install_snapshot *install = &message->install_snapshot;
        install->conf = copy_configuration(&install->conf);
        install->data.base = copy_bytes(install->data.base, install->data.len);
    }
}

static void message_free(struct raft_message *message)
{
    if (message->type == RAFT_APPEND_ENTRIES && message->append_entries.n_entries > 0) {
        raft_free(message->append_entries.entries[0].batch);
        raft_free(message->append_entries.entries);
    } else if (message->type == RAFT_INSTALL_SNAPSHOT) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
    }
}

static void deliver(struct mem_node *from, struct raft_message *message)
{
    struct mem_node *to = mem_node(from->cluster, message->server_id);

    if (message->server_id > from->cluster->count || from->cut_off == to->id ||
        to->cut_off == from->id || !to->started || to->on_close != NULL ||
        (from->answers_lost && message->type == RAFT_APPEND_ENTRIES_RESULT)) {
        message_free(message);
        return;
    }
    message->server_id = from->id;
    message->server_address = from->address;
    to->recv(to->io, message);
}

/* ---- operations ----------------------------------------------------------------------------- */

static struct mem_op *op_new(struct mem_node *node, enum mem_op_type type)
{
    struct mem_op *op = calloc(1, sizeof *op);
    struct mem_op **end = &node->cluster->ops;

    assert(op != NULL);
    op->type = type;
    op->node = node;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = op;
    return op;
}

static void complete_get(struct mem_op *op, int status)
{
    struct mem_node *node = op->node;

    if (status == 0) {
        status = node->fail_get;
    }
    op->on_get(op->get, status == 0 ? snapshot_copy(node->snapshot) : NULL, status);
}

static void complete_put(struct mem_op *op, int status)
{
    struct mem_node *node = op->node;

    if (status == 0) {
        status = node->fail_put;
    }
    if (status == 0) {
        snapshot_free(node->snapshot);
        node->snapshot = snapshot_copy(op->snapshot);
    }
    op->on_put(op->put, status);
}

static void complete(struct mem_op *op, int status)
{
    switch (op->type) {
    case MEM_APPEND:
        op->on_append(op->append, status);
        break;
    case MEM_PUT:
        complete_put(op, status);
        break;
    case MEM_GET:
        complete_get(op, status);
        break;
    case MEM_SEND:
        if (status == 0) {
            message_copy(&op->message);
        }
        op->on_send(op->send, status);
        if (status == 0) {
            deliver(op->node, &op->message);
        }
        break;
    }
    free(op);
}

/* Take the first operation that @take accepts out of the queue. */
static struct mem_op *op_take(struct mem_cluster *cluster,
                              bool (*take)(const struct mem_op *op, const void *arg),
                              const void *arg)
{
    for (struct mem_op **op = &cluster->ops; *op != NULL; op = &(*op)->next) {
        if (take(*op, arg)) {
            struct mem_op *taken = *op;
            *op = taken->next;
            return taken;
        }
    }
    return NULL;
}

static bool not_held(const struct mem_op *op, const void *arg)
{
    (void)arg;
    if (op->type == MEM_SEND && op->message.type == RAFT_APPEND_ENTRIES) {
        return op->node->hold_entries_to != op->message.server_id;
    }
    if (op->type == MEM_SEND && op->message.type != RAFT_INSTALL_SNAPSHOT) {
        return true; /* answers and votes are never held up on their way */
    }
    return !op->node->hold[op->type];
}

void mem_run(struct mem_cluster *cluster)
{
    for (struct mem_op *op = op_take(cluster, not_held, NULL); op != NULL;
         op = op_take(cluster, not_held, NULL)) {
        complete(op, 0);
    }
}

struct wanted {
    const struct mem_node *node;
    enum mem_op_type type;
};

static bool is_wanted(const struct mem_op *op, const void *arg)
{
    const struct wanted *wanted = arg;

    return op->node == wanted->node && op->type == wanted->type;
}

bool mem_complete(struct mem_node *node, enum mem_op_type type, int status)
{
    struct wanted wanted = {.node = node, .type = type};
    struct mem_op *op = op_take(node->cluster, is_wanted, &wanted);

    if (op != NULL) {
        complete(op, status);
    }
    return op != NULL;
}

/* ---- struct raft_io ------------------------------------------------------------------------- */

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static struct raft_entry first_entry(const struct mem_cluster *cluster)
{
    struct raft_configuration configuration;
    struct raft_entry first = {.term = 1, .type = RAFT_CHANGE};

    raft_configuration_init(&configuration);
    for (unsigned i = 0; i < cluster->count; i++) {
        const struct mem_node *member = &cluster->nodes[i];
        int rv = raft_configuration_add(&configuration, member->id, member->address,
                                        RAFT_VOTER);
        assert(rv == 0);
    }
    int rv = raft_configuration_encode(&configuration, &first.buf);
    assert(rv == 0);
    raft_configuration_close(&configuration);
    first.batch = first.buf.base;
    return first;
}

/* The numbers share one allocation, as those of a segment do. */
static void fill_batch(struct raft_entry entries[], unsigned count)
{
    uint64_t *batch = count > 0 ? raft_malloc(count * sizeof *batch) : NULL;

    for (unsigned i = 0; i < count; i++) {
        batch[i] = 1;
        entries[i] = (struct raft_entry){
            .term = 1,
            .type = RAFT_COMMAND,
            .buf = {.base = &batch[i], .len = sizeof batch[i]},
            .batch = batch,
        };
    }
}

static int io_load(struct raft_io *io,
                   raft_term *term,
                   raft_id *voted_for,
                   struct raft_snapshot **snapshot,
                   raft_index *start_index,
                   struct raft_entry *entries[],
                   size_t *n_entries)
{
    const struct mem_node *node = node_of(io);
    unsigned loaded = node->cluster->loaded[node->id - 1];

    *entries = raft_calloc(1 + loaded, sizeof **entries);
    (*entries)[0] = first_entry(node->cluster);
    fill_batch(*entries + 1, loaded);
    *term = 1;
    *voted_for = 0;
    *snapshot = NULL;
    *start_index = 1;
    *n_entries = 1 + loaded;
    return 0;
}

static int
io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct mem_node *node = node_of(io);

    (void)msecs;
    node->tick = tick;
    node->recv = recv;
    node->started = true;
    return 0;
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    node_of(io)->on_close = cb;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    (void)io;
    (void)term;
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id server_id)
{
    (void)io;
    (void)server_id;
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    (void)io;
    (void)index;
    return 0;
}

static int io_append(struct raft_io *io,
                     struct raft_io_append *request,
                     const struct raft_entry entries[],
                     unsigned n,
                     raft_io_append_cb cb)
{
    struct mem_node *node = node_of(io);

    (void)entries;
    (void)n;
    if (node->fail_append != 0) {
        return node->fail_append;
    }
    struct mem_op *op = op_new(node, MEM_APPEND);
    op->append = request;
    op->on_append = cb;
    return 0;
}

static int io_snapshot_put(struct raft_io *io,
                           unsigned trailing,
                           struct raft_io_snapshot_put *request,
                           const struct raft_snapshot *snapshot,
                           raft_io_snapshot_put_cb cb)
{
    struct mem_op *op = op_new(node_of(io), MEM_PUT);

    (void)trailing;
    op->put = request;
    op->on_put = cb;
    op->snapshot = snapshot;
    return 0;
}

static int io_snapshot_get(struct raft_io *io,
                           struct raft_io_snapshot_get *request,
                           raft_io_snapshot_get_cb cb)
{
    struct mem_op *op = op_new(node_of(io), MEM_GET);

    op->get = request;
    op->on_get = cb;
    return 0;
}

static void note_change(struct mem_node *node, const struct raft_append_entries *append)
{
    for (unsigned i = 0; i < append->n_entries; i++) {
        if (append->entries[i].type == RAFT_CHANGE && i > node->longest_before_change) {
            node->longest_before_change = i;
        }
    }
}

static int io_send(struct raft_io *io,
                   struct raft_io_send *request,
                   const struct raft_message *message,
                   raft_io_send_cb cb)
{
    struct mem_node *node = node_of(io);
    struct mem_op *op = op_new(node, MEM_SEND);

    if (node->on_close != NULL) {
        node->sends_while_closing++;
    }
    op->send = request;
    op->on_send = cb;
    op->message = *message;
    if (message->type == RAFT_APPEND_ENTRIES) {
        note_change(node, &message->append_entries);
    } else if (message->type == RAFT_INSTALL_SNAPSHOT) {
        node->installs_sent++;
    }
    return 0;
}

static raft_time io_time(struct raft_io *io)
{
    return node_of(io)->cluster->now;
}

static int io_random(struct raft_io *io, int min, int max)
{
    (void)max;
    return min + (int)node_of(io)->id;
}

/* ---- struct raft_fsm ------------------------------------------------------------------------ */

static int
fsm_apply_entry(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct mem_node *node = fsm->data;
    uint64_t number;

    memcpy(&number, buf->base, sizeof number);
    node->sum += number;
    node->applied++;
    *result = NULL;
    return 0;
}

static int
fsm_take_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct mem_node *node = fsm->data;

    *n_bufs = 1;
    *bufs = raft_calloc(1, sizeof **bufs);
    node->snapshots_taken++;
    node->snapshot_buf = *bufs;
    node->snapshot_sum = node->sum;
    if (!node->snapshot_later) {
        mem_snapshot_fill(node);
    }
    return 0;
}

void mem_snapshot_fill(struct mem_node *node)
{
    size_t len = sizeof node->sum + node->snapshot_bytes;

    *node->snapshot_buf = (struct raft_buffer){.base = raft_calloc(1, len), .len = len};
    memcpy(node->snapshot_buf->base, &node->snapshot_sum, sizeof node->snapshot_sum);
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct mem_node *node = fsm->data;

    memcpy(&node->sum, buf->base, sizeof node->sum);
    raft_free(buf->base);
    node->snapshots_restored++;
    return 0;
}

/* ---- clusters ------------------------------------------------------------------------------- */

static void node_init(struct mem_node *node, bool guarded)
{
    node->guarded = guarded;
    node->io = &node->guard.io;
    *node->io = (struct raft_io){
        .version = 1,
        .capacity = UINT16_MAX,
        .impl = node,
        .init = io_init,
        .close = io_close,
        .load = io_load,
        .start = io_start,
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
    node->fsm = (struct raft_fsm){
        .version = 1,
        .data = node,
        .apply = fsm_apply_entry,
        .snapshot = fsm_take_snapshot,
        .restore = fsm_restore,
    };
    struct raft_fsm *fsm = &node->fsm;
    if (guarded) {
        raft_guard_install(&node->guard, &node->raft, fsm, node->cluster->host);
        fsm = &node->guard.fsm;
    }
    int rv = raft_init(&node->raft, node->io, fsm, node->id, node->address);
    assert(rv == 0);
    node->raft.tracer = NULL;
    raft_set_election_timeout(&node->raft, MEM_ELECTION_MS);
    raft_set_heartbeat_timeout(&node->raft, MEM_TICK_MS);
    raft_set_pre_vote(&node->raft, true);
}

void mem_init(struct mem_cluster *cluster,
              unsigned count,
              unsigned guarded,
              const struct raft_guard_host *host)
{
    static const unsigned NOTHING[MEM_NODES_MAX] = {0};

    mem_init_loaded(cluster, count, guarded, host, NOTHING);
}

void mem_init_loaded(struct mem_cluster *cluster,
                     unsigned count,
                     unsigned guarded,
                     const struct raft_guard_host *host,
                     const unsigned loaded[MEM_NODES_MAX])
{
    memset(cluster, 0, sizeof *cluster);
    memcpy(cluster->loaded, loaded, sizeof cluster->loaded);
    cluster->now = 1000;
    cluster->count = count;
    cluster->host = host;
    for (unsigned i = 0; i < count; i++) {
        struct mem_node *node = &cluster->nodes[i];
        node->cluster = cluster;
        node->id = i + 1;
        snprintf(node->address, sizeof node->address, "%u", i + 1);
    }
    for (unsigned i = 0; i < count; i++) {
        struct mem_node *node = &cluster->nodes[i];
        node_init(node, (guarded >> i & 1) != 0);
        int rv = raft_start(&node->raft);
        assert(rv == 0);
    }
    mem_run(cluster);
}

static void on_raft_closed(struct raft *raft)
{
    (void)raft;
}

static bool any(const struct mem_op *op, const void *arg)
{
    (void)op;
    (void)arg;
    return true;
}

void mem_release(struct mem_cluster *cluster)
{
    for (unsigned i = 0; i < cluster->count; i++) {
        if (cluster->nodes[i].on_close == NULL) {
            raft_close(&cluster->nodes[i].raft, on_raft_closed);
        }
    }
    for (struct mem_op *op = op_take(cluster, any, NULL); op != NULL;
         op = op_take(cluster, any, NULL)) {
        complete(op, RAFT_CANCELED);
    }
    for (unsigned i = 0; i < cluster->count; i++) {
        struct mem_node *node = &cluster->nodes[i];
        node->on_close(node->io);
        snapshot_free(node->snapshot);
    }
}

void mem_tick(struct mem_cluster *cluster, unsigned times)
{
    for (unsigned t = 0; t < times; t++) {
        cluster->now += MEM_TICK_MS;
        for (unsigned i = 0; i < cluster->count; i++) {
            struct mem_node *node = &cluster->nodes[i];
            if (node->on_close == NULL) {
                node->tick(node->io);
            }
        }
        mem_run(cluster);
    }
}

void mem_elect(struct mem_cluster *cluster, raft_id id)
{
    struct mem_node *node = mem_node(cluster, id);

    for (int i = 0; i < 100 && raft_state(&node->raft) != RAFT_LEADER; i++) {
        cluster->now += MEM_TICK_MS;
        node->tick(node->io);
        mem_run(cluster);
    }
    assert(raft_state(&node->raft) == RAFT_LEADER);
    mem_tick(cluster, 2);
}

int mem_apply(struct mem_node *node, uint64_t number)
{
    struct raft_buffer buffer = {.base = copy_bytes(&number, sizeof number),
                                 .len = sizeof number};

    assert(node->requests_count < MEM_APPLIES_MAX);
    struct raft_apply *request = &node->requests[node->requests_count++];
    int rv = raft_guard_apply(&node->raft, request, &buffer, NULL);
    if (rv == RAFT_NOTLEADER || rv == RAFT_NOSPACE) {
        raft_free(buffer.base);
    }
    return rv;
}
