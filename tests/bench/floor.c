/* The floor under netlock: what a replicated, durable service of its shape has to pay on this machine. Three processes,
 * TCP, a disk, group commit; no parsing, no state machine, no raft, no failure that it survives.
 *
 *   bench_floor NODE PORT DIRECTORY
 *
 * Node 0 takes the requests of clients, at PORT, when nodes 1 and 2 have connected to PORT + 1. What has come while a
 * batch is under way is the next batch. That is written to its log (floor_log.h), sent to the two, which write it
 * likewise, and answered when two of the three have it on disk, whichever they are, as in raft.
 *
 * Frames, messages and records have the lengths of netlockd's, seen with strace. As there, a turn of the loop reads
 * what has come, then starts the next batch, then writes the answers of the last. */
#include "floor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "floor_log.h"

enum {
    FOLLOWERS = 2,
    MAJORITY = 2,
    CONNECT_TRIES = 1000,
    CONNECT_PAUSE_MS = 10,
    /* A message is a header, which begins with its length, and a record: a head and the commands. */
    HEADER_BYTES = 48,
    RECORD_HEAD_BYTES = 88,
    COMMAND_BYTES = 56,
    MESSAGE_BYTES_MAX = 1 << 20,
    ACK_BYTES = 48, /* begins with the position up to which the log is durable */
};

/* Never freed: one that has gone may still be in a list, and in a benchmark they are few. */
struct client {
    uv_tcp_t tcp;
    STAILQ_ENTRY(client) link; /* of the list that its request is in */
    size_t got;                /* bytes of the request */
    uint8_t kind;
};
STAILQ_HEAD(requests, client);

struct peer {
    uv_tcp_t tcp;
    uint8_t in[4 * MESSAGE_BYTES_MAX];
    size_t in_len;
    uint64_t durable;
};

static uv_loop_t *loop;
static int first_port;
static uv_tcp_t client_port, follower_port;
static uv_check_t after_io;
static struct peer followers[FOLLOWERS], leader;

/* ---- between nodes ---- */

static void on_peer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct peer *peer = handle->data;

    (void)suggested;
    ret->base = (char *)peer->in + peer->in_len;
    ret->len = sizeof(peer->in) - peer->in_len;
}

static void peer_read(struct peer *peer, uv_read_cb on_read)
{
    peer->tcp.data = peer;
    uv_tcp_nodelay(&peer->tcp, 1);
    uv_read_start((uv_stream_t *)&peer->tcp, on_peer_alloc, on_read);
}

static void peer_drop(struct peer *peer, size_t len)
{
    peer->in_len -= len;
    memmove(peer->in, peer->in + len, peer->in_len);
}

static void on_sent(uv_write_t *write, int status)
{
    floor_check("send", status);
    free(write);
}

/* At once if the socket takes it: uv_write() would ask epoll, too. */
static void peer_send(struct peer *peer, void *data, size_t len)
{
    uv_stream_t *stream = (uv_stream_t *)&peer->tcp;
    uv_buf_t all = uv_buf_init(data, (unsigned)len);
    int n = uv_try_write(stream, &all, 1);
    size_t sent = n > 0 ? (size_t)n : 0;

    if (sent < len) {
        uv_write_t *write = malloc(sizeof(*write) + len);
        floor_check("send", write == NULL ? -ENOMEM : 0);
        all.base = (char *)memcpy(write + 1, data, len) + sent;
        all.len = len - sent;
        floor_check("send", uv_write(write, stream, &all, 1, on_sent));
    }
}

/* ---- node 0: batches ---- */

static struct requests collected = STAILQ_HEAD_INITIALIZER(collected);
static struct requests in_flight = STAILQ_HEAD_INITIALIZER(in_flight);
static struct requests committed = STAILQ_HEAD_INITIALIZER(committed);
static struct requests waiters = STAILQ_HEAD_INITIALIZER(waiters);
static struct client *holder; /* of the one lock that all want */
static size_t collected_count;
static uint64_t batch_end; /* position in the log */

static struct client *pop(struct requests *list)
{
    struct client *client = STAILQ_FIRST(list);

    if (client != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
    }
    return client;
}

static void answer(struct client *client)
{
    static char frame[FLOOR_FRAME_BYTES_MAX];
    uv_buf_t all = uv_buf_init(frame, (unsigned)floor_answer_bytes(client->kind));
    int n = uv_try_write((uv_stream_t *)&client->tcp, &all, 1);

    /* Of those that have gone, the next read tells. */
    floor_check("a client does not read", n >= 0 && (size_t)n != all.len ? -EAGAIN : 0);
}

static void hand_over(void)
{
    do {
        holder = pop(&waiters);
    } while (holder != NULL && uv_is_closing((uv_handle_t *)&holder->tcp));
    if (holder != NULL) {
        answer(holder);
    }
}

static void apply(struct client *client)
{
    if (uv_is_closing((uv_handle_t *)&client->tcp)) {
        return;
    }
    if (client->kind == (FLOOR_QUEUE | FLOOR_LOCK)) {
        STAILQ_INSERT_TAIL(&waiters, client, link);
    } else {
        answer(client);
    }
    if (client->kind == FLOOR_QUEUE || holder == NULL) {
        hand_over();
    }
}

static void commit(void)
{
    int durable = (floor_log_durable() >= batch_end) +
                  (followers[0].durable >= batch_end) +
                  (followers[1].durable >= batch_end);

    if (durable >= MAJORITY) {
        STAILQ_CONCAT(&committed, &in_flight);
    }
}

static void start_batch(void)
{
    static uint8_t message[MESSAGE_BYTES_MAX];
    size_t len = HEADER_BYTES + RECORD_HEAD_BYTES + collected_count * COMMAND_BYTES;

    floor_check("too many clients", len > sizeof(message) ? -EMSGSIZE : 0);
    memcpy(message, &len, sizeof(len));
    STAILQ_CONCAT(&in_flight, &collected);
    collected_count = 0;
    batch_end = floor_log_append(message + HEADER_BYTES, len - HEADER_BYTES);
    for (int i = 0; i < FOLLOWERS; i++) {
        peer_send(&followers[i], message, len);
    }
}

static void on_after_io(uv_check_t *check)
{
    struct client *client;

    (void)check;
    if (STAILQ_EMPTY(&in_flight) && collected_count > 0) {
        start_batch();
    }
    while ((client = pop(&committed)) != NULL) {
        apply(client);
    }
}

/* ---- node 0: connections ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    static char in[65536];

    (void)handle;
    (void)suggested;
    *ret = uv_buf_init(in, sizeof(in));
}

static void on_request(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *client = stream->data;

    if (n < 0) {
        uv_close((uv_handle_t *)stream, NULL);
        if (client == holder) {
            hand_over();
        }
        return;
    }
    if (client->got == 0 && n > 0) {
        client->kind = (uint8_t)buf->base[0];
    }
    client->got += (size_t)n;
    if (client->got < floor_request_bytes(client->kind)) {
        return;
    }
    client->got = 0;
    if (client->kind & FLOOR_ECHO) {
        answer(client);
        return;
    }
    STAILQ_INSERT_TAIL(&collected, client, link);
    collected_count++;
}

static void on_client(uv_stream_t *port, int status)
{
    struct client *client = calloc(1, sizeof(*client));

    floor_check("client", client == NULL ? -ENOMEM : status);
    client->tcp.data = client;
    uv_tcp_init(loop, &client->tcp);
    floor_check("accept", uv_accept(port, (uv_stream_t *)&client->tcp));
    uv_tcp_nodelay(&client->tcp, 1);
    uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_request);
}

static void serve(uv_tcp_t *at, int port, uv_connection_cb on_connection)
{
    struct sockaddr_in address;

    uv_ip4_addr("127.0.0.1", port, &address);
    uv_tcp_init(loop, at);
    floor_check("bind", uv_tcp_bind(at, (const struct sockaddr *)&address, 0));
    floor_check("listen", uv_listen((uv_stream_t *)at, SOMAXCONN, on_connection));
}

static void on_ack(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct peer *follower = stream->data;

    (void)buf;
    floor_check("a follower", n);
    follower->in_len += (size_t)n;
    size_t whole = follower->in_len / ACK_BYTES * ACK_BYTES;
    if (whole > 0) {
        memcpy(&follower->durable, follower->in + whole - ACK_BYTES, sizeof(uint64_t));
        peer_drop(follower, whole);
        commit();
    }
}

static void on_follower(uv_stream_t *port, int status)
{
    static int count;

    floor_check("a third follower", count == FOLLOWERS ? -EBUSY : status);
    struct peer *follower = &followers[count++];
    uv_tcp_init(loop, &follower->tcp);
    floor_check("accept", uv_accept(port, (uv_stream_t *)&follower->tcp));
    peer_read(follower, on_ack);
    if (count == FOLLOWERS) {
        serve(&client_port, first_port, on_client);
    }
}

/* ---- nodes 1 and 2 ---- */

static void acknowledge(void)
{
    uint64_t ack[ACK_BYTES / sizeof(uint64_t)] = {floor_log_durable()};

    peer_send(&leader, ack, sizeof(ack));
}

static void on_message(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    size_t at = 0, len;

    (void)stream;
    (void)buf;
    floor_check("the leader", n);
    leader.in_len += (size_t)n;
    for (; leader.in_len - at >= HEADER_BYTES; at += len) {
        memcpy(&len, leader.in + at, sizeof(len));
        if (leader.in_len - at < len) {
            break;
        }
        floor_log_append(leader.in + at + HEADER_BYTES, len - HEADER_BYTES);
    }
    peer_drop(&leader, at);
}

static void connect_to_leader(void)
{
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), tries = 0;

    uv_ip4_addr("127.0.0.1", first_port + 1, &address);
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        floor_check("connect", ++tries == CONNECT_TRIES ? -errno : 0);
        uv_sleep(CONNECT_PAUSE_MS);
    }
    uv_tcp_init(loop, &leader.tcp);
    floor_check("connection", uv_tcp_open(&leader.tcp, fd));
    peer_read(&leader, on_message);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bench_floor NODE PORT DIRECTORY\n");
        return 2;
    }
    int leads = atoi(argv[1]) == 0;
    first_port = atoi(argv[2]);
    signal(SIGPIPE, SIG_IGN);
    loop = uv_default_loop();
    floor_log_open(loop, argv[3], leads ? commit : acknowledge);
    if (leads) {
        uv_check_init(loop, &after_io);
        uv_check_start(&after_io, on_after_io);
        serve(&follower_port, first_port + 1, on_follower);
    } else {
        connect_to_leader();
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
