/* Whether a process is gone, asked of this machine. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdbool.h>
#include <unistd.h>

#include "peer_probe.h"

enum { PATIENCE_MS = 10000 };

struct asked {
    uv_loop_t loop;
    struct peer_probe probe;
    uv_timer_t patience;
    unsigned refusals;
};

static void on_refused(void *arg)
{
    struct asked *asked = arg;

    asked->refusals++;
    uv_stop(&asked->loop);
}

static void on_patience(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void on_closed(void *arg)
{
    (void)arg;
}

/* A port of the loopback on which nobody listens unless listen() is called. */
static int bind_port(struct sockaddr_in *ret)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof *ret;

    *ret = (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)ret, sizeof *ret), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

/* Refusals after at most @patience_ms. */
static unsigned ask(const struct sockaddr_in *address, uint64_t patience_ms)
{
    struct asked asked = {.refusals = 0};

    assert_int_equal(uv_loop_init(&asked.loop), 0);
    peer_probe_init(&asked.probe, &asked.loop, on_refused, &asked);
    uv_timer_init(&asked.loop, &asked.patience);
    uv_timer_start(&asked.patience, on_patience, patience_ms, 0);
    peer_probe_start(&asked.probe, (const struct sockaddr *)address);
    uv_run(&asked.loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&asked.patience, NULL);
    peer_probe_close(&asked.probe, on_closed);
    uv_run(&asked.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&asked.loop), 0);
    return asked.refusals;
}

static void a_process_that_is_gone_is_found_out_once(void **state)
{
    struct sockaddr_in address;
    int fd = bind_port(&address);

    (void)state;
    assert_int_equal(ask(&address, PATIENCE_MS), 1);
    close(fd);
}

/* It need not accept: the kernel connects for one that is stopped. */
static void a_process_that_listens_is_not_gone(void **state)
{
    struct sockaddr_in address;
    int fd = bind_port(&address);

    (void)state;
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(ask(&address, 300), 0);
    close(fd);
}

struct second_question {
    struct asked asked;
    uv_prepare_t prepare;
    struct sockaddr_in other;
};

/* An attempt is under way, and nobody has looked for its answer yet. */
static void ask_about_another(uv_prepare_t *prepare)
{
    struct second_question *question = prepare->data;

    if (question->asked.probe.tries != NULL) {
        uv_prepare_stop(prepare);
        uv_timer_start(&question->asked.patience, on_patience, 300, 0);
        peer_probe_start(&question->asked.probe,
                         (const struct sockaddr *)&question->other);
    }
}

/* The leader that is gone, and then its successor, of which only a connection has ended. */
static void a_refusal_by_the_one_before_says_nothing_of_this_one(void **state)
{
    struct second_question question = {0};
    struct asked *asked = &question.asked;
    struct sockaddr_in gone;
    int gone_fd = bind_port(&gone);
    int other_fd = bind_port(&question.other);

    (void)state;
    assert_int_equal(listen(other_fd, 8), 0);
    assert_int_equal(uv_loop_init(&asked->loop), 0);
    peer_probe_init(&asked->probe, &asked->loop, on_refused, asked);
    uv_timer_init(&asked->loop, &asked->patience);
    uv_timer_start(&asked->patience, on_patience, PATIENCE_MS, 0);
    uv_prepare_init(&asked->loop, &question.prepare);
    question.prepare.data = &question;
    uv_prepare_start(&question.prepare, ask_about_another);
    peer_probe_start(&asked->probe, (const struct sockaddr *)&gone);
    uv_run(&asked->loop, UV_RUN_DEFAULT);
    assert_false(uv_is_active((uv_handle_t *)&question.prepare));
    assert_int_equal(asked->refusals, 0);

    uv_close((uv_handle_t *)&question.prepare, NULL);
    uv_close((uv_handle_t *)&asked->patience, NULL);
    peer_probe_close(&asked->probe, on_closed);
    uv_run(&asked->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&asked->loop), 0);
    close(gone_fd);
    close(other_fd);
}

/* Closed in the middle of a probe, and all that an attempt may hang on is given back. */
static void can_be_closed_at_any_time(void **state)
{
    struct sockaddr_in address;
    int fd = bind_port(&address);

    (void)state;
    assert_int_equal(listen(fd, 8), 0);
    for (uint64_t ms = 0; ms < 60; ms += 6) {
        assert_int_equal(ask(&address, ms), 0);
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_that_is_gone_is_found_out_once),
        cmocka_unit_test(a_process_that_listens_is_not_gone),
        cmocka_unit_test(a_refusal_by_the_one_before_says_nothing_of_this_one),
        cmocka_unit_test(can_be_closed_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
