/* Connections between peers, over loopback: who gets in, who is told why not, and that closing is
 * clean at any moment (run it under AddressSanitizer: leaks count). */
#include "transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport_handshake.h"

enum { WAIT_MS_MAX = 20000, LINES_MAX = 256, STREAMS_MAX = 80 };

/* One node's transport and what it did. */
struct end {
    struct raft_uv_transport face;
    uv_loop_t *loop;
    char address[64];
    unsigned port;
    uint64_t stranger; /* this id is no member */
    bool undecided;
    const char *member_address;
    char lines[LINES_MAX][512];
    unsigned lines_count;
    struct {
        raft_id id;
        char address[256];
        uv_stream_t *stream;
    } accepted[STREAMS_MAX];
    unsigned accepted_count;
    bool closed;
};

struct attempt {
    struct raft_uv_connect request;
    uv_stream_t *stream;
    int status;
    bool done;
};

struct fixture {
    uv_loop_t loop;
    struct end a; /* node 1 */
    struct end b; /* node 2 */
};

/* ---- the loop, bounded ---------------------------------------------------------------------- */

static void on_nothing(uv_timer_t *timer)
{
    (void)timer;
}

static bool
run_until(uv_loop_t *loop, bool (*condition)(void *arg), void *arg, unsigned limit_ms)
{
    uv_timer_t waker;
    uint64_t start;

    uv_update_time(loop);
    start = uv_now(loop);
    uv_timer_init(loop, &waker);
    uv_timer_start(&waker, on_nothing, 5, 5);
    while (!condition(arg) && uv_now(loop) - start < limit_ms) {
        uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&waker, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    return condition(arg);
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static bool attempt_done(void *arg)
{
    return ((struct attempt *)arg)->done;
}

static bool end_closed(void *arg)
{
    return ((struct end *)arg)->closed;
}

static bool has_line(const struct end *end, const char *part)
{
    for (unsigned i = 0; i < end->lines_count; i++) {
        if (strstr(end->lines[i], part) != NULL) {
            return true;
        }
    }
    return false;
}

static void assert_line(const struct end *end, const char *part)
{
    if (!has_line(end, part)) {
        for (unsigned i = 0; i < end->lines_count; i++) {
            print_message("logged: %s\n", end->lines[i]);
        }
        fail_msg("no line has '%s'", part);
    }
}

/* ---- ends ----------------------------------------------------------------------------------- */

static enum transport_membership
on_membership(void *arg, uint64_t node_id, const char **ret_address)
{
    struct end *end = arg;

    if (end->undecided) {
        return TRANSPORT_UNDECIDED;
    }
    *ret_address = end->member_address;
    return node_id == end->stranger ? TRANSPORT_STRANGER : TRANSPORT_MEMBER;
}

static void on_log(void *arg, int level, const char *message)
{
    struct end *end = arg;

    if (level >= 1 && end->lines_count < LINES_MAX) {
        snprintf(end->lines[end->lines_count++], sizeof end->lines[0], "%s", message);
    }
}

static struct transport_config config_of(struct end *end, uint64_t node_id)
{
    return (struct transport_config){
        .cluster_id = "alpha",
        .node_id = node_id,
        .connect_timeout_ms = 300,
        .handshake_timeout_ms = 300,
        .user_timeout_ms = 2500,
        .membership = on_membership,
        .log = on_log,
        .arg = end,
    };
}

static unsigned free_port(const char *host)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(inet_pton(AF_INET, host, &address.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void
end_start(struct end *end, uv_loop_t *loop, const struct transport_config *config)
{
    end->loop = loop;
    if (end->port == 0) {
        end->port = free_port("127.0.0.1");
        snprintf(end->address, sizeof end->address, "127.0.0.1:%u", end->port);
    }
    if (end->member_address == NULL) {
        end->member_address = "member:1";
    }
    transport_init(&end->face, loop, config);
    end->face.data = end;
    assert_int_equal(end->face.init(&end->face, config->node_id, end->address), 0);
}

static void on_accept(struct raft_uv_transport *face,
                      raft_id id,
                      const char *address,
                      uv_stream_t *stream)
{
    struct end *end = face->data;

    assert_true(end->accepted_count < STREAMS_MAX);
    end->accepted[end->accepted_count].id = id;
    snprintf(end->accepted[end->accepted_count].address, 256, "%s", address);
    end->accepted[end->accepted_count].stream = stream;
    end->accepted_count++;
}

static void end_listen(struct end *end)
{
    int rv = end->face.listen(&end->face, on_accept);

    if (rv != 0) {
        print_message("listen: %s\n", end->face.errmsg);
    }
    assert_int_equal(rv, 0);
}

static void free_stream(uv_handle_t *handle)
{
    raft_free(handle); /* as libraft does */
}

static void on_closed(struct raft_uv_transport *face)
{
    ((struct end *)face->data)->closed = true;
}

static void end_close(struct end *end)
{
    for (unsigned i = 0; i < end->accepted_count; i++) {
        if (end->accepted[i].stream != NULL) {
            uv_close((uv_handle_t *)end->accepted[i].stream, free_stream);
        }
    }
    end->accepted_count = 0;
    end->face.close(&end->face, on_closed);
    assert_true(run_until(end->loop, end_closed, end, WAIT_MS_MAX));
    transport_release(&end->face);
    end->face.impl = NULL;
}

static void on_connect(struct raft_uv_connect *request, uv_stream_t *stream, int status)
{
    struct attempt *attempt = request->data;

    assert_false(attempt->done);
    attempt->done = true;
    attempt->status = status;
    attempt->stream = stream;
    assert_true((status == 0) == (stream != NULL));
}

static void
attempt_start(struct end *from, struct attempt *attempt, raft_id id, const char *address)
{
    *attempt = (struct attempt){.status = -1};
    attempt->request.data = attempt;
    assert_int_equal(
        from->face.connect(&from->face, &attempt->request, id, address, on_connect), 0);
    assert_false(attempt->done);
}

static int
attempt_wait(struct end *from, struct attempt *attempt, raft_id id, const char *address)
{
    attempt_start(from, attempt, id, address);
    assert_true(run_until(from->loop, attempt_done, attempt, WAIT_MS_MAX));
    return attempt->status;
}

static void attempt_free(struct attempt *attempt)
{
    if (attempt->stream != NULL) {
        uv_close((uv_handle_t *)attempt->stream, free_stream);
        attempt->stream = NULL;
    }
}

static bool b_accepted(void *arg)
{
    return ((struct fixture *)arg)->b.accepted_count > 0;
}

static void start_both(struct fixture *f)
{
    struct transport_config a = config_of(&f->a, 1);
    struct transport_config b = config_of(&f->b, 2);

    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->a.face.impl != NULL) {
        end_close(&f->a);
    }
    if (f->b.face.impl != NULL) {
        end_close(&f->b);
    }
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

/* ---- meeting -------------------------------------------------------------------------------- */

struct transfer {
    char received[64];
    size_t len;
    uv_write_t write;
};

static void on_transfer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct transfer *transfer = handle->data;
    (void)suggested;

    *buf = uv_buf_init(transfer->received + transfer->len,
                       (unsigned)(sizeof transfer->received - transfer->len));
}

static void on_transfer_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct transfer *transfer = stream->data;
    (void)buf;

    transfer->len += nread > 0 ? (size_t)nread : 0;
}

static bool all_transferred(void *arg)
{
    return ((struct transfer *)arg)->len >= 5;
}

static void two_members_meet_and_bytes_flow(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    struct transfer transfer = {.len = 0};
    char text[] = "bytes";
    uv_buf_t buf = uv_buf_init(text, 5);

    start_both(f);
    f->b.member_address = "n1.example:7001";
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    assert_true(run_until(&f->loop, b_accepted, f, WAIT_MS_MAX));
    assert_int_equal(f->b.accepted[0].id, 1);
    /* The membership's address, not the one that the peer claims. */
    assert_string_equal(f->b.accepted[0].address, "n1.example:7001");

    f->b.accepted[0].stream->data = &transfer;
    assert_int_equal(
        uv_read_start(f->b.accepted[0].stream, on_transfer_alloc, on_transfer_read), 0);
    assert_int_equal(uv_write(&transfer.write, attempt.stream, &buf, 1, NULL), 0);
    assert_true(run_until(&f->loop, all_transferred, &transfer, WAIT_MS_MAX));
    assert_memory_equal(transfer.received, "bytes", 5);
    attempt_free(&attempt);
}

static void a_node_that_knows_no_members_yet_takes_the_claimed_address(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    start_both(f);
    f->b.undecided = true;
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    assert_true(run_until(&f->loop, b_accepted, f, WAIT_MS_MAX));
    assert_string_equal(f->b.accepted[0].address, f->a.address);
    attempt_free(&attempt);
}

static void a_host_name_is_looked_up(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];

    start_both(f);
    snprintf(address, sizeof address, "localhost:%u", f->b.port);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, address), 0);
    attempt_free(&attempt);
}

static void a_host_name_can_be_listened_on(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = config_of(&f->a, 1);
    struct transport_config b = config_of(&f->b, 2);
    struct attempt attempt;

    f->b.port = free_port("127.0.0.1");
    snprintf(f->b.address, sizeof f->b.address, "localhost:%u", f->b.port);
    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    attempt_free(&attempt);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool works = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;

    if (fd >= 0) {
        close(fd);
    }
    return works;
}

static void ipv6_works_as_well(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = config_of(&f->a, 1);
    struct transport_config b = config_of(&f->b, 2);
    struct attempt attempt;

    if (!has_ipv6()) {
        skip();
    }
    f->b.port = free_port("127.0.0.1");
    snprintf(f->b.address, sizeof f->b.address, "[::1]:%u", f->b.port);
    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    attempt_free(&attempt);
}

static void it_listens_where_told_not_where_it_is_dialled(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = config_of(&f->a, 1);
    struct transport_config b = config_of(&f->b, 2);
    struct attempt attempt;
    char listen_address[64];
    unsigned port = free_port("127.0.0.1");

    snprintf(listen_address, sizeof listen_address, "0.0.0.0:%u", port);
    b.listen_address = listen_address;
    f->b.port = 1;
    snprintf(f->b.address, sizeof f->b.address, "public.invalid:1");
    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    snprintf(listen_address, sizeof listen_address, "127.0.0.1:%u", port);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, listen_address), 0);
    attempt_free(&attempt);
}

static int socket_option(uv_stream_t *stream, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof value;
    int fd;

    assert_int_equal(uv_fileno((uv_handle_t *)stream, &fd), 0);
    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

static void both_sockets_notice_a_dead_peer(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    start_both(f);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    assert_true(run_until(&f->loop, b_accepted, f, WAIT_MS_MAX));
    uv_stream_t *const streams[] = {attempt.stream, f->b.accepted[0].stream};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(socket_option(streams[i], IPPROTO_TCP, TCP_NODELAY), 1);
        assert_int_equal(socket_option(streams[i], SOL_SOCKET, SO_KEEPALIVE), 1);
        assert_int_equal(socket_option(streams[i], IPPROTO_TCP, TCP_USER_TIMEOUT), 2500);
        assert_int_equal(socket_option(streams[i], IPPROTO_TCP, TCP_KEEPIDLE), 1);
    }
    attempt_free(&attempt);
}

static bool a_not_connected(void *arg)
{
    return !transport_connected(&((struct fixture *)arg)->a.face, 2);
}

static void connected_is_what_the_kernel_says(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    start_both(f);
    assert_false(transport_connected(&f->a.face, 2));
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    assert_true(run_until(&f->loop, b_accepted, f, WAIT_MS_MAX));
    assert_true(transport_connected(&f->a.face, 2));
    assert_false(
        transport_connected(&f->b.face, 1)); /* its own connection to 1 is what counts */

    uv_close((uv_handle_t *)f->b.accepted[0].stream, free_stream);
    f->b.accepted[0].stream = NULL;
    assert_true(run_until(&f->loop, a_not_connected, f, WAIT_MS_MAX));
    attempt_free(&attempt);
    assert_false(transport_connected(&f->a.face, 2));
}

/* ---- refusals, each known to both sides ----------------------------------------------------- */

static void assert_refusal(struct fixture *f, raft_id to, const char *reason)
{
    struct attempt attempt;

    assert_int_equal(attempt_wait(&f->a, &attempt, to, f->b.address), RAFT_NOCONNECTION);
    assert_int_equal(f->b.accepted_count, 0);
    assert_line(&f->a, "refused our connection");
    assert_line(&f->a, reason);
    assert_line(&f->b, "refused a connection from node");
    assert_line(&f->b, reason);
}

static void another_cluster_is_refused(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = config_of(&f->a, 1);
    struct transport_config b = config_of(&f->b, 2);

    a.cluster_id = "beta";
    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    assert_refusal(f, 2, "this node is of cluster alpha, not of beta");
}

static void a_hello_for_another_node_is_refused(void **state)
{
    struct fixture *f = *state;

    start_both(f);
    assert_refusal(f, 3, "this is node 2, not node 3");
}

static void a_node_with_our_own_id_is_refused(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = config_of(&f->a, 2);
    struct transport_config b = config_of(&f->b, 2);

    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    assert_refusal(f, 2, "node id 2 is mine: two nodes have it");
}

static void a_stranger_is_refused(void **state)
{
    struct fixture *f = *state;

    start_both(f);
    f->b.stranger = 1;
    assert_refusal(f, 2, "node 1 is not a member of the cluster");
}

static void the_fifth_connection_of_a_peer_is_refused_until_one_ends(void **state)
{
    struct fixture *f = *state;
    struct attempt attempts[TRANSPORT_INBOUND_PER_PEER_MAX];
    struct attempt fifth;

    start_both(f);
    for (int i = 0; i < TRANSPORT_INBOUND_PER_PEER_MAX; i++) {
        assert_int_equal(attempt_wait(&f->a, &attempts[i], 2, f->b.address), 0);
    }
    assert_int_equal(attempt_wait(&f->a, &fifth, 2, f->b.address), RAFT_NOCONNECTION);
    assert_line(&f->b, "too many connections from node 1");
    assert_int_equal(f->b.accepted_count, TRANSPORT_INBOUND_PER_PEER_MAX);

    uv_close((uv_handle_t *)f->b.accepted[1].stream, free_stream);
    f->b.accepted[1].stream = NULL;
    assert_int_equal(attempt_wait(&f->a, &fifth, 2, f->b.address), 0);
    attempt_free(&fifth);
    for (int i = 0; i < TRANSPORT_INBOUND_PER_PEER_MAX; i++) {
        attempt_free(&attempts[i]);
    }
}

/* ---- strangers with raw sockets ------------------------------------------------------------- */

static int raw_connect(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

struct raw {
    int fd;
    uint8_t in[1024];
    size_t len;
    bool ended;
};

static bool raw_ended(void *arg)
{
    struct raw *raw = arg;
    ssize_t n = recv(raw->fd, raw->in + raw->len, sizeof raw->in - raw->len, 0);

    if (n > 0) {
        raw->len += (size_t)n;
    } else if (n == 0 || errno != EAGAIN) {
        raw->ended = true;
    }
    return raw->ended;
}

/* Send @bytes and wait until the other side closes. */
static void
raw_exchange(struct fixture *f, struct raw *raw, const void *bytes, size_t len)
{
    *raw = (struct raw){.fd = raw_connect(f->b.port)};
    assert_int_equal(send(raw->fd, bytes, len, MSG_NOSIGNAL), len);
    assert_true(run_until(&f->loop, raw_ended, raw, WAIT_MS_MAX));
    close(raw->fd);
}

static void garbage_is_closed_at_its_first_bytes_and_logged_once(void **state)
{
    static const char *const garbage[] = {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02",
                                          "SSH-2.0-x\r\n", "NLKX", "x"};
    struct fixture *f = *state;
    struct raw raw;
    struct transport_config b = config_of(&f->b, 2);

    b.handshake_timeout_ms = 10 * WAIT_MS_MAX;
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
            raw_exchange(f, &raw, garbage[i], strlen(garbage[i]));
            assert_int_equal(raw.len, 0);
        }
    }
    assert_int_equal(f->b.accepted_count, 0);
    assert_line(&f->b, "does not speak the peer protocol");
    assert_int_equal(f->b.lines_count, 1);
}

static void announced_lengths_are_not_believed(void **state)
{
    struct fixture *f = *state;
    struct handshake_hello hello = {.version = 1,
                                    .from_node = 1,
                                    .to_node = 2,
                                    .cluster_id = "alpha",
                                    .address = "a:1"};
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    struct raw raw;
    struct transport_config b = config_of(&f->b, 2);

    b.handshake_timeout_ms = 10 * WAIT_MS_MAX;
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    handshake_hello_format(&hello, bytes);
    memset(bytes + 24, 0xff, 4);
    raw_exchange(f, &raw, bytes, HANDSHAKE_HELLO_HEAD_BYTES);
    assert_int_equal(raw.len, 0);
    assert_int_equal(f->b.accepted_count, 0);
}

static void another_version_is_told_ours(void **state)
{
    struct fixture *f = *state;
    struct handshake_hello hello = {.version = 7,
                                    .from_node = 1,
                                    .to_node = 2,
                                    .cluster_id = "alpha",
                                    .address = "a:1"};
    struct handshake_reply reply = {0};
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    struct raw raw;

    start_both(f);
    handshake_hello_format(&hello, bytes);
    raw_exchange(f, &raw, bytes, HANDSHAKE_HELLO_HEAD_BYTES);
    assert_int_equal(handshake_reply_parse(raw.in, raw.len, &reply), raw.len);
    assert_int_equal(reply.verdict, HANDSHAKE_WRONG_VERSION);
    assert_int_equal(reply.version, HANDSHAKE_VERSION);
    assert_string_equal(reply.reason, "handshake version 7 is not supported, only 1");
}

static void
a_hello_in_single_bytes_is_understood_and_not_a_byte_more_is_read(void **state)
{
    struct fixture *f = *state;
    struct handshake_hello hello = {.version = 1,
                                    .from_node = 1,
                                    .to_node = 2,
                                    .cluster_id = "alpha",
                                    .address = "a:1"};
    struct handshake_reply reply = {0};
    uint8_t bytes[HANDSHAKE_BYTES_MAX + 5];
    struct transfer transfer = {.len = 0};

    start_both(f);
    size_t len = handshake_hello_format(&hello, bytes);
    memcpy(bytes + len, "bytes", 5);
    struct raw raw = {.fd = raw_connect(f->b.port)};
    for (size_t i = 0; i < len - 1; i++) {
        assert_int_equal(send(raw.fd, bytes + i, 1, MSG_NOSIGNAL), 1);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    /* The last byte together with what belongs to libraft. */
    assert_int_equal(send(raw.fd, bytes + len - 1, 6, MSG_NOSIGNAL), 6);
    assert_true(run_until(&f->loop, b_accepted, f, WAIT_MS_MAX));
    f->b.accepted[0].stream->data = &transfer;
    assert_int_equal(
        uv_read_start(f->b.accepted[0].stream, on_transfer_alloc, on_transfer_read), 0);
    assert_true(run_until(&f->loop, all_transferred, &transfer, WAIT_MS_MAX));
    assert_memory_equal(transfer.received, "bytes", 5);

    raw_ended(&raw);
    assert_int_equal(handshake_reply_parse(raw.in, raw.len, &reply), raw.len);
    assert_int_equal(reply.verdict, HANDSHAKE_WELCOME);
    assert_int_equal(reply.from_node, 2);
    close(raw.fd);
}

static void half_a_handshake_ends_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    struct raw raw;

    start_both(f);
    raw_exchange(f, &raw, "NLKP\0\0", 6);
    assert_int_equal(raw.len, 0);
    assert_line(&f->b, "no complete handshake in time");
}

static void silence_ends_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    struct raw raw;

    start_both(f);
    raw_exchange(f, &raw, "", 0);
    assert_line(&f->b, "no complete handshake in time");
}

struct crowd {
    struct raw raws[TRANSPORT_HANDSHAKES_MAX + 10];
    unsigned ended;
};

static bool crowd_thinned(void *arg)
{
    struct crowd *crowd = arg;

    crowd->ended = 0;
    for (unsigned i = 0; i < TRANSPORT_HANDSHAKES_MAX + 10; i++) {
        crowd->ended += raw_ended(&crowd->raws[i]);
    }
    return crowd->ended >= 10;
}

static void a_crowd_in_handshake_is_limited_and_members_get_in_after_it(void **state)
{
    struct fixture *f = *state;
    struct crowd *crowd = calloc(1, sizeof *crowd);
    struct attempt attempt;
    struct transport_config a = config_of(&f->a, 1);
    struct transport_config b = config_of(&f->b, 2);

    b.handshake_timeout_ms = 10 * WAIT_MS_MAX;
    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    for (unsigned i = 0; i < TRANSPORT_HANDSHAKES_MAX + 10; i++) {
        crowd->raws[i].fd = raw_connect(f->b.port);
    }
    assert_true(run_until(&f->loop, crowd_thinned, crowd, WAIT_MS_MAX));
    assert_int_equal(crowd->ended, 10);
    assert_line(&f->b, "are in handshake");

    for (unsigned i = 0; i < TRANSPORT_HANDSHAKES_MAX + 10; i++) {
        close(crowd->raws[i].fd);
    }
    run_until(&f->loop, never, NULL, 50);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    attempt_free(&attempt);
    free(crowd);
}

/* ---- peers that do not answer --------------------------------------------------------------- */

/* A listener of our own, that accepts in the kernel and says nothing. */
static int mute_listener(unsigned backlog, unsigned *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, (int)backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void a_refused_connect_is_reported_later_and_logged_once(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char nobody[64];

    start_both(f);
    snprintf(nobody, sizeof nobody, "127.0.0.1:%u", free_port("127.0.0.1"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(attempt_wait(&f->a, &attempt, 2, nobody), RAFT_NOCONNECTION);
    }
    assert_line(&f->a, "cannot connect to node 2");
    assert_line(&f->a, "refused");
    assert_int_equal(f->a.lines_count, 1);
}

static void a_peer_that_never_answers_the_handshake_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];
    unsigned port;
    int fd = mute_listener(16, &port);

    start_both(f);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, address), RAFT_NOCONNECTION);
    assert_line(&f->a, "no answer to the handshake");
    close(fd);
}

/* A full backlog: SYNs are dropped, as by a host that is gone. */
static int black_hole(char *ret_address, size_t size, int fill[static 3])
{
    unsigned port;
    int fd = mute_listener(0, &port);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 3; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&address, sizeof address);
    }
    snprintf(ret_address, size, "127.0.0.1:%u", port);
    return fd;
}

static void a_host_that_is_gone_is_given_up_after_the_connect_timeout(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];
    int fill[3];
    int fd = black_hole(address, sizeof address, fill);

    start_both(f);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, address), RAFT_NOCONNECTION);
    assert_line(&f->a, "no answer to the connect");
    close(fd);
    for (int i = 0; i < 3; i++) {
        close(fill[i]);
    }
}

static void a_name_that_does_not_exist_is_no_connection(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    start_both(f);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, "no-such-host.invalid:7000"),
                     RAFT_NOCONNECTION);
    assert_line(&f->a, "cannot connect to node 2 at no-such-host.invalid:7000");
}

static void an_invalid_address_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt = {.done = false};

    start_both(f);
    attempt.request.data = &attempt;
    assert_int_equal(
        f->a.face.connect(&f->a.face, &attempt.request, 2, "no port", on_connect),
        RAFT_INVALID);
    assert_false(attempt.done);
}

struct impostor {
    int listener;
    int fd;
    struct handshake_reply reply;
};

static bool impostor_answered(void *arg)
{
    struct impostor *impostor = arg;
    uint8_t bytes[HANDSHAKE_BYTES_MAX];

    impostor->fd = accept(impostor->listener, NULL, NULL);
    if (impostor->fd < 0) {
        return false;
    }
    size_t len = handshake_reply_format(&impostor->reply, bytes);
    return send(impostor->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void a_welcome_of_another_node_is_not_accepted(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];
    unsigned port;
    struct impostor impostor = {
        .fd = -1,
        .listener = mute_listener(16, &port),
        .reply = {.version = 1, .from_node = 3, .verdict = HANDSHAKE_WELCOME},
    };

    assert_int_equal(fcntl(impostor.listener, F_SETFL, O_NONBLOCK), 0);
    start_both(f);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    attempt_start(&f->a, &attempt, 2, address);
    while (!impostor_answered(&impostor)) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_true(run_until(&f->loop, attempt_done, &attempt, WAIT_MS_MAX));
    assert_int_equal(attempt.status, RAFT_NOCONNECTION);
    assert_line(&f->a, "another node answers there");
    close(impostor.fd);
    close(impostor.listener);
}

/* ---- listening ------------------------------------------------------------------------------ */

static void a_port_in_use_is_named(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = config_of(&f->a, 1);
    char address[64];
    unsigned port;
    int fd = mute_listener(1, &port);

    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    a.listen_address = address;
    end_start(&f->a, &f->loop, &a);
    assert_int_equal(transport_listen_error(&f->a.face), 0);
    assert_int_not_equal(f->a.face.listen(&f->a.face, on_accept), 0);
    assert_int_equal(transport_listen_error(&f->a.face), -EADDRINUSE);
    assert_non_null(strstr(f->a.face.errmsg, address));
    close(fd);
}

static void an_address_that_is_not_ours_is_named(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = config_of(&f->a, 1);

    a.listen_address = "192.0.2.1:7000";
    end_start(&f->a, &f->loop, &a);
    assert_int_not_equal(f->a.face.listen(&f->a.face, on_accept), 0);
    assert_int_equal(transport_listen_error(&f->a.face), -EADDRNOTAVAIL);
    assert_non_null(strstr(f->a.face.errmsg, "192.0.2.1:7000"));
}

/* ---- closing in every state ----------------------------------------------------------------- */

static void assert_canceled(struct fixture *f, struct attempt *attempt)
{
    end_close(&f->a);
    assert_true(attempt->done);
    assert_int_equal(attempt->status, RAFT_CANCELED);
}

static void closing_while_a_name_is_looked_up(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    start_both(f);
    attempt_start(&f->a, &attempt, 2, "localhost:1");
    assert_canceled(f, &attempt);
}

static void closing_while_connecting(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];
    int fill[3];
    int fd = black_hole(address, sizeof address, fill);

    start_both(f);
    attempt_start(&f->a, &attempt, 2, address);
    run_until(&f->loop, never, NULL, 20);
    assert_canceled(f, &attempt);
    close(fd);
    for (int i = 0; i < 3; i++) {
        close(fill[i]);
    }
}

static void closing_while_waiting_for_the_reply(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];
    unsigned port;
    int fd = mute_listener(16, &port);

    start_both(f);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    attempt_start(&f->a, &attempt, 2, address);
    run_until(&f->loop, never, NULL, 20);
    assert_false(attempt.done);
    assert_canceled(f, &attempt);
    close(fd);
}

static void closing_at_any_turn_of_a_handshake(void **state)
{
    struct fixture *f = *state;

    for (int turns = 0; turns < 12; turns++) {
        struct attempt attempt;
        f->a.closed = f->b.closed = false;
        f->b.accepted_count = 0;
        start_both(f);
        attempt_start(&f->a, &attempt, 2, f->b.address);
        for (int i = 0; i < turns; i++) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
        }
        bool was_done = attempt.done;
        end_close(turns % 2 == 0 ? &f->a : &f->b);
        end_close(turns % 2 == 0 ? &f->b : &f->a);
        assert_true(attempt.done);
        assert_true(was_done ? attempt.status == 0 : attempt.status != -1);
        attempt_free(&attempt);
        run_until(&f->loop, never, NULL, 1);
    }
}

static void closing_with_strangers_at_the_door(void **state)
{
    struct fixture *f = *state;
    int silent;
    int half;

    start_both(f);
    silent = raw_connect(f->b.port);
    half = raw_connect(f->b.port);
    assert_int_equal(send(half, "NLKP", 4, MSG_NOSIGNAL), 4);
    run_until(&f->loop, never, NULL, 20);
    end_close(&f->b);
    close(silent);
    close(half);
}

static void closing_before_listening(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = config_of(&f->a, 1);

    end_start(&f->a, &f->loop, &a);
    end_close(&f->a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_members_meet_and_bytes_flow),
        TEST(a_node_that_knows_no_members_yet_takes_the_claimed_address),
        TEST(a_host_name_is_looked_up),
        TEST(a_host_name_can_be_listened_on),
        TEST(ipv6_works_as_well),
        TEST(it_listens_where_told_not_where_it_is_dialled),
        TEST(both_sockets_notice_a_dead_peer),
        TEST(connected_is_what_the_kernel_says),
        TEST(another_cluster_is_refused),
        TEST(a_hello_for_another_node_is_refused),
        TEST(a_node_with_our_own_id_is_refused),
        TEST(a_stranger_is_refused),
        TEST(the_fifth_connection_of_a_peer_is_refused_until_one_ends),
        TEST(garbage_is_closed_at_its_first_bytes_and_logged_once),
        TEST(announced_lengths_are_not_believed),
        TEST(another_version_is_told_ours),
        TEST(a_hello_in_single_bytes_is_understood_and_not_a_byte_more_is_read),
        TEST(half_a_handshake_ends_at_the_deadline),
        TEST(silence_ends_at_the_deadline),
        TEST(a_crowd_in_handshake_is_limited_and_members_get_in_after_it),
        TEST(a_refused_connect_is_reported_later_and_logged_once),
        TEST(a_peer_that_never_answers_the_handshake_is_given_up),
        TEST(a_host_that_is_gone_is_given_up_after_the_connect_timeout),
        TEST(a_name_that_does_not_exist_is_no_connection),
        TEST(an_invalid_address_is_refused_at_once),
        TEST(a_welcome_of_another_node_is_not_accepted),
        TEST(a_port_in_use_is_named),
        TEST(an_address_that_is_not_ours_is_named),
        TEST(closing_while_a_name_is_looked_up),
        TEST(closing_while_connecting),
        TEST(closing_while_waiting_for_the_reply),
        TEST(closing_at_any_turn_of_a_handshake),
        TEST(closing_with_strangers_at_the_door),
        TEST(closing_before_listening),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
