/* TLS between nodes: who meets, who does not and what is said about it, and that it can end at any moment (run
 * it under AddressSanitizer: leaks count). Node 1, a, connects; node 2, b, listens. */
#include "transport_ends.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls_fixture.h"
#include "tls_internal.h"

enum { DAY_S = 86400, MANY = 50000, HASTY_MS = 200 };

struct secured {
    struct fixture *ends;
    struct tls_fixture *certs;
    struct end_files node1, node2;
};

static void make_node(struct secured *s, struct end_files *ret, const char *uri)
{
    static unsigned number;
    struct cert_spec spec = node_spec();
    char name[16];

    spec.uri = uri;
    snprintf(name, sizeof name, "peer%u", number++);
    end_files_make(s->certs, ret, name, &spec, s->certs->ca);
}

static int setup(void **state)
{
    struct secured *s = calloc(1, sizeof *s);

    assert_non_null(s);
    ends_setup((void **)&s->ends);
    tls_fixture_set_up((void **)&s->certs);
    make_node(s, &s->node1, "netlock://alpha/node/1");
    make_node(s, &s->node2, "netlock://alpha/node/2");
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct secured *s = *state;

    ends_teardown((void **)&s->ends);
    tls_fixture_tear_down((void **)&s->certs);
    free(s);
    return 0;
}

static struct transport_tls contexts_of(const struct end_files *files)
{
    return (struct transport_tls){.in = context_of(TLS_SERVER, files),
                                  .out = context_of(TLS_CLIENT, files)};
}

/* @tls: NULL for plain text. */
static void start(struct end *end,
                  struct secured *s,
                  uint64_t node_id,
                  const struct transport_tls *tls)
{
    struct transport_config config = end_config(end, node_id);

    config.connect_timeout_ms = config.handshake_timeout_ms = 2 * WAIT_MS_MAX;
    end_start(end, &s->ends->loop, &config);
    if (tls != NULL) {
        transport_set_tls(&end->face, tls);
    }
}

/* Node 1 with these contexts, and node 2 as it should be. */
static void start_with(struct secured *s, const struct transport_tls *tls1)
{
    struct transport_tls tls2 = contexts_of(&s->node2);

    start(&s->ends->a, s, 1, tls1);
    start(&s->ends->b, s, 2, &tls2);
    end_listen(&s->ends->b);
}

static void start_both(struct secured *s)
{
    struct transport_tls tls1 = contexts_of(&s->node1);

    start_with(s, &tls1);
}

static bool b_accepted(void *arg)
{
    return ((struct secured *)arg)->ends->b.accepted_count > 0;
}

static void meet(struct secured *s, struct attempt *attempt)
{
    assert_int_equal(attempt_wait(&s->ends->a, attempt, 2, s->ends->b.address), 0);
    assert_true(ends_run_until(&s->ends->loop, b_accepted, s, WAIT_MS_MAX));
}

/* ---- what passes ---------------------------------------------------------------------------- */

static void say_message(struct attempt *from)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)ENDS_MESSAGE, ENDS_MESSAGE_BYTES);

    assert_int_equal(uv_try_write(from->stream, &buf, 1), ENDS_MESSAGE_BYTES);
}

static void two_nodes_meet_and_messages_flow(void **state)
{
    struct secured *s = *state;
    struct attempt attempt;

    start_both(s);
    meet(s, &attempt);
    assert_int_equal(s->ends->b.accepted[0].id, 1);
    assert_true(transport_connected(&s->ends->a.face, 2));
    say_message(&attempt);
    ends_assert_reads_message(&s->ends->loop, s->ends->b.accepted[0].stream);
    attempt_free(&attempt);
}

struct flood {
    size_t received;
    bool written;
    uint8_t in[MANY * ENDS_MESSAGE_BYTES + 1];
};

static void flood_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct flood *flood = handle->data;

    (void)suggested;
    *buf = uv_buf_init((char *)flood->in + flood->received,
                       (unsigned)(sizeof flood->in - flood->received));
}

static void flood_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct flood *flood = stream->data;

    (void)buf;
    assert_true(nread >= 0);
    flood->received += (size_t)nread;
}

static void flood_written(uv_write_t *write, int status)
{
    assert_int_equal(status, 0);
    ((struct flood *)write->data)->written = true;
}

static bool flood_over(void *arg)
{
    const struct flood *flood = arg;

    return flood->received == sizeof flood->in - 1 && flood->written;
}

/* Two megabytes, and for a while nobody reads. */
static void a_flood_waits_and_arrives(void **state)
{
    struct secured *s = *state;
    struct flood *flood = calloc(1, sizeof *flood);
    uint8_t *bytes = malloc(MANY * ENDS_MESSAGE_BYTES);
    uv_buf_t buf = uv_buf_init((char *)bytes, MANY * ENDS_MESSAGE_BYTES);
    uv_write_t write = {.data = flood};
    struct attempt attempt;

    assert_non_null(flood);
    assert_non_null(bytes);
    for (size_t i = 0; i < MANY; i++) {
        memcpy(bytes + i * ENDS_MESSAGE_BYTES, ENDS_MESSAGE, ENDS_MESSAGE_BYTES);
        bytes[i * ENDS_MESSAGE_BYTES + 24] = (uint8_t)(1 + i % 255); /* last index */
    }
    start_both(s);
    meet(s, &attempt);
    assert_int_equal(uv_write(&write, attempt.stream, &buf, 1, flood_written), 0);
    ends_run_until(&s->ends->loop, ends_never, NULL, 50);
    uv_stream_t *stream = s->ends->b.accepted[0].stream;
    stream->data = flood;
    assert_int_equal(uv_read_start(stream, flood_alloc, flood_read), 0);
    assert_true(ends_run_until(&s->ends->loop, flood_over, flood, WAIT_MS_MAX));
    uv_read_stop(stream);
    assert_memory_equal(flood->in, bytes, MANY * ENDS_MESSAGE_BYTES);
    attempt_free(&attempt);
    free(bytes);
    free(flood);
}

static void new_certificates_are_for_new_connections(void **state)
{
    struct secured *s = *state;
    struct end_files node3;
    struct attempt before;
    struct attempt after;

    start_both(s);
    meet(s, &before);
    make_node(s, &node3, "netlock://alpha/node/3");
    struct transport_tls wrong = contexts_of(&node3);
    transport_set_tls(&s->ends->b.face, &wrong);
    say_message(&before);
    ends_assert_reads_message(&s->ends->loop, s->ends->b.accepted[0].stream);

    assert_int_equal(attempt_wait(&s->ends->a, &after, 2, s->ends->b.address),
                     RAFT_NOCONNECTION);
    struct transport_tls right = contexts_of(&s->node2);
    transport_set_tls(&s->ends->b.face, &right);
    assert_int_equal(attempt_wait(&s->ends->a, &after, 2, s->ends->b.address), 0);
    attempt_free(&before);
    attempt_free(&after);
}

/* ---- certificates of somebody else ---------------------------------------------------------- */

static void assert_no_connection(struct secured *s)
{
    struct attempt attempt;

    assert_int_equal(attempt_wait(&s->ends->a, &attempt, 2, s->ends->b.address),
                     RAFT_NOCONNECTION);
    assert_int_equal(s->ends->b.accepted_count, 0);
}

static bool b_said_something(void *arg)
{
    return ((struct secured *)arg)->ends->b.lines_count > 0;
}

static void assert_b_says(struct secured *s, const char *part)
{
    assert_true(ends_run_until(&s->ends->loop, b_said_something, s, WAIT_MS_MAX));
    end_assert_line(&s->ends->b, part);
}

/* Both sides are told. */
static void assert_refused_by_name(struct secured *s, const char *uri, const char *reason)
{
    struct end_files files;

    make_node(s, &files, uri);
    struct transport_tls tls = contexts_of(&files);
    start_with(s, &tls);
    assert_no_connection(s);
    assert_b_says(s, "refused a connection from node 1");
    assert_b_says(s, reason);
    end_assert_line(&s->ends->a, "refused our connection");
    end_assert_line(&s->ends->a, reason);
}

static void the_certificate_of_another_node_is_refused(void **state)
{
    assert_refused_by_name(
        *state, "netlock://alpha/node/3",
        "the certificate is of node 3 of cluster alpha, not of node 1 of alpha");
}

static void the_certificate_of_another_cluster_is_refused(void **state)
{
    assert_refused_by_name(
        *state, "netlock://beta/node/1",
        "the certificate is of node 1 of cluster beta, not of node 1 of alpha");
}

static void the_certificate_of_a_client_is_refused(void **state)
{
    assert_refused_by_name(
        *state, "netlock://alpha/client/mallory",
        "is not that of a node: it needs the URI netlock://alpha/node/1");
}

static void a_listener_with_the_certificate_of_another_node_is_refused(void **state)
{
    struct secured *s = *state;
    struct end_files node3;

    make_node(s, &node3, "netlock://alpha/node/3");
    struct transport_tls tls1 = contexts_of(&s->node1);
    struct transport_tls tls3 = contexts_of(&node3);
    start(&s->ends->a, s, 1, &tls1);
    start(&s->ends->b, s, 2, &tls3);
    end_listen(&s->ends->b);
    assert_no_connection(s);
    end_assert_line(&s->ends->a, "the certificate is of node 3 of cluster alpha, not of "
                                 "node 2 of alpha");
}

/* ---- certificates that are none ------------------------------------------------------------- */

/* A context is not made from what the other side would refuse: it gets its certificate later. */
static struct transport_tls contexts_showing(struct secured *s,
                                             const struct end_files *shown)
{
    struct transport_tls tls = contexts_of(&s->node1);

    SSL_CTX_use_certificate_file(tls.out->ssl, shown->cert, SSL_FILETYPE_PEM);
    assert_int_equal(
        SSL_CTX_use_PrivateKey_file(tls.out->ssl, shown->key, SSL_FILETYPE_PEM), 1);
    return tls;
}

static void assert_certificate_refused(struct secured *s,
                                       const struct cert_spec *spec,
                                       const struct cert *issuer,
                                       const char *reason)
{
    struct end_files files;

    end_files_make(s->certs, &files, "shown", spec, issuer);
    struct transport_tls tls = contexts_showing(s, &files);
    start_with(s, &tls);
    assert_no_connection(s);
    assert_b_says(s, "its certificate is refused");
    assert_b_says(s, reason);
}

static struct cert_spec node1_spec(void)
{
    struct cert_spec spec = node_spec();

    spec.uri = "netlock://alpha/node/1";
    return spec;
}

static void a_certificate_of_another_ca_is_refused(void **state)
{
    struct secured *s = *state;
    struct cert_spec spec = node1_spec();

    assert_certificate_refused(s, &spec, s->certs->other_ca, "issuer certificate");
}

static void an_expired_certificate_is_refused(void **state)
{
    struct secured *s = *state;
    struct cert_spec spec = node1_spec();

    spec.valid_from_s = -10 * DAY_S;
    spec.valid_for_s = 9 * DAY_S;
    assert_certificate_refused(s, &spec, s->certs->ca, "expired");
}

static void a_certificate_for_servers_only_is_refused(void **state)
{
    struct secured *s = *state;
    struct cert_spec spec = node1_spec();

    spec.for_clients = false;
    assert_certificate_refused(s, &spec, s->certs->ca, "purpose");
}

/* Who connects with a context of its own: it believes everybody. */
static void assert_stranger_refused(struct secured *s, SSL_CTX *ssl, const char *reason)
{
    struct transport_tls tls = contexts_of(&s->node1);

    SSL_CTX_free(tls.out->ssl);
    tls.out->ssl = ssl;
    start_with(s, &tls);
    assert_no_connection(s);
    assert_b_says(s, reason);
}

static void nobody_gets_in_without_a_certificate(void **state)
{
    assert_stranger_refused(*state, SSL_CTX_new(TLS_client_method()),
                            "did not return a certificate");
}

static void tls_1_2_is_refused(void **state)
{
    struct secured *s = *state;
    SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());

    SSL_CTX_set_max_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_use_certificate_file(ssl, s->node1.cert, SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(ssl, s->node1.key, SSL_FILETYPE_PEM);
    assert_stranger_refused(s, ssl, "unsupported protocol");
}

/* ---- one side alone ------------------------------------------------------------------------- */

static void plain_text_to_tls_is_refused(void **state)
{
    struct secured *s = *state;

    start_with(s, NULL);
    assert_no_connection(s);
    assert_b_says(s, "the other side does not speak TLS");
}

static void tls_to_plain_text_is_refused(void **state)
{
    struct secured *s = *state;
    struct transport_tls tls1 = contexts_of(&s->node1);

    start(&s->ends->a, s, 1, &tls1);
    start(&s->ends->b, s, 2, NULL);
    end_listen(&s->ends->b);
    assert_no_connection(s);
    assert_b_says(s, "it speaks TLS, and this node does not");
}

static void half_a_handshake_and_the_end_is_logged(void **state)
{
    static const uint8_t half[] = {22, 3, 1, 2, 0, 1, 0};
    struct secured *s = *state;

    start_both(s);
    int fd = ends_raw_connect(s->ends->b.port);
    assert_int_equal(send(fd, half, sizeof half, MSG_NOSIGNAL), sizeof half);
    ends_run_until(&s->ends->loop, ends_never, NULL, 20);
    close(fd);
    assert_b_says(s, "the connection ended during the TLS handshake");
}

static void half_a_handshake_ends_at_the_deadline(void **state)
{
    static const uint8_t half[] = {22, 3, 1, 2, 0, 1, 0};
    struct secured *s = *state;
    struct transport_tls tls = contexts_of(&s->node2);
    struct transport_config config = end_config(&s->ends->b, 2);

    config.handshake_timeout_ms = HASTY_MS;
    end_start(&s->ends->b, &s->ends->loop, &config);
    transport_set_tls(&s->ends->b.face, &tls);
    end_listen(&s->ends->b);
    int fd = ends_raw_connect(s->ends->b.port);
    assert_int_equal(send(fd, half, sizeof half, MSG_NOSIGNAL), sizeof half);
    assert_b_says(s, "no complete handshake in time");
    close(fd);
}

/* ---- the end at any moment ------------------------------------------------------------------ */

static void closing_at_any_turn_of_a_handshake(void **state)
{
    struct secured *s = *state;
    struct fixture *f = s->ends;

    for (int turns = 0; turns < 24; turns++) {
        struct attempt attempt;
        f->a.closed = f->b.closed = false;
        f->b.accepted_count = 0;
        start_both(s);
        attempt_start(&f->a, &attempt, 2, f->b.address);
        for (int i = 0; i < turns; i++) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
        }
        end_close(turns % 2 == 0 ? &f->a : &f->b);
        end_close(turns % 2 == 0 ? &f->b : &f->a);
        assert_true(attempt.done);
        attempt_free(&attempt);
        ends_run_until(&f->loop, ends_never, NULL, 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_nodes_meet_and_messages_flow),
        TEST(a_flood_waits_and_arrives),
        TEST(new_certificates_are_for_new_connections),
        TEST(the_certificate_of_another_node_is_refused),
        TEST(the_certificate_of_another_cluster_is_refused),
        TEST(the_certificate_of_a_client_is_refused),
        TEST(a_listener_with_the_certificate_of_another_node_is_refused),
        TEST(a_certificate_of_another_ca_is_refused),
        TEST(an_expired_certificate_is_refused),
        TEST(a_certificate_for_servers_only_is_refused),
        TEST(nobody_gets_in_without_a_certificate),
        TEST(tls_1_2_is_refused),
        TEST(plain_text_to_tls_is_refused),
        TEST(tls_to_plain_text_is_refused),
        TEST(half_a_handshake_and_the_end_is_logged),
        TEST(half_a_handshake_ends_at_the_deadline),
        TEST(closing_at_any_turn_of_a_handshake),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
