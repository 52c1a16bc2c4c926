/* Where the client library looks for the leader. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client_servers.h"

static struct wire_str str(const char *text)
{
    return (struct wire_str){.data = text, .len = strlen(text)};
}

static void expect_next(struct client_servers *servers, const char *text)
{
    struct client_server *server = client_servers_next(servers);
    assert_non_null(server);
    char out[SERVER_TEXT_BYTES];
    client_server_format(server, out);
    assert_string_equal(out, text);
}

static void addresses_are_host_and_port_and_v6_has_brackets(void **state)
{
    (void)state;
    static const struct {
        const char *text, *again; /* again NULL: refused */
    } cases[] = {
        {"db1:7670", "db1:7670"}, {"db1", "db1:7670"}, {"[::1]:80", "[::1]:80"},
        {"[::1]", "[::1]:7670"},  {"", NULL},          {":80", NULL},
        {"db1:", NULL},           {"db1:0", NULL},     {"db1:65536", NULL},
        {"db1:80x", NULL},        {"db1:1:2", NULL},   {"[::1", NULL},
        {"[::1]80", NULL},        {"[]:80", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client_server server;
        int rv = client_server_parse(&server, cases[i].text, strlen(cases[i].text));
        assert_int_equal(rv, cases[i].again != NULL ? 0 : -EINVAL);
        if (rv == 0) {
            char out[SERVER_TEXT_BYTES];
            client_server_format(&server, out);
            assert_string_equal(out, cases[i].again);
        }
    }
}

static void a_host_name_of_255_bytes_fits_and_256_do_not(void **state)
{
    (void)state;
    char text[SERVER_HOST_BYTES_MAX + 8];
    struct client_server server;
    memset(text, 'h', sizeof(text));
    memcpy(text + SERVER_HOST_BYTES_MAX, ":65535", 6);
    assert_int_equal(client_server_parse(&server, text, SERVER_HOST_BYTES_MAX + 6), 0);
    char out[SERVER_TEXT_BYTES];
    client_server_format(&server, out);
    assert_int_equal(strlen(out), SERVER_HOST_BYTES_MAX + 6);
    assert_int_equal(client_server_parse(&server, text, SERVER_HOST_BYTES_MAX), 0);
    memset(text, 'h', sizeof(text));
    assert_int_equal(client_server_parse(&server, text, SERVER_HOST_BYTES_MAX + 1),
                     -EINVAL);
}

static void a_round_tries_each_server_once(void **state)
{
    (void)state;
    struct client_servers servers;
    assert_int_equal(
        client_servers_init(&servers, "127.0.0.1:1, 127.0.0.2:2 ,127.0.0.3:3", 1), 0);

    expect_next(&servers, "127.0.0.2:2");
    expect_next(&servers, "127.0.0.3:3");
    expect_next(&servers, "127.0.0.1:1");
    assert_null(client_servers_next(&servers));
    expect_next(&servers, "127.0.0.2:2");
    client_servers_found(&servers);
    expect_next(&servers, "127.0.0.3:3");
    client_servers_release(&servers);
}

static void lists_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct client_servers servers;
    char many[2 * (SERVERS_MAX + 1) + 1] = "";
    for (size_t i = 0; i < SERVERS_MAX + 1; i++)
        memcpy(many + 2 * i, "h,", 3);
    many[2 * (SERVERS_MAX + 1) - 1] = 0;

    assert_int_equal(client_servers_init(&servers, "", 0), -EINVAL);
    assert_int_equal(client_servers_init(&servers, "127.0.0.1:1,", 0), -EINVAL);
    assert_int_equal(client_servers_init(&servers, ",127.0.0.1:1", 0), -EINVAL);
    assert_int_equal(client_servers_init(&servers, many, 0), -EINVAL);
}

static void a_hint_comes_next_but_not_for_ever(void **state)
{
    (void)state;
    struct client_servers servers;
    assert_int_equal(client_servers_init(&servers, "127.0.0.1:1", 0), 0);

    expect_next(&servers, "127.0.0.1:1");
    client_servers_hint(&servers, str("nonsense:x"));
    assert_null(client_servers_next(&servers));
    int followed = 0;
    for (; followed < 100; followed++) {
        client_servers_hint(&servers, str("127.0.0.9:9"));
        struct client_server *server = client_servers_next(&servers);
        if (server == NULL || server->port[0] != '9')
            break;
    }
    assert_in_range(followed, 1, 10);
    client_servers_release(&servers);
}

static void members_are_learned_beside_the_given_servers(void **state)
{
    (void)state;
    struct client_servers servers;
    struct wire_member members[] = {
        {.client_address = str("127.0.0.1:1")}, /* given already */
        {.client_address = str("127.0.0.4:4")},
        {.client_address = str("")},
        {.client_address = str("127.0.0.5:5")},
    };
    assert_int_equal(client_servers_init(&servers, "127.0.0.1:1", 0), 0);

    client_servers_learn(&servers, members, 4, false);
    expect_next(&servers, "127.0.0.1:1");
    expect_next(&servers, "127.0.0.4:4");
    expect_next(&servers, "127.0.0.5:5");
    assert_null(client_servers_next(&servers));
    client_servers_learn(&servers, members, 2, false); /* one has left */
    assert_int_equal(servers.learned_count, 1);
    client_servers_learn(&servers, NULL, 0, false);
    assert_int_equal(servers.learned_count, 0);
    client_servers_release(&servers);
}

static void a_name_is_looked_up_only_where_waiting_is_allowed(void **state)
{
    (void)state;
    struct client_server server;
    assert_int_equal(client_server_parse(&server, "localhost:1", 11), 0);

    assert_int_equal(client_server_resolve(&server, false), -EHOSTUNREACH);
    assert_int_equal(client_server_resolve(&server, true), 0);
    size_t count = server.addresses_count;
    assert_true(count > 0);
    assert_int_equal(client_server_resolve(&server, false),
                     0); /* what is known from before */
    assert_int_equal(server.addresses_count, count);
    assert_int_equal(client_server_parse(&server, "[::1]:1", 7), 0);
    assert_int_equal(client_server_resolve(&server, false), 0);
}

static void what_is_known_of_a_server_serves_its_hint(void **state)
{
    (void)state;
    struct client_servers servers;
    assert_int_equal(client_servers_init(&servers, "localhost:1", 0), 0);

    client_servers_hint(&servers, str("localhost:1"));

    struct client_server *server = client_servers_next(&servers);
    assert_non_null(server);
    assert_true(server->addresses_count > 0);
    client_servers_release(&servers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_host_and_port_and_v6_has_brackets),
        cmocka_unit_test(a_host_name_of_255_bytes_fits_and_256_do_not),
        cmocka_unit_test(a_round_tries_each_server_once),
        cmocka_unit_test(lists_that_make_no_sense_are_refused),
        cmocka_unit_test(a_hint_comes_next_but_not_for_ever),
        cmocka_unit_test(members_are_learned_beside_the_given_servers),
        cmocka_unit_test(a_name_is_looked_up_only_where_waiting_is_allowed),
        cmocka_unit_test(what_is_known_of_a_server_serves_its_hint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
