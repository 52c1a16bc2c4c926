/* TLS sessions in memory: what passes, and everything that must not. */
#include "tls_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_internal.h"

enum { DAY_S = 86400 };

static void assert_says(const struct tls *tls, const char *words)
{
    if (strstr(tls_error(tls), words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", tls_error(tls), words);
    }
}

/* ---- what passes ---- */

static void both_sides_know_each_other(void **state)
{
    struct tls_fixture *fixture = *state;
    struct tls_pair pair = pair_new(&fixture->client, &fixture->node, "127.0.0.1");

    pair_run(&pair);

    assert_true(tls_is_established(pair.client));
    assert_true(tls_is_established(pair.server));
    const struct tls_identity *node = tls_peer(pair.client);
    assert_int_equal(node->kind, TLS_NODE);
    assert_string_equal(node->cluster, "test");
    assert_int_equal(node->node_id, 1);
    const struct tls_identity *client = tls_peer(pair.server);
    assert_int_equal(client->kind, TLS_NAMED_CLIENT);
    assert_string_equal(client->cluster, "test");
    assert_string_equal(client->name, "alice");
    pair_free(&pair);
}

static void names_and_addresses_of_the_node_pass(void **state)
{
    struct tls_fixture *fixture = *state;
    static const char *const hosts[] = {"node1.example", "NODE1.example", "::1", NULL};

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct tls_pair pair = pair_new(&fixture->client, &fixture->node, hosts[i]);
        pair_run(&pair);
        assert_true(tls_is_established(pair.client));
        pair_free(&pair);
    }
}

static void a_client_without_a_uri_has_its_common_name(void **state)
{
    struct tls_fixture *fixture = *state;
    struct end_files files;
    struct cert_spec spec = client_spec();
    spec.uri = NULL;
    spec.common_name = "backup@host7";
    end_files_make(fixture, &files, "cn", &spec, fixture->ca);
    struct tls_pair pair = pair_new(&files, &fixture->node, NULL);

    pair_run(&pair);

    assert_true(tls_is_established(pair.server));
    assert_int_equal(tls_peer(pair.server)->kind, TLS_NAMED_CLIENT);
    assert_string_equal(tls_peer(pair.server)->cluster, "");
    assert_string_equal(tls_peer(pair.server)->name, "backup@host7");
    pair_free(&pair);
}

static void text_goes_both_ways_and_one_write_is_one_record(void **state)
{
    struct tls_fixture *fixture = *state;
    struct tls_pair pair = pair_new(&fixture->client, &fixture->node, NULL);
    pair_run(&pair);

    assert_int_equal(tls_write(pair.client, (const uint8_t *)"question", 8), 0);
    struct wire_buf *out = tls_output(pair.client);
    /* 5 of header, 1 of type, 16 of tag. */
    assert_int_equal(out->len, 8 + 22);
    tls_feed(pair.server, out->data, out->len);
    expect_text(pair.server, "question");
    out->len = 0;

    assert_int_equal(tls_write(pair.server, (const uint8_t *)"answer", 6), 0);
    out = tls_output(pair.server);
    tls_feed(pair.client, out->data, out->len);
    expect_text(pair.client, "answer");
    pair_free(&pair);
}

static void a_megabyte_arrives_byte_by_byte(void **state)
{
    enum { BYTES = 1000000 };
    struct tls_fixture *fixture = *state;
    struct tls_pair pair = pair_new(&fixture->client, &fixture->node, NULL);
    uint8_t *sent = malloc(BYTES), *got = malloc(BYTES);
    assert_non_null(sent);
    assert_non_null(got);
    for (size_t i = 0; i < BYTES; i++) {
        sent[i] = (uint8_t)(i * 7 + i / 1000);
    }
    pair_run(&pair);

    assert_int_equal(tls_write(pair.client, sent, BYTES), 0);
    const struct wire_buf *out = tls_output(pair.client);
    size_t len = 0;
    for (size_t i = 0; i < out->len; i++) {
        tls_feed(pair.server, out->data + i, 1);
        ssize_t n;
        while ((n = tls_read(pair.server, got + len, BYTES - len)) > 0) {
            len += (size_t)n;
            if (len == BYTES) {
                break;
            }
        }
    }

    assert_int_equal(len, BYTES);
    assert_memory_equal(sent, got, BYTES);
    free(sent);
    free(got);
    pair_free(&pair);
}

static void nothing_is_taken_before_the_handshake(void **state)
{
    struct tls_fixture *fixture = *state;
    struct tls_pair pair = pair_new(&fixture->client, &fixture->node, NULL);

    assert_int_equal(tls_write(pair.client, (const uint8_t *)"early", 5), -EAGAIN);
    pair_run(&pair);
    assert_int_equal(tls_write(pair.client, (const uint8_t *)"late", 4), 0);

    tls_feed(pair.server, tls_output(pair.client)->data, tls_output(pair.client)->len);
    expect_text(pair.server, "late");
    pair_free(&pair);
}

static void a_session_outlives_its_context(void **state)
{
    struct tls_fixture *fixture = *state;
    struct tls_context *context = context_of(TLS_CLIENT, &fixture->client);
    struct tls *tls = tls_new(context, NULL);

    tls_context_free(context);

    assert_int_equal(tls_handshake(tls), -EAGAIN);
    assert_true(tls_output(tls)->len > 0);
    tls_free(tls);
}

/* ---- the end ---- */

static void a_close_is_an_end_and_the_other_way_stays_open(void **state)
{
    struct tls_fixture *fixture = *state;
    struct tls_pair pair = pair_new(&fixture->client, &fixture->node, NULL);
    uint8_t text[10];
    pair_run(&pair);

    tls_close(pair.client);
    tls_close(pair.client);
    tls_feed(pair.server, tls_output(pair.client)->data, tls_output(pair.client)->len);
    assert_int_equal(tls_read(pair.server, text, sizeof(text)), 0);
    assert_string_equal(tls_error(pair.server), "");

    assert_int_equal(tls_write(pair.server, (const uint8_t *)"last", 4), 0);
    tls_feed(pair.client, tls_output(pair.server)->data, tls_output(pair.server)->len);
    expect_text(pair.client, "last");
    tls_feed_end(pair.server);
    assert_int_equal(tls_read(pair.server, text, sizeof(text)), 0);
    pair_free(&pair);
}

static void an_end_without_a_close_is_an_error(void **state)
{
    struct tls_fixture *fixture = *state;
    struct tls_pair pair = pair_new(&fixture->client, &fixture->node, NULL);
    uint8_t text[10];
    pair_run(&pair);

    tls_feed_end(pair.server);

    assert_int_equal(tls_read(pair.server, text, sizeof(text)), -EPROTO);
    assert_says(pair.server, "cut off");
    assert_int_equal(tls_write(pair.server, text, 1), -EPROTO);
    pair_free(&pair);
}

static void half_a_record_and_the_end_is_an_error(void **state)
{
    struct tls_fixture *fixture = *state;
    struct tls_pair pair = pair_new(&fixture->client, &fixture->node, NULL);
    uint8_t text[10];
    pair_run(&pair);
    assert_int_equal(tls_write(pair.client, (const uint8_t *)"question", 8), 0);

    tls_feed(pair.server, tls_output(pair.client)->data,
             tls_output(pair.client)->len - 1);
    assert_int_equal(tls_read(pair.server, text, sizeof(text)), -EAGAIN);
    tls_feed_end(pair.server);

    assert_int_equal(tls_read(pair.server, text, sizeof(text)), -EPROTO);
    assert_says(pair.server, "cut off");
    pair_free(&pair);
}

static void a_server_that_hangs_up_at_once_may_be_plain(void **state)
{
    struct tls_fixture *fixture = *state;
    struct tls_pair pair = pair_new(&fixture->client, &fixture->node, NULL);

    assert_int_equal(tls_handshake(pair.client), -EAGAIN);
    tls_feed_end(pair.client);

    assert_int_equal(tls_handshake(pair.client), -EPROTO);
    assert_says(pair.client, "may not want TLS");
    pair_free(&pair);
}

/* ---- what must not pass ---- */

static void every_flipped_bit_ends_the_session(void **state)
{
    struct tls_fixture *fixture = *state;

    for (size_t bit = 0; bit < 30 * 8; bit++) {
        struct tls_pair pair = pair_new(&fixture->client, &fixture->node, NULL);
        uint8_t text[10];
        pair_run(&pair);
        assert_int_equal(tls_write(pair.client, (const uint8_t *)"question", 8), 0);
        struct wire_buf *out = tls_output(pair.client);
        assert_int_equal(out->len, 30);

        out->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        tls_feed(pair.server, out->data, out->len);
        ssize_t rv = tls_read(pair.server, text, sizeof(text));

        /* A longer length waits for bytes that never come. */
        if (rv == -EAGAIN) {
            tls_feed_end(pair.server);
            rv = tls_read(pair.server, text, sizeof(text));
        }
        assert_int_equal(rv, -EPROTO);
        assert_string_not_equal(tls_error(pair.server), "");
        pair_free(&pair);
    }
}

/* A handshake that must come about on neither side; each says its words. */
static void assert_refused(const struct end_files *client,
                           const struct end_files *server,
                           const char *host,
                           const char *client_says,
                           const char *server_says)
{
    struct tls_pair pair = pair_new(client, server, host);

    pair_run(&pair);

    assert_false(tls_is_established(pair.client));
    assert_false(tls_is_established(pair.server));
    assert_says(pair.client, client_says);
    assert_says(pair.server, server_says);
    pair_free(&pair);
}

static void a_client_of_another_ca_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    struct end_files files;
    struct cert_spec spec = client_spec();
    end_files_make(fixture, &files, "stranger", &spec, fixture->other_ca);
    struct end_files naive = files; /* trusts our node, though not its own issuer */
    struct tls_pair pair = pair_new(&files, &fixture->node, NULL);

    pair_run(&pair); /* ends at the client: it does not know the node's CA */
    assert_says(pair.client, "its certificate is refused");
    assert_says(pair.server, "the other side refuses: unknown CA");
    pair_free(&pair);

    /* Both CAs in one file: then it is the server's turn to refuse. */
    char command[4 * FIXTURE_PATH_BYTES];
    snprintf(naive.ca, sizeof(naive.ca), "%s/both.pem", fixture->dir);
    snprintf(command, sizeof(command), "cat %s/ca.pem %s/other-ca.pem > %s", fixture->dir,
             fixture->dir, naive.ca);
    assert_int_equal(system(command), 0);
    naive.files.ca = naive.ca;
    assert_refused(&naive, &fixture->node, NULL, "the other side refuses: unknown CA",
                   "its certificate is refused");
}

/* A context refuses to be made from what the other side would refuse: so it gets its certificate later. */
static void swap_certificate(struct tls_context *context, const struct end_files *files)
{
    SSL_CTX_use_certificate_file(context->ssl, files->cert, SSL_FILETYPE_PEM);
    assert_int_equal(
        SSL_CTX_use_PrivateKey_file(context->ssl, files->key, SSL_FILETYPE_PEM), 1);
}

static struct tls *
tls_with(enum tls_role role, const struct end_files *good, const struct end_files *shown)
{
    struct tls_context *context = context_of(role, good);
    swap_certificate(context, shown);
    struct tls *tls = tls_new(context, NULL);
    assert_non_null(tls);
    tls_context_free(context);
    return tls;
}

static void assert_client_refused(struct tls_fixture *fixture,
                                  const struct end_files *shown,
                                  const char *client_says,
                                  const char *server_says)
{
    struct tls_context *context = context_of(TLS_SERVER, &fixture->node);
    struct tls_pair pair = {.client = tls_with(TLS_CLIENT, &fixture->client, shown),
                            .server = tls_new(context, NULL)};
    tls_context_free(context);

    pair_run(&pair);

    assert_false(tls_is_established(pair.client));
    assert_false(tls_is_established(pair.server));
    assert_says(pair.client, client_says);
    assert_says(pair.server, server_says);
    pair_free(&pair);
}

static void assert_server_refused(struct tls_fixture *fixture,
                                  const struct end_files *shown,
                                  const char *client_says,
                                  const char *server_says)
{
    struct tls_context *context = context_of(TLS_CLIENT, &fixture->client);
    struct tls_pair pair = {.client = tls_new(context, NULL),
                            .server = tls_with(TLS_SERVER, &fixture->node, shown)};
    tls_context_free(context);

    pair_run(&pair);

    assert_false(tls_is_established(pair.client));
    assert_false(tls_is_established(pair.server));
    assert_says(pair.client, client_says);
    assert_says(pair.server, server_says);
    pair_free(&pair);
}

static void expired_certificates_are_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    struct end_files files;
    struct cert_spec spec = client_spec();
    spec.valid_from_s = -2 * DAY_S;
    spec.valid_for_s = DAY_S;
    end_files_make(fixture, &files, "old-client", &spec, fixture->ca);
    assert_client_refused(fixture, &files, "certificate expired",
                          "certificate has expired");

    spec = node_spec();
    spec.valid_from_s = -2 * DAY_S;
    spec.valid_for_s = DAY_S;
    end_files_make(fixture, &files, "old-node", &spec, fixture->ca);
    assert_server_refused(fixture, &files, "certificate has expired",
                          "certificate expired");
}

static void certificates_of_the_future_are_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    struct end_files files;
    struct cert_spec spec = client_spec();
    spec.valid_from_s = DAY_S;
    end_files_make(fixture, &files, "new-client", &spec, fixture->ca);
    assert_client_refused(fixture, &files, "bad certificate",
                          "certificate is not yet valid");

    spec = node_spec();
    spec.valid_from_s = DAY_S;
    end_files_make(fixture, &files, "new-node", &spec, fixture->ca);
    assert_server_refused(fixture, &files, "certificate is not yet valid",
                          "bad certificate");
}

static void certificates_for_another_use_are_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    struct end_files files;
    struct cert_spec spec = client_spec();
    end_files_make(fixture, &files, "client-as-node", &spec, fixture->ca);
    assert_server_refused(fixture, &files, "its certificate is refused: unsuitable",
                          "unsupported certificate");

    spec = node_spec();
    spec.for_clients = false;
    end_files_make(fixture, &files, "server-only", &spec, fixture->ca);
    assert_client_refused(fixture, &files, "unsupported certificate",
                          "its certificate is refused: unsuitable");
}

static void certificates_for_no_use_in_particular_are_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    struct end_files files;
    struct cert_spec spec = node_spec();
    spec.for_clients = spec.for_servers = false;
    end_files_make(fixture, &files, "for-nothing", &spec, fixture->ca);

    assert_client_refused(fixture, &files, "unsupported certificate",
                          "its certificate is refused: unsuitable");
    assert_server_refused(fixture, &files, "its certificate is refused: unsuitable",
                          "unsupported certificate");
}

static void a_server_with_another_name_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;

    assert_refused(&fixture->client, &fixture->node, "127.0.0.2", "IP address mismatch",
                   "the other side refuses");
    assert_refused(&fixture->client, &fixture->node, "node2.example", "hostname mismatch",
                   "the other side refuses");
    assert_refused(&fixture->client, &fixture->node, "node1.example.org",
                   "hostname mismatch", "the other side refuses");
}

static void names_that_are_none_are_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    static const char *const uris[] = {
        "netlock://test/node/0",     "netlock://test/node/01",
        "netlock://test/node/-1",    "netlock://test/node/1/2",
        "netlock://test/node/",      "netlock://test/node/99999999999999999999",
        "netlock:///node/1",         "netlock://test/client/",
        "netlock://test/client/a/b", "netlock://test/client/a%62",
        "netlock://test/robot/1",    "netlock://test",
        "netlock://test/client/a b", "netlock://",
    };

    for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
        struct end_files files;
        char name[32];
        struct cert_spec spec = client_spec();
        spec.uri = uris[i];
        snprintf(name, sizeof(name), "name%zu", i);
        end_files_make(fixture, &files, name, &spec, fixture->ca);
        assert_client_refused(fixture, &files, "the other side refuses",
                              "its netlock:// name is neither");
    }
}

static void a_client_that_names_nobody_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    struct end_files files;
    struct cert_spec spec = client_spec();
    spec.uri = NULL;
    spec.common_name = "a name with blanks";
    end_files_make(fixture, &files, "nobody", &spec, fixture->ca);

    assert_client_refused(fixture, &files, "the other side refuses", "it names nobody");
}

/* ---- other programs than ours ---- */

/* A client that does as it likes. */
struct stranger {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out;
};

static struct stranger stranger_new(const struct end_files *files, int version)
{
    struct stranger stranger = {.context = SSL_CTX_new(TLS_client_method()),
                                .in = BIO_new(BIO_s_mem()),
                                .out = BIO_new(BIO_s_mem())};

    SSL_CTX_set_max_proto_version(stranger.context, version);
    if (files != NULL) {
        SSL_CTX_use_certificate_file(stranger.context, files->cert, SSL_FILETYPE_PEM);
        SSL_CTX_use_PrivateKey_file(stranger.context, files->key, SSL_FILETYPE_PEM);
    }
    stranger.ssl = SSL_new(stranger.context);
    SSL_set_bio(stranger.ssl, stranger.in, stranger.out);
    SSL_set_connect_state(stranger.ssl);
    return stranger;
}

static void assert_stranger_refused(struct tls_fixture *fixture,
                                    struct stranger stranger,
                                    const char *server_says)
{
    struct tls_context *context = context_of(TLS_SERVER, &fixture->node);
    struct tls *server = tls_new(context, NULL);
    uint8_t text[100], bytes[20000];
    tls_context_free(context);

    for (int i = 0; i < 4; i++) {
        (void)SSL_do_handshake(stranger.ssl);
        int len = BIO_read(stranger.out, bytes, sizeof(bytes));
        if (len > 0) {
            tls_feed(server, bytes, (size_t)len);
            assert_true(tls_read(server, text, sizeof(text)) <= 0);
        }
        struct wire_buf *out = tls_output(server);
        BIO_write(stranger.in, out->data, (int)out->len);
        out->len = 0;
    }

    assert_false(tls_is_established(server));
    assert_says(server, server_says);
    assert_true(SSL_read(stranger.ssl, text, sizeof(text)) <= 0);
    tls_free(server);
    SSL_free(stranger.ssl);
    SSL_CTX_free(stranger.context);
}

static void a_client_without_a_certificate_is_refused(void **state)
{
    assert_stranger_refused(*state, stranger_new(NULL, TLS1_3_VERSION),
                            "did not return a certificate");
}

static void tls_1_2_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;

    assert_stranger_refused(fixture, stranger_new(&fixture->client, TLS1_2_VERSION),
                            "unsupported protocol");
}

static void plain_text_is_answered_with_an_alert(void **state)
{
    struct tls_fixture *fixture = *state;
    static const char *const texts[] = {"GET / HTTP/1.0\r\n\r\n",
                                        "SSH-2.0-OpenSSH_9.2\r\n",
                                        "\0\0\0\x2a\x0a\x05hello, is this netlock?"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct tls_context *context = context_of(TLS_SERVER, &fixture->node);
        struct tls *server = tls_new(context, NULL);
        uint8_t out[10];
        tls_context_free(context);

        tls_feed(server, (const uint8_t *)texts[i], 16);
        assert_int_equal(tls_read(server, out, sizeof(out)), -EPROTO);

        assert_says(server, "does not speak TLS");
        assert_int_equal(tls_output(server)->len, 7);
        assert_int_equal(tls_output(server)->data[0], 21); /* an alert */
        tls_free(server);
    }
}

#define TEST(name)                                                                       \
    cmocka_unit_test_setup_teardown(name, tls_fixture_set_up, tls_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(both_sides_know_each_other),
        TEST(names_and_addresses_of_the_node_pass),
        TEST(a_client_without_a_uri_has_its_common_name),
        TEST(text_goes_both_ways_and_one_write_is_one_record),
        TEST(a_megabyte_arrives_byte_by_byte),
        TEST(nothing_is_taken_before_the_handshake),
        TEST(a_session_outlives_its_context),
        TEST(a_close_is_an_end_and_the_other_way_stays_open),
        TEST(an_end_without_a_close_is_an_error),
        TEST(half_a_record_and_the_end_is_an_error),
        TEST(a_server_that_hangs_up_at_once_may_be_plain),
        TEST(every_flipped_bit_ends_the_session),
        TEST(a_client_of_another_ca_is_refused),
        TEST(expired_certificates_are_refused),
        TEST(certificates_of_the_future_are_refused),
        TEST(certificates_for_another_use_are_refused),
        TEST(certificates_for_no_use_in_particular_are_refused),
        TEST(a_server_with_another_name_is_refused),
        TEST(names_that_are_none_are_refused),
        TEST(a_client_that_names_nobody_is_refused),
        TEST(a_client_without_a_certificate_is_refused),
        TEST(tls_1_2_is_refused),
        TEST(plain_text_is_answered_with_an_alert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
