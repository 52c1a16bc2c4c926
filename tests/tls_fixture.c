#include "tls_fixture.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DAY_S = 86400 };

static const char *const node_hosts[] = {"node1.example", "127.0.0.1", "::1"};

struct cert_spec node_spec(void)
{
    return (struct cert_spec){
        .common_name = "node 1",
        .uri = "netlock://test/node/1",
        .hosts = node_hosts,
        .hosts_count = sizeof(node_hosts) / sizeof(node_hosts[0]),
        .for_servers = true,
        .for_clients = true,
        .valid_from_s = -DAY_S,
        .valid_for_s = 10 * DAY_S,
    };
}

struct cert_spec client_spec(void)
{
    return (struct cert_spec){
        .common_name = "alice",
        .uri = "netlock://test/client/alice",
        .for_clients = true,
        .valid_from_s = -DAY_S,
        .valid_for_s = 10 * DAY_S,
    };
}

static struct cert *ca_new(const char *name)
{
    const struct cert_spec spec = {.common_name = name,
                                   .is_ca = true,
                                   .valid_from_s = -100 * DAY_S,
                                   .valid_for_s = 1000 * DAY_S};
    char error[CERT_ERROR_BYTES] = "";
    struct cert *ca = NULL;

    int rv = cert_new(&ca, &spec, NULL, error);
    assert_string_equal(error, "");
    assert_int_equal(rv, 0);
    return ca;
}

static void save(const struct cert *cert, const char *cert_path, const char *key_path)
{
    char error[CERT_ERROR_BYTES] = "";

    int rv = cert_save(cert, cert_path, key_path, error);
    assert_string_equal(error, "");
    assert_int_equal(rv, 0);
}

void end_files_make(struct tls_fixture *fixture,
                    struct end_files *ret,
                    const char *name,
                    const struct cert_spec *spec,
                    const struct cert *issuer)
{
    char error[CERT_ERROR_BYTES] = "";
    struct cert *cert = NULL;

    int rv = cert_new(&cert, spec, issuer, error);
    assert_string_equal(error, "");
    assert_int_equal(rv, 0);
    snprintf(ret->ca, FIXTURE_PATH_BYTES, "%s/%s.pem", fixture->dir,
             issuer == fixture->other_ca ? "other-ca" : "ca");
    snprintf(ret->cert, FIXTURE_PATH_BYTES, "%s/%s.pem", fixture->dir, name);
    snprintf(ret->key, FIXTURE_PATH_BYTES, "%s/%s.key", fixture->dir, name);
    ret->files = (struct tls_files){ret->ca, ret->cert, ret->key};
    save(cert, ret->cert, ret->key);
    cert_free(cert);
}

int tls_fixture_set_up(void **state)
{
    struct tls_fixture *fixture = calloc(1, sizeof(*fixture));
    struct cert_spec node = node_spec();
    struct cert_spec client = client_spec();
    char cert_path[FIXTURE_PATH_BYTES], key_path[FIXTURE_PATH_BYTES];

    assert_non_null(fixture);
    snprintf(fixture->dir, sizeof(fixture->dir), "/tmp/netlock-tls-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    fixture->ca = ca_new("a CA");
    fixture->other_ca = ca_new("another CA");
    snprintf(cert_path, sizeof(cert_path), "%s/ca.pem", fixture->dir);
    snprintf(key_path, sizeof(key_path), "%s/ca.key", fixture->dir);
    save(fixture->ca, cert_path, key_path);
    snprintf(cert_path, sizeof(cert_path), "%s/other-ca.pem", fixture->dir);
    snprintf(key_path, sizeof(key_path), "%s/other-ca.key", fixture->dir);
    save(fixture->other_ca, cert_path, key_path);
    end_files_make(fixture, &fixture->node, "node", &node, fixture->ca);
    end_files_make(fixture, &fixture->client, "client", &client, fixture->ca);
    *state = fixture;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int tls_fixture_tear_down(void **state)
{
    struct tls_fixture *fixture = *state;

    nftw(fixture->dir, remove_one, 4, FTW_DEPTH | FTW_PHYS);
    cert_free(fixture->ca);
    cert_free(fixture->other_ca);
    free(fixture);
    return 0;
}

struct tls_context *context_of(enum tls_role role, const struct end_files *files)
{
    char error[TLS_ERROR_BYTES] = "";
    struct tls_context *context = NULL;

    int rv = tls_context_new(&context, role, &files->files, error);
    assert_string_equal(error, "");
    assert_int_equal(rv, 0);
    return context;
}

struct tls_pair
pair_new(const struct end_files *client, const struct end_files *server, const char *host)
{
    struct tls_context *client_context = context_of(TLS_CLIENT, client);
    struct tls_context *server_context = context_of(TLS_SERVER, server);
    struct tls_pair pair = {
        .client = tls_new(client_context, host),
        .server = tls_new(server_context, NULL),
    };

    assert_non_null(pair.client);
    assert_non_null(pair.server);
    tls_context_free(client_context);
    tls_context_free(server_context);
    return pair;
}

void pair_free(struct tls_pair *pair)
{
    tls_free(pair->client);
    tls_free(pair->server);
}

void carry(struct tls *from, struct tls *to)
{
    struct wire_buf *out = tls_output(from);
    uint8_t text[1000];

    tls_feed(to, out->data, out->len);
    while (tls_read(to, text, sizeof(text)) > 0) {
    }
    out->len = 0;
}

void pair_run(struct tls_pair *pair)
{
    (void)tls_handshake(pair->client);
    while (tls_output(pair->client)->len != 0 || tls_output(pair->server)->len != 0) {
        carry(pair->client, pair->server);
        carry(pair->server, pair->client);
    }
}

void expect_text(struct tls *tls, const char *text)
{
    uint8_t got[1000];

    ssize_t len = tls_read(tls, got, sizeof(got));
    assert_int_equal(len, (ssize_t)strlen(text));
    assert_memory_equal(got, text, strlen(text));
}
