/* Contexts: what is refused of CA, certificate and key, and whether the message names file and reason. */
#include "tls_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DAY_S = 86400 };

static void assert_context_refused(enum tls_role role,
                                   const struct end_files *files,
                                   const char *file,
                                   const char *words)
{
    struct tls_context *context = NULL;
    char error[TLS_ERROR_BYTES] = "";

    assert_true(tls_context_new(&context, role, &files->files, error) < 0);

    assert_null(context);
    if (strncmp(error, file, strlen(file)) != 0 || strstr(error, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s: %s\"", error, file, words);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_context_knows_whose_it_is(void **state)
{
    struct tls_fixture *fixture = *state;
    struct tls_context *context = context_of(TLS_SERVER, &fixture->node);

    assert_int_equal(tls_context_identity(context)->kind, TLS_NODE);
    assert_int_equal(tls_context_identity(context)->node_id, 1);
    tls_context_free(context);
    tls_context_free(NULL);
}

static void missing_files_are_named(void **state)
{
    struct tls_fixture *fixture = *state;
    struct end_files files = fixture->node;

    files.files.ca = "/nonexistent/ca.pem";
    assert_context_refused(TLS_SERVER, &files, "/nonexistent/ca.pem", "No such file");
    files.files = fixture->node.files;
    files.files.cert = "/nonexistent/node.pem";
    assert_context_refused(TLS_SERVER, &files, "/nonexistent/node.pem", "No such file");
    files.files = fixture->node.files;
    files.files.key = "/nonexistent/node.key";
    assert_context_refused(TLS_SERVER, &files, "/nonexistent/node.key", "No such file");
    files.files.key = fixture->dir;
    assert_context_refused(TLS_SERVER, &files, fixture->dir, "not a file");
}

static void what_is_no_pem_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    const struct end_files *files = &fixture->node;

    write_file(files->ca,
               "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_context_refused(TLS_SERVER, files, files->ca, "damaged");
    write_file(files->ca, "");
    assert_context_refused(TLS_SERVER, files, files->ca, "no certificate");
    write_file(fixture->client.key, "a secret");
    write_file(files->ca, "a certificate");
    assert_context_refused(TLS_CLIENT, &fixture->client, files->ca, "no certificate");
}

static void a_key_that_is_none_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;

    write_file(fixture->node.key, "a secret");
    assert_context_refused(TLS_SERVER, &fixture->node, fixture->node.key,
                           "no private key");
}

static void a_key_that_others_can_read_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    static const mode_t modes[] = {0604, 0602, 0644, 0620, 0777};

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        assert_int_equal(chmod(fixture->node.key, modes[i]), 0);
        assert_context_refused(TLS_SERVER, &fixture->node, fixture->node.key,
                               "chmod 600");
    }
    assert_int_equal(chmod(fixture->node.key, 0400), 0);
    tls_context_free(context_of(TLS_SERVER, &fixture->node));
}

static void the_group_may_read_the_key_of_root_only(void **state)
{
    struct tls_fixture *fixture = *state;

    assert_int_equal(chmod(fixture->node.key, 0640), 0);
    if (geteuid() == 0) {
        tls_context_free(context_of(TLS_SERVER, &fixture->node));
        assert_int_equal(chown(fixture->node.key, 12345, (gid_t)-1), 0);
    }
    assert_context_refused(TLS_SERVER, &fixture->node, fixture->node.key, "chmod 600");
}

static void a_key_with_a_passphrase_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;

    write_file(fixture->node.key,
               "-----BEGIN EC PRIVATE KEY-----\n"
               "Proc-Type: 4,ENCRYPTED\n"
               "DEK-Info: AES-128-CBC,BCA3E8D3C7D3C1BE4DD17FD0C3C1E4A5\n\n"
               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
               "-----END EC PRIVATE KEY-----\n");
    assert_context_refused(TLS_SERVER, &fixture->node, fixture->node.key, "passphrase");
}

static void the_key_of_another_certificate_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;

    fixture->node.files.key = fixture->client.key;
    assert_context_refused(TLS_SERVER, &fixture->node, fixture->client.key,
                           "not the key of the certificate");
}

static void a_certificate_that_others_would_refuse_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    struct end_files files;

    struct cert_spec spec = node_spec();
    spec.valid_from_s = -2 * DAY_S;
    spec.valid_for_s = DAY_S;
    end_files_make(fixture, &files, "old", &spec, fixture->ca);
    assert_context_refused(TLS_SERVER, &files, files.cert, "certificate has expired");

    spec = node_spec();
    spec.valid_from_s = DAY_S;
    end_files_make(fixture, &files, "new", &spec, fixture->ca);
    assert_context_refused(TLS_CLIENT, &files, files.cert, "not yet valid");

    spec = client_spec();
    end_files_make(fixture, &files, "wrong-use", &spec, fixture->ca);
    assert_context_refused(TLS_SERVER, &files, files.cert, "not made for servers");

    spec = node_spec();
    end_files_make(fixture, &files, "wrong-ca", &spec, fixture->other_ca);
    files.files.ca = fixture->node.ca;
    assert_context_refused(TLS_SERVER, &files, files.cert, "seen from the CA in");

    spec.uri = "netlock://test/node/nine";
    end_files_make(fixture, &files, "wrong-name", &spec, fixture->ca);
    assert_context_refused(TLS_SERVER, &files, files.cert, "netlock:// name");
}

static void a_ca_that_is_none_is_refused(void **state)
{
    struct tls_fixture *fixture = *state;

    fixture->node.files.ca = fixture->client.cert;
    assert_context_refused(TLS_SERVER, &fixture->node, fixture->client.cert, "no CA");
}

/* ---- cert.c ---- */

static void nothing_is_overwritten(void **state)
{
    struct tls_fixture *fixture = *state;
    char error[CERT_ERROR_BYTES] = "";
    char fresh[FIXTURE_PATH_BYTES];
    snprintf(fresh, sizeof(fresh), "%s/fresh.key", fixture->dir);

    assert_int_equal(cert_save(fixture->ca, fixture->node.cert, fresh, error), -EEXIST);
    assert_int_not_equal(access(fresh, F_OK), 0);
    assert_int_equal(cert_save(fixture->ca, fresh, fixture->node.key, error), -EEXIST);
    assert_int_not_equal(access(fresh, F_OK), 0);
    tls_context_free(context_of(TLS_SERVER, &fixture->node));
}

static void a_key_file_is_for_its_owner_alone(void **state)
{
    struct tls_fixture *fixture = *state;
    struct stat st;

    assert_int_equal(stat(fixture->node.key, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void hosts_that_are_none_are_refused(void **state)
{
    struct tls_fixture *fixture = *state;
    static const char *const hosts[] = {"", "a b", "host:7670", "-x", "a,DNS:b"};

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct cert_spec spec = node_spec();
        struct cert *cert = NULL;
        char error[CERT_ERROR_BYTES] = "";
        spec.hosts = &hosts[i];
        spec.hosts_count = 1;
        assert_int_equal(cert_new(&cert, &spec, fixture->ca, error), -EINVAL);
        assert_non_null(strstr(error, "neither a host name nor an IP address"));
    }
}

#define TEST(name)                                                                       \
    cmocka_unit_test_setup_teardown(name, tls_fixture_set_up, tls_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_context_knows_whose_it_is),
        TEST(missing_files_are_named),
        TEST(what_is_no_pem_is_refused),
        TEST(a_key_that_is_none_is_refused),
        TEST(a_key_that_others_can_read_is_refused),
        TEST(the_group_may_read_the_key_of_root_only),
        TEST(a_key_with_a_passphrase_is_refused),
        TEST(the_key_of_another_certificate_is_refused),
        TEST(a_certificate_that_others_would_refuse_is_refused),
        TEST(a_ca_that_is_none_is_refused),
        TEST(nothing_is_overwritten),
        TEST(a_key_file_is_for_its_owner_alone),
        TEST(hosts_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
