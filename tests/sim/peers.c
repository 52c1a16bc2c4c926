#include "peers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "node.h"
#include "peer_links.h"
#include "process.h"
#include "raft_guard_peer.h"
#include "raft_io.h"

enum {
    PREAMBLE_BYTES = 16, /* type and length of a message */
    FIXED_BYTES = 48,    /* term, indexes and the like: about */
    ENTRY_BYTES = 16,    /* each entry's line in the header */
};

/* One copy that has arrived and is to be told to the process. */
struct delivery {
    struct sim_post post;
    struct peer_packet *packet;
    struct sim_node *to;
};

/* A message on its way, in one piece with what it points to. */
struct peer_packet {
    struct sim_packet packet;
    struct sim_node *from, *to;
    uint64_t from_life, to_life, number; /* of the messages from this life to that node */
    unsigned refs;                       /* the net's, and one of each delivery */
    struct delivery delivery;
    bool delivery_used;               /* by the first copy; another one's is allocated */
    struct raft_buffer configuration; /* encoded */
    size_t data_bytes;                /* of the entries */
    struct raft_message message;
};

/* ---- packing ---- */

static void packet_release(struct peer_packet *packet)
{
    if (--packet->refs == 0) {
        sim_free(packet);
    }
}

static size_t entries_bytes(const struct raft_append_entries *append)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < append->n_entries; i++) {
        bytes += append->entries[i].buf.len;
    }
    return bytes;
}

static struct peer_packet *pack_plain(const struct raft_message *message, size_t extra)
{
    struct peer_packet *packet = sim_alloc(sizeof(*packet) + extra);

    packet->refs = 1;
    packet->message = *message;
    return packet;
}

static struct peer_packet *pack_entries(const struct raft_message *message)
{
    const struct raft_append_entries *append = &message->append_entries;
    size_t head = append->n_entries * sizeof(append->entries[0]);
    size_t bytes = entries_bytes(append);
    struct peer_packet *packet = pack_plain(message, head + bytes);
    struct raft_entry *entries = (struct raft_entry *)(packet + 1);
    uint8_t *data = (uint8_t *)entries + head;

    for (unsigned i = 0; i < append->n_entries; i++) {
        const struct raft_buffer *buf = &append->entries[i].buf;
        entries[i] = append->entries[i];
        entries[i].buf.base = data;
        if (buf->len > 0) {
            memcpy(data, buf->base, buf->len);
        }
        data += buf->len;
    }
    packet->message.append_entries.entries = entries;
    packet->data_bytes = bytes;
    return packet;
}

static struct peer_packet *pack_snapshot(const struct raft_message *message)
{
    const struct raft_install_snapshot *install = &message->install_snapshot;
    struct raft_buffer configuration;

    if (raft_configuration_encode(&install->conf, &configuration) != 0) {
        abort();
    }
    struct peer_packet *packet =
        pack_plain(message, configuration.len + install->data.len);
    uint8_t *at = (uint8_t *)(packet + 1);
    packet->configuration = (struct raft_buffer){at, configuration.len};
    memcpy(at, configuration.base, configuration.len);
    at += configuration.len;
    packet->message.install_snapshot.data.base = at;
    memcpy(at, install->data.base, install->data.len);
    raft_free(configuration.base);
    return packet;
}

static struct peer_packet *pack(const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        return pack_entries(message);
    case RAFT_INSTALL_SNAPSHOT:
        return pack_snapshot(message);
    default:
        return pack_plain(message, 0);
    }
}

static size_t wire_bytes(const struct peer_packet *packet)
{
    const struct raft_message *message = &packet->message;
    size_t bytes = PREAMBLE_BYTES + FIXED_BYTES;

    if (message->type == RAFT_APPEND_ENTRIES) {
        bytes += message->append_entries.n_entries * ENTRY_BYTES + packet->data_bytes;
    } else if (message->type == RAFT_INSTALL_SNAPSHOT) {
        bytes += packet->configuration.len + message->install_snapshot.data.len;
    }
    return bytes;
}

/* ---- unpacking: inside the receiver ---- */

static void *heap(size_t size)
{
    void *memory = raft_malloc(size);

    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* As raft_uv reads them: the entries in one allocation, their data in another. */
static void unpack_entries(const struct peer_packet *packet,
                           struct raft_append_entries *ret)
{
    if (ret->n_entries == 0) {
        ret->entries = NULL;
        return;
    }
    struct raft_entry *entries = heap(ret->n_entries * sizeof(*entries));
    uint8_t *batch = heap(packet->data_bytes);
    const uint8_t *data = ret->entries[0].buf.base;
    memcpy(batch, data, packet->data_bytes);
    for (unsigned i = 0; i < ret->n_entries; i++) {
        entries[i] = ret->entries[i];
        entries[i].batch = batch;
        entries[i].buf.base = batch + ((const uint8_t *)entries[i].buf.base - data);
    }
    ret->entries = entries;
}

static void unpack_snapshot(const struct peer_packet *packet,
                            struct raft_install_snapshot *ret)
{
    void *data = heap(ret->data.len);

    if (raft_configuration_decode(&packet->configuration, &ret->conf) != 0) {
        abort();
    }
    memcpy(data, ret->data.base, ret->data.len);
    ret->data.base = data;
}

static const char *peer_address(const struct sim_node *node)
{
    return config_member_find(&node->config, node->number)->peer_address;
}

void sim_peers_refused(struct sim_node *node, uint64_t peer, const char *what)
{
    if (sim_node_hooks.refused != NULL) {
        struct sim_process *inside = sim_process_outside(NULL);
        sim_node_hooks.refused(node, peer, what);
        sim_process_outside(inside);
    }
}

/* The tap's part: what a peer says is looked at before libraft, and its guard, have it. */
static void tell_libraft(struct sim_raft_io *io, struct raft_message *message)
{
    const char *refused = sim_peer_bytes_refused(message->server_id, message);

    /* Who was removed is not heard: its connection is closed, or was refused. */
    if (sim_peer_links_knows_stranger(io->node->links, message->server_id)) {
        raft_guard_release(message);
        return;
    }
    if (refused != NULL) {
        sim_peers_refused(io->node, message->server_id, refused);
        raft_guard_release(message);
        return;
    }
    io->on_message(io->io, message);
}

/* Nothing of the packet is used any more when the message is told: that may be the process's end. */
static void tell_message(struct sim_post *post)
{
    struct delivery *delivery = (struct delivery *)post;
    struct peer_packet *packet = delivery->packet;
    struct sim_raft_io *io = delivery->to->io;
    struct raft_message message = packet->message;
    bool wanted = io != NULL && !io->closing && io->on_message != NULL;

    message.server_id = packet->from->number;
    message.server_address = peer_address(packet->from);
    if (wanted && message.type == RAFT_APPEND_ENTRIES) {
        unpack_entries(packet, &message.append_entries);
    } else if (wanted && message.type == RAFT_INSTALL_SNAPSHOT) {
        unpack_snapshot(packet, &message.install_snapshot);
    }
    if (delivery != &packet->delivery) {
        sim_free(delivery);
    }
    packet_release(packet);
    if (wanted) {
        tell_libraft(io, &message);
    }
}

static void drop_message(struct sim_post *post)
{
    struct delivery *delivery = (struct delivery *)post;
    struct peer_packet *packet = delivery->packet;

    if (delivery != &packet->delivery) {
        sim_free(delivery);
    }
    packet_release(packet);
}

/* ---- on the way ---- */

/* A connection is between two lives; what is missing in it is what broke an earlier one. */
static bool is_in_order(const struct peer_packet *packet)
{
    struct sim_peer_order *order = &packet->to->peers[packet->from->number - 1];

    if (packet->to_life != packet->to->starts || packet->from_life < order->heard_life ||
        (packet->from_life == order->heard_life && packet->number <= order->heard)) {
        return false;
    }
    order->heard_life = packet->from_life;
    order->heard = packet->number;
    return true;
}

static void on_lost(struct sim_packet *lost)
{
    if (lost->copies == 0) {
        packet_release((struct peer_packet *)lost);
    }
}

static void on_arrived(struct sim_packet *arrived)
{
    struct peer_packet *packet = (struct peer_packet *)arrived;
    struct delivery *delivery = &packet->delivery;

    if (sim_nodes_options()->peers_in_order && !is_in_order(packet)) {
        on_lost(arrived);
        return;
    }
    if (packet->delivery_used) {
        delivery = sim_alloc(sizeof(*delivery));
    }
    packet->delivery_used = true;
    delivery->post.run = tell_message;
    delivery->post.drop = drop_message;
    delivery->packet = packet;
    delivery->to = packet->to;
    packet->refs += arrived->copies > 0;
    sim_process_post(&packet->to->process, &delivery->post);
}

static bool reaches(const struct sim_node *from, const struct sim_node *to)
{
    return sim_node_runs(to) && !sim_net_is_cut(from->process.host, to->process.host);
}

/* How long the link takes to take it: what a socket's buffer would make a big message wait. */
static uint64_t
leaving_ms(const struct sim_node *from, const struct sim_node *to, size_t bytes)
{
    struct sim_weather weather = sim_net_weather(from->process.host, to->process.host);

    return weather.bytes_per_ms > 0 ? bytes / weather.bytes_per_ms : 0;
}

/* ---- sending ---- */

static void list_add(struct sim_peer_list *list, const struct sim_peer_send *send)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity > 0 ? list->capacity * 2 : 16;
        list->items = raft_realloc(list->items, list->capacity * sizeof(list->items[0]));
        if (list->items == NULL) {
            abort();
        }
    }
    list->items[list->count++] = *send;
}

static void wait_until(struct sim_peer_sends *sends, const struct sim_peer_send *send)
{
    if (sends->waiting.count == 0 || send->due_ms < sends->due_ms) {
        sends->due_ms = send->due_ms;
    }
    list_add(&sends->waiting, send);
}

static void tell_hook(struct sim_node *node, const struct raft_message *message)
{
    if (sim_node_hooks.sent != NULL) {
        struct sim_process *inside = sim_process_outside(NULL);
        sim_node_hooks.sent(node, message);
        sim_process_outside(inside);
    }
}

void sim_peers_send(struct sim_node *node,
                    struct raft_io_send *request,
                    const struct raft_message *message,
                    uint64_t now_ms)
{
    struct sim_peer_sends *sends = &node->io->sends;
    struct sim_node *to = sim_node((unsigned)message->server_id);
    struct sim_peer_send send = {.request = request, .due_ms = now_ms};

    if (!reaches(node, to)) {
        send.status = RAFT_NOCONNECTION;
        send.due_ms += node->connect_timeout_ms;
        wait_until(sends, &send);
        return;
    }
    struct peer_packet *packet = pack(message);
    size_t bytes = wire_bytes(packet);
    packet->packet.arrived = on_arrived;
    packet->packet.lost = on_lost;
    packet->from = node;
    packet->to = to;
    packet->from_life = node->starts;
    packet->to_life = to->starts;
    packet->number = ++node->peers[to->number - 1].sent;
    send.due_ms += leaving_ms(node, to, bytes);
    if (send.due_ms == now_ms) {
        list_add(&sends->left, &send);
    } else {
        wait_until(sends, &send);
    }
    tell_hook(node, message);
    sim_net_send(node->process.host, to->process.host, bytes, &packet->packet);
}

/* ---- telling the sender ---- */

static void tell_all(struct sim_peer_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].request->cb(list->items[i].request, list->items[i].status);
    }
    list->count = 0;
}

static void tell_waiting(struct sim_peer_sends *sends, uint64_t now_ms)
{
    struct sim_peer_list *list = &sends->waiting;
    struct sim_peer_list due = {0};
    size_t left = 0;

    sends->due_ms = UINT64_MAX;
    for (size_t i = 0; i < list->count; i++) {
        struct sim_peer_send send = list->items[i];
        if (send.due_ms <= now_ms) {
            list_add(&due, &send);
            continue;
        }
        if (send.due_ms < sends->due_ms) {
            sends->due_ms = send.due_ms;
        }
        list->items[left++] = send;
    }
    list->count = left;
    tell_all(&due);
    raft_free(due.items);
}

void sim_peers_tell(struct sim_peer_sends *sends, uint64_t now_ms)
{
    tell_all(&sends->told);
    if (sends->waiting.count > 0 && now_ms >= sends->due_ms) {
        tell_waiting(sends, now_ms);
    }
}

/* What was to be told has been, unless a callback sent something, which it may not. */
void sim_peers_turn_over(struct sim_peer_sends *sends)
{
    if (sends->told.count == 0) {
        struct sim_peer_list told = sends->told;
        sends->told = sends->left;
        sends->left = told;
    }
}

static void cancel_list(struct sim_peer_list *list)
{
    struct sim_peer_list cancelled = *list;

    *list = (struct sim_peer_list){0};
    for (size_t i = 0; i < cancelled.count; i++) {
        cancelled.items[i].request->cb(cancelled.items[i].request, RAFT_CANCELED);
    }
    raft_free(cancelled.items);
}

void sim_peers_cancel(struct sim_peer_sends *sends)
{
    cancel_list(&sends->told);
    cancel_list(&sends->left);
    cancel_list(&sends->waiting);
}
