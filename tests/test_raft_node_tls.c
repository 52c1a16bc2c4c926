/* Nodes that speak TLS with each other: a cluster as any other, and nobody in it without a certificate. */
#include "nodes.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_fixture.h"

struct secured {
    struct fixture *nodes;
    struct tls_fixture *certs;
    struct end_files files[NODES];
    bool plain[NODES];
};

static void give_certificates(struct fixture *f, int i)
{
    const struct secured *s = f->on_new_arg;

    if (!s->plain[i]) {
        raft_node_set_tls(f->hosts[i].node, context_of(TLS_SERVER, &s->files[i]),
                          context_of(TLS_CLIENT, &s->files[i]));
    }
}

static void make_certificate(struct secured *s, int i, const char *name, const char *uri)
{
    struct cert_spec spec = node_spec();

    spec.uri = uri;
    end_files_make(s->certs, &s->files[i], name, &spec, s->certs->ca);
}

static int setup(void **state)
{
    static const char *const uris[NODES] = {
        "netlock://test/node/1", "netlock://test/node/2", "netlock://test/node/3"};
    static const char *const names[NODES] = {"n1", "n2", "n3"};
    struct secured *s = calloc(1, sizeof *s);

    assert_non_null(s);
    nodes_setup((void **)&s->nodes);
    tls_fixture_set_up((void **)&s->certs);
    for (int i = 0; i < NODES; i++) {
        make_certificate(s, i, names[i], uris[i]);
    }
    s->nodes->on_new = give_certificates;
    s->nodes->on_new_arg = s;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct secured *s = *state;

    nodes_teardown((void **)&s->nodes);
    tls_fixture_tear_down((void **)&s->certs);
    free(s);
    return 0;
}

static void three_nodes_agree_and_one_comes_back(void **state)
{
    struct fixture *f = ((struct secured *)*state)->nodes;

    nodes_start_three(f);
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 20);
    nodes_assert_equal(f);
    int gone = nodes_index_of(f, nodes_leader(f));
    node_close(f, gone);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    nodes_lock_many(f, "c", 20, 40);
    node_start(f, gone);
    nodes_assert_equal(f);
    assert_int_equal(node_counts(f, gone).holds, 40);
}

static void a_snapshot_comes_through(void **state)
{
    struct fixture *f = ((struct secured *)*state)->nodes;

    f->trace = true;
    f->snapshot_threshold = 10;
    f->snapshot_trailing = 5;
    nodes_start_three(f);
    nodes_attach(f, "c");
    int gone = (nodes_index_of(f, nodes_leader(f)) + 1) % NODES;
    node_close(f, gone);
    nodes_lock_many(f, "c", 0, 60);
    node_start(f, gone);
    nodes_lock_many(f, "c", 60, 61);
    nodes_assert_equal(f);
    assert_true(f->hosts[gone].got_snapshot);
}

static void new_certificates_do_not_disturb_the_cluster(void **state)
{
    struct secured *s = *state;
    struct fixture *f = s->nodes;

    nodes_start_three(f);
    nodes_attach(f, "c");
    make_certificate(s, 0, "n1-new", "netlock://test/node/1");
    for (int i = 0; i < NODES; i++) {
        give_certificates(f, i);
    }
    nodes_lock_many(f, "c", 0, 20);
    nodes_assert_equal(f);
}

static bool somebody_logged_the_refusal(struct fixture *f)
{
    for (int i = 0; i < NODES; i++) {
        if (host_has_line(&f->hosts[i], "does not speak TLS")) {
            return true;
        }
    }
    return false;
}

static void a_node_in_plain_text_stays_out(void **state)
{
    struct secured *s = *state;
    struct fixture *f = s->nodes;

    s->plain[2] = true;
    nodes_start_three(f);
    assert_true(nodes_leader(f) != &f->hosts[2]);
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 5);
    assert_true(nodes_run_until(f, somebody_logged_the_refusal, WAIT_MS_MAX));
    assert_int_equal(node_counts(f, 2).holds, 0);
}

static bool told_both(struct fixture *f)
{
    static const char reason[] =
        "the certificate is of node 1 of cluster test, not of node 3";

    return (host_has_line(&f->hosts[0], reason) || host_has_line(&f->hosts[1], reason)) &&
           host_has_line(&f->hosts[2], reason);
}

static void a_node_with_the_certificate_of_another_stays_out(void **state)
{
    struct secured *s = *state;
    struct fixture *f = s->nodes;

    s->files[2] = s->files[0];
    nodes_start_three(f);
    assert_true(nodes_leader(f) != &f->hosts[2]);
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 5);
    assert_true(nodes_run_until(f, told_both, WAIT_MS_MAX));
    assert_int_equal(node_counts(f, 2).holds, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(three_nodes_agree_and_one_comes_back),
        TEST(a_snapshot_comes_through),
        TEST(new_certificates_do_not_disturb_the_cluster),
        TEST(a_node_in_plain_text_stays_out),
        TEST(a_node_with_the_certificate_of_another_stays_out),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
