/* Permissions on a real server: who shows what, what it may ask, and that an id belongs to
 * who made it. */
#include "server_fixture.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char token_a[] = "token-a-0123456789abcdef";
static const char token_b[] = "token-b-0123456789abcdef";
static const char token_ops[] = "token-ops-0123456789abcdef";

static const char rules[] = "allow a read,write shop/*\n"
                            "allow b read       shop/*\n"
                            "allow b status     shop/*\n"
                            "deny  ops force    shop/vault\n"
                            "allow ops status,force *\n";

struct access_fixture {
    struct fixture server;
    char acl[64], tokens[64];
};

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void add_token(char *text, size_t size, const char *name, const char *token)
{
    unsigned char hash[32];
    size_t len = strlen(text);

    assert_int_equal(EVP_Digest(token, strlen(token), hash, NULL, EVP_sha256(), NULL), 1);
    len += (size_t)snprintf(text + len, size - len, "%s:", name);
    for (size_t i = 0; i < sizeof(hash); i++) {
        len += (size_t)snprintf(text + len, size - len, "%02x", hash[i]);
    }
    snprintf(text + len, size - len, "\n");
}

static void write_tokens(struct access_fixture *fixture)
{
    char text[1024] = "";

    add_token(text, sizeof(text), "a", token_a);
    add_token(text, sizeof(text), "b", token_b);
    add_token(text, sizeof(text), "ops", token_ops);
    write_text(fixture->tokens, text);
}

static void make_file(char *path, size_t size)
{
    snprintf(path, size, "/tmp/netlock-access-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static int setup(void **state)
{
    struct access_fixture *fixture = calloc(1, sizeof(*fixture));
    char error[SERVER_ERROR_BYTES];

    assert_non_null(fixture);
    make_file(fixture->acl, sizeof(fixture->acl));
    make_file(fixture->tokens, sizeof(fixture->tokens));
    /* The fixture has to see that it serves. */
    write_text(fixture->acl, "allow anonymous status *\n");
    fixture_start(&fixture->server,
                  (const char *const[]){"--acl-file", fixture->acl, "--tokens-file",
                                        fixture->tokens, NULL});
    write_text(fixture->acl, rules);
    write_tokens(fixture);
    assert_int_equal(server_reload(fixture->server.server, error), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct access_fixture *fixture = *state;

    fixture_stop(&fixture->server);
    unlink(fixture->acl);
    unlink(fixture->tokens);
    free(fixture);
    return 0;
}

static void say_hello(struct peer *peer, const char *token)
{
    struct wire_request hello = {
        .type = WIRE_REQ_HELLO,
        .hello = {.version_min = 1, .version_max = 1, .token = str(token)},
    };
    peer_send(peer, &hello);
}

static void open_as(struct peer *peer, void **state, const char *token)
{
    peer_open(peer, &((struct access_fixture *)*state)->server);
    say_hello(peer, token);
    peer_expect(peer, WIRE_RESP_HELLO);
}

static void expect_stranger(struct peer *peer, const char *part)
{
    struct wire_response response = peer_expect(peer, WIRE_RESP_ERROR);
    char text[256];

    assert_int_equal(response.error.code, WIRE_ERROR_NOT_ALLOWED);
    snprintf(text, sizeof(text), "%.*s", (int)response.error.text.len,
             response.error.text.data);
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" says nothing of \"%s\"", text, part);
    }
    peer_expect_end(peer);
    peer_close(peer);
}

static void
send_lock(struct peer *peer, const char *client, const char *lock, enum wire_type type)
{
    struct wire_request request = {.type = WIRE_REQ_LOCK,
                                   .client = str(client),
                                   .lock = str(lock),
                                   .lock_ = {.limit = 1, .type = type}};
    peer_send(peer, &request);
}

static void expect_not_allowed(struct peer *peer)
{
    struct wire_response response = peer_expect(peer, WIRE_RESP_DENIED);
    assert_int_equal(response.denied.reason, WIRE_DENY_NOT_ALLOWED);
}

static void send_about(struct peer *peer, enum wire_request_type type, const char *lock)
{
    struct wire_request request = {.type = type, .lock = str(lock)};

    if (type == WIRE_REQ_FORCE_RELEASE) {
        request.force_release.token = 1;
    }
    peer_send(peer, &request);
}

static void send_list(struct peer *peer, const char *prefix)
{
    struct wire_request request = {.type = WIRE_REQ_LIST_LOCKS,
                                   .list = {.prefix = str(prefix), .max = 10}};
    peer_send(peer, &request);
}

static void expect_error_not_allowed(struct peer *peer)
{
    assert_int_equal(peer_expect(peer, WIRE_RESP_ERROR).error.code,
                     WIRE_ERROR_NOT_ALLOWED);
}

/* ---- who ---- */

static void who_shows_nothing_gets_nothing_but_an_error(void **state)
{
    struct access_fixture *fixture = *state;
    struct peer peer;

    peer_open(&peer, &fixture->server);
    say_hello(&peer, "");
    expect_stranger(&peer, "not known here");
    peer_open(&peer, &fixture->server);
    send_lock(&peer, "", "shop/1", WIRE_WRITE);
    peer_expect_end(&peer);
    peer_close(&peer);
}

/* Not even what is wrong with its question. */
static void who_says_nothing_of_itself_gets_no_answer(void **state)
{
    struct access_fixture *fixture = *state;
    char name[300];
    struct peer peer;

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    peer_open(&peer, &fixture->server);
    send_lock(&peer, "", name, WIRE_WRITE);
    peer_expect_end(&peer);
    peer_close(&peer);
}

static void a_wrong_token_ends_the_connection(void **state)
{
    struct access_fixture *fixture = *state;
    struct peer peer;

    peer_open(&peer, &fixture->server);
    say_hello(&peer, "token-a-0123456789abcdeF");
    expect_stranger(&peer, "not a token");
}

static void a_connection_does_not_change_hands(void **state)
{
    struct peer peer;

    open_as(&peer, state, token_a);
    send_lock(&peer, "worker-1", "shop/1", WIRE_WRITE);
    peer_expect(&peer, WIRE_RESP_GRANTED);
    say_hello(&peer, token_a);
    peer_expect(&peer, WIRE_RESP_HELLO);
    say_hello(&peer, token_b);
    expect_stranger(&peer, "somebody else's");
}

/* Says Hello with @token, and whether the answer's text has @part; "" is a welcome. */
static bool is_answered(void **state, const char *token, const char *part)
{
    struct access_fixture *fixture = *state;
    struct peer peer;
    char text[256] = "";

    peer_open(&peer, &fixture->server);
    say_hello(&peer, token);
    struct wire_response response = peer_expect_any(&peer);
    if (response.type == WIRE_RESP_ERROR) {
        snprintf(text, sizeof(text), "%.*s", (int)response.error.text.len,
                 response.error.text.data);
    }
    peer_close(&peer);
    return part[0] == '\0' ? text[0] == '\0' : strstr(text, part) != NULL;
}

/* Wrong tokens, each another one, until the address has to wait. */
static void guess(void **state)
{
    char token[64];
    int guesses = 0;

    /* On a slow machine more than five: each is forgiven after a second. */
    do {
        snprintf(token, sizeof(token), "0123456789abcdef-guess-%d", guesses);
    } while (!is_answered(state, token, "too many") && ++guesses < 100);
    assert_in_range(guesses, 5, 99);
}

static void who_guesses_has_to_wait(void **state)
{
    struct access_fixture *fixture = *state;

    guess(state);
    for (int i = 0; i < 100 && !is_answered(state, token_a, ""); i++) {
        fixture_run(&fixture->server, 100);
        assert_int_not_equal(i, 99);
    }
}

/* Whose token is right, and has to wait because of others, is not told that it is wrong. */
static void who_waits_for_guesses_is_told_to_ask_again(void **state)
{
    struct access_fixture *fixture = *state;
    struct peer peer;

    for (int i = 0; i < 100; i++) {
        guess(state);
        peer_open(&peer, &fixture->server);
        say_hello(&peer, token_a);
        struct wire_response response = peer_expect_any(&peer);
        if (response.type == WIRE_RESP_ERROR) {
            assert_int_equal(response.error.code, WIRE_ERROR_BUSY);
            assert_int_not_equal(response.error.retry_after_ms, 0);
            peer_expect_end(&peer);
            peer_close(&peer);
            return;
        }
        peer_close(&peer); /* a second was over already */
    }
    fail();
}

static void the_same_wrong_token_again_is_no_guess(void **state)
{
    for (int i = 0; i < 20; i++) {
        assert_true(is_answered(state, "0123456789abcdef-of-last-year", "not a token"));
    }
    assert_true(is_answered(state, token_a, ""));
}

/* ---- what ---- */

static void the_acl_says_who_locks_what(void **state)
{
    struct peer a, b;

    open_as(&a, state, token_a);
    open_as(&b, state, token_b);
    send_lock(&a, "", "shop/1", WIRE_WRITE);
    peer_expect(&a, WIRE_RESP_GRANTED);
    send_lock(&a, "", "vault", WIRE_WRITE);
    expect_not_allowed(&a);
    send_lock(&b, "", "shop/2", WIRE_READ);
    peer_expect(&b, WIRE_RESP_GRANTED);
    send_lock(&b, "", "shop/2", WIRE_WRITE);
    expect_not_allowed(&b);
    peer_close(&a);
    peer_close(&b);
}

static void looking_and_breaking_need_their_own_rules(void **state)
{
    struct peer a, b, ops;

    open_as(&a, state, token_a);
    open_as(&b, state, token_b);
    open_as(&ops, state, token_ops);
    send_lock(&a, "", "shop/1", WIRE_WRITE);
    peer_expect(&a, WIRE_RESP_GRANTED);
    send_about(&a, WIRE_REQ_STATUS, "shop/1");
    expect_not_allowed(&a);
    send_about(&b, WIRE_REQ_STATUS, "shop/1");
    peer_expect(&b, WIRE_RESP_STATUS);
    send_list(&b, "shop/");
    peer_expect(&b, WIRE_RESP_LIST_LOCKS);
    send_list(&b, "");
    expect_error_not_allowed(&b);
    send_about(&b, WIRE_REQ_FORCE_RELEASE, "shop/1");
    expect_error_not_allowed(&b);
    send_about(&ops, WIRE_REQ_FORCE_RELEASE, "shop/vault");
    expect_error_not_allowed(&ops);
    send_about(&ops, WIRE_REQ_FORCE_RELEASE, "shop/1");
    peer_expect(&ops, WIRE_RESP_FORCE_RELEASE);
    peer_close(&a);
    peer_close(&b);
    peer_close(&ops);
}

static void what_is_held_is_released_without_the_permission_to_lock(void **state)
{
    struct access_fixture *fixture = *state;
    char error[SERVER_ERROR_BYTES];
    struct peer a;

    open_as(&a, state, token_a);
    send_lock(&a, "", "shop/1", WIRE_WRITE);
    peer_expect(&a, WIRE_RESP_GRANTED);
    write_text(fixture->acl, "allow a read other\n");
    assert_int_equal(server_reload(fixture->server.server, error), 0);
    send_about(&a, WIRE_REQ_REFRESH, "shop/1");
    expect_not_allowed(&a);
    send_about(&a, WIRE_REQ_RELEASE, "shop/1");
    peer_expect(&a, WIRE_RESP_RELEASE);
    peer_close(&a);
}

/* ---- ids ---- */

static void send_attach(struct peer *peer, const char *client, struct wire_str secret)
{
    struct wire_request request = {
        .type = WIRE_REQ_ATTACH, .client = str(client), .attach = {.secret = secret}};
    peer_send(peer, &request);
}

static void an_id_is_of_no_use_to_another_principal(void **state)
{
    struct peer a, again, b;

    open_as(&a, state, token_a);
    open_as(&again, state, token_a);
    open_as(&b, state, token_b);
    send_lock(&a, "worker-1", "shop/1", WIRE_WRITE);
    peer_expect(&a, WIRE_RESP_GRANTED);
    send_attach(&b, "worker-1", (struct wire_str){0});
    expect_error_not_allowed(&b);
    send_lock(&b, "worker-1", "shop/1", WIRE_READ);
    assert_int_equal(peer_expect(&b, WIRE_RESP_DENIED).denied.reason,
                     WIRE_DENY_NOT_ATTACHED);
    send_attach(&again, "worker-1", (struct wire_str){0});
    peer_expect(&again, WIRE_RESP_ATTACH);
    peer_close(&a);
    peer_close(&again);
    peer_close(&b);
}

static void a_stolen_secret_is_of_no_use_to_another_principal(void **state)
{
    struct wire_request create = {.type = WIRE_REQ_CREATE};
    char id[64], secret[WIRE_SECRET_BYTES];
    struct peer a, again, b;

    open_as(&a, state, token_a);
    open_as(&again, state, token_a);
    open_as(&b, state, token_b);
    peer_send(&a, &create);
    struct wire_response response = peer_expect(&a, WIRE_RESP_CREATE);
    snprintf(id, sizeof(id), "%.*s", (int)response.client.len, response.client.data);
    assert_int_equal(response.create.secret.len, sizeof(secret));
    memcpy(secret, response.create.secret.data, sizeof(secret));
    struct wire_str shown = {.data = secret, .len = sizeof(secret)};
    send_attach(&b, id, shown);
    expect_error_not_allowed(&b);
    send_attach(&again, id, (struct wire_str){0});
    expect_error_not_allowed(&again);
    send_attach(&again, id, shown);
    peer_expect(&again, WIRE_RESP_ATTACH);
    peer_close(&a);
    peer_close(&again);
    peer_close(&b);
}

/* A secret that begins like the name of a principal, who has none. */
static void a_secret_is_not_taken_for_a_name(void **state)
{
    static const char name[] = "fifteen-letters";
    struct access_fixture *fixture = *state;
    char error[SERVER_ERROR_BYTES], text[200] = "";
    struct peer owner, thief;

    write_text(fixture->acl, "allow fifteen-letters write *\nallow anonymous write *\n");
    add_token(text, sizeof(text), name, token_a);
    write_text(fixture->tokens, text);
    assert_int_equal(server_reload(fixture->server.server, error), 0);
    open_as(&owner, state, token_a);
    open_as(&thief, state, "");
    send_lock(&owner, "worker-1", "shop/1", WIRE_WRITE);
    peer_expect(&owner, WIRE_RESP_GRANTED);
    send_attach(&thief, "worker-1", str("fifteen-letters:"));
    expect_error_not_allowed(&thief);
    peer_close(&owner);
    peer_close(&thief);
}

/* ---- reload ---- */

static void a_mistake_in_a_file_leaves_what_was_in_force(void **state)
{
    struct access_fixture *fixture = *state;
    char error[SERVER_ERROR_BYTES];
    struct peer a;

    open_as(&a, state, token_a);
    write_text(fixture->acl, "allow a read,write *\nallow oops\n");
    write_text(fixture->tokens, "");
    assert_int_not_equal(server_reload(fixture->server.server, error), 0);
    assert_non_null(strstr(error, ":2: actions"));
    send_lock(&a, "", "vault", WIRE_WRITE);
    expect_not_allowed(&a);
    peer_close(&a);
    open_as(&a, state, token_a);
    peer_close(&a);
}

static void who_loses_the_token_loses_the_connection(void **state)
{
    struct access_fixture *fixture = *state;
    char error[SERVER_ERROR_BYTES], text[200] = "";
    struct peer a, b;

    open_as(&a, state, token_a);
    open_as(&b, state, token_b);
    add_token(text, sizeof(text), "b", token_b);
    write_text(fixture->tokens, text);
    assert_int_equal(server_reload(fixture->server.server, error), 0);
    peer_expect_end(&a);
    peer_expect_nothing(&b);
    peer_close(&a);
    peer_close(&b);
}

static void a_token_that_was_replaced_is_of_no_use_any_more(void **state)
{
    struct access_fixture *fixture = *state;
    char error[SERVER_ERROR_BYTES], text[400] = "";
    struct peer old, new;

    add_token(text, sizeof(text), "a", token_b);
    size_t new_len = strlen(text);
    add_token(text, sizeof(text), "a", token_a);
    write_text(fixture->tokens, text);
    assert_int_equal(server_reload(fixture->server.server, error), 0);
    open_as(&old, state, token_a);
    open_as(&new, state, token_b);
    text[new_len] = '\0';
    write_text(fixture->tokens, text);
    assert_int_equal(server_reload(fixture->server.server, error), 0);
    peer_expect_end(&old);
    peer_expect_nothing(&new);
    peer_close(&old);
    peer_close(&new);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_shows_nothing_gets_nothing_but_an_error),
        TEST(who_says_nothing_of_itself_gets_no_answer),
        TEST(a_wrong_token_ends_the_connection),
        TEST(a_connection_does_not_change_hands),
        TEST(the_acl_says_who_locks_what),
        TEST(looking_and_breaking_need_their_own_rules),
        TEST(what_is_held_is_released_without_the_permission_to_lock),
        TEST(an_id_is_of_no_use_to_another_principal),
        TEST(a_stolen_secret_is_of_no_use_to_another_principal),
        TEST(a_secret_is_not_taken_for_a_name),
        TEST(a_mistake_in_a_file_leaves_what_was_in_force),
        TEST(who_loses_the_token_loses_the_connection),
        TEST(a_token_that_was_replaced_is_of_no_use_any_more),
        TEST(who_guesses_has_to_wait),
        TEST(who_waits_for_guesses_is_told_to_ask_again),
        TEST(the_same_wrong_token_again_is_no_guess),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
