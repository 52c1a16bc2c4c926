/* From request to command and from event to response: defaults, floors, clamps, words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "answer.h"
#include "request.h"

static const struct request_policy open_policy = {
    .lock_timeout_default_ms = FSM_UNLIMITED,
    .lock_timeout_max_ms = FSM_UNLIMITED,
    .plain_lock_timeout_min_ms = 1000,
};
static const struct request_facts plain = {.client = {.data = "c", .len = 1}};
static const struct request_facts hello = {
    .hello = true, .client = {.data = "c", .len = 1}, .client_epoch = 7};

static struct wire_request lock_of(uint32_t lock_timeout_ms, enum wire_drop drop)
{
    return (struct wire_request){
        .type = WIRE_REQ_LOCK,
        .lock = {.data = "a", .len = 1},
        .lock_ = {.limit = 1, .lock_timeout_ms = lock_timeout_ms, .drop = drop},
    };
}

/* The hold that is asked for in the end; 0: refused. */
static uint64_t hold_ms_of(const struct wire_request *request,
                           const struct request_facts *facts,
                           const struct request_policy *policy)
{
    struct fsm_command command;
    struct request_refusal refusal;

    if (request_to_command(request, facts, policy, &command, &refusal) != 0) {
        assert_int_equal(refusal.deny, WIRE_DENY_INVALID);
        assert_non_null(refusal.text);
        return 0;
    }
    return command.type == FSM_CMD_LOCK ? command.lock_.hold_ms : command.refresh.hold_ms;
}

/* ---- locks ---- */

static void empty_lock_request_tries_exclusively_for_ever(void **state)
{
    struct wire_request request = lock_of(0, WIRE_DROP_RELEASE);
    struct fsm_command command;
    struct request_refusal refusal;

    (void)state;
    assert_int_equal(
        request_to_command(&request, &hello, &open_policy, &command, &refusal), 0);
    assert_int_equal(command.type, FSM_CMD_LOCK);
    assert_int_equal(command.lock_.mode, FSM_BREAK);
    assert_int_equal(command.lock_.type, FSM_WRITE);
    assert_int_equal(command.lock_.drop, FSM_DROP_RELEASE);
    assert_int_equal(command.lock_.limit, 1);
    assert_true(command.lock_.wait_ms == FSM_UNLIMITED);
    assert_true(command.lock_.hold_ms == FSM_UNLIMITED);
    assert_int_equal(command.client_epoch, 7);
    assert_int_equal(command.client.len, 1);
}

static void lock_timeout_has_default_clamp_and_floor(void **state)
{
    struct request_policy policy = open_policy;
    struct wire_request none = lock_of(0, WIRE_DROP_RELEASE);
    struct wire_request short_one = lock_of(999, WIRE_DROP_RELEASE);
    struct wire_request enough = lock_of(1000, WIRE_DROP_RELEASE);
    struct wire_request endless = lock_of(WIRE_UNLIMITED, WIRE_DROP_RELEASE);

    (void)state;
    policy.lock_timeout_default_ms = 5000;
    assert_int_equal(hold_ms_of(&none, &plain, &policy), 5000);
    assert_int_equal(hold_ms_of(&short_one, &plain, &policy), 0);
    assert_int_equal(hold_ms_of(&short_one, &hello, &policy), 999);
    assert_int_equal(hold_ms_of(&enough, &plain, &policy), 1000);
    assert_true(hold_ms_of(&endless, &plain, &policy) == FSM_UNLIMITED);
    policy.lock_timeout_max_ms = 900;
    assert_int_equal(hold_ms_of(&none, &hello, &policy), 900);
    assert_int_equal(hold_ms_of(&endless, &hello, &policy), 900);
    assert_int_equal(hold_ms_of(&enough, &hello, &policy), 900);
}

static void ignore_without_timeout_is_for_those_who_mean_it(void **state)
{
    struct request_policy policy = open_policy;
    struct wire_request unsaid = lock_of(0, WIRE_DROP_IGNORE);
    struct wire_request meant = lock_of(WIRE_UNLIMITED, WIRE_DROP_IGNORE);

    (void)state;
    assert_int_equal(hold_ms_of(&unsaid, &plain, &policy), 0);
    assert_int_equal(hold_ms_of(&unsaid, &hello, &policy), 0);
    assert_true(hold_ms_of(&meant, &plain, &policy) == FSM_UNLIMITED);
    policy.allow_ignore_without_timeout = true;
    assert_true(hold_ms_of(&unsaid, &plain, &policy) == FSM_UNLIMITED);
}

static void wait_timeout_of_nothing_is_for_ever(void **state)
{
    struct wire_request request = lock_of(0, WIRE_DROP_RELEASE);
    struct fsm_command command;
    struct request_refusal refusal;

    (void)state;
    request.lock_.mode = WIRE_WAIT;
    request.lock_.wait_timeout_ms = 5;
    request_to_command(&request, &plain, &open_policy, &command, &refusal);
    assert_int_equal(command.lock_.wait_ms, 5);
    assert_int_equal(command.lock_.mode, FSM_WAIT);
    request.lock_.wait_timeout_ms = WIRE_UNLIMITED;
    request_to_command(&request, &plain, &open_policy, &command, &refusal);
    assert_true(command.lock_.wait_ms == FSM_UNLIMITED);
}

static void refresh_without_timeout_keeps_what_the_hold_has(void **state)
{
    struct request_policy policy = open_policy;
    struct wire_request request = {.type = WIRE_REQ_REFRESH,
                                   .lock = {.data = "a", .len = 1}};

    (void)state;
    policy.lock_timeout_max_ms = 60000;
    struct fsm_command command;
    struct request_refusal refusal;
    assert_int_equal(request_to_command(&request, &plain, &policy, &command, &refusal),
                     0);
    assert_int_equal(command.refresh.hold_ms, 0);
    assert_int_equal(command.refresh.wait_ms, 0);
    assert_false(command.refresh.set_drop);
    request.refresh.lock_timeout_ms = 30;
    assert_int_equal(hold_ms_of(&request, &plain, &policy), 0);
    assert_int_equal(hold_ms_of(&request, &hello, &policy), 30);
    request.refresh.lock_timeout_ms = WIRE_UNLIMITED;
    assert_int_equal(hold_ms_of(&request, &hello, &policy), 60000);
}

static void refusals_by_the_wire_are_denied_where_a_lock_is_asked_for(void **state)
{
    struct wire_refusal invalid = {.problem = WIRE_INVALID, .text = "lock_name: empty"};
    struct wire_refusal unknown = {.problem = WIRE_UNKNOWN_TYPE, .text = "?"};
    struct wire_request lock = {.type = WIRE_REQ_LOCK};
    struct wire_request attach = {.type = WIRE_REQ_ATTACH};
    struct wire_request none = {0};

    (void)state;
    assert_int_equal(request_refused_by_wire(&lock, &invalid).deny, WIRE_DENY_INVALID);
    assert_int_equal(request_refused_by_wire(&attach, &invalid).deny, 0);
    assert_int_equal(request_refused_by_wire(&attach, &invalid).error,
                     WIRE_ERROR_INVALID);
    assert_int_equal(request_refused_by_wire(&none, &unknown).error,
                     WIRE_ERROR_UNKNOWN_TYPE);
}

static void what_is_no_question_to_the_table_is_no_command(void **state)
{
    struct wire_request ping = {.type = WIRE_REQ_PING};
    struct fsm_command command;
    struct request_refusal refusal;

    (void)state;
    assert_int_equal(request_to_command(&ping, &hello, &open_policy, &command, &refusal),
                     -EINVAL);
    assert_true(request_extended(WIRE_REQ_PING));
    assert_false(request_extended(WIRE_REQ_HELLO));
    assert_false(request_extended(WIRE_REQ_STATUS));
    assert_true(request_needs_client(WIRE_REQ_RELEASE));
    assert_false(request_needs_client(WIRE_REQ_STATUS));
}

/* ---- answers ---- */

static const struct replica_position at = {.index = 9, .term = 2, .cluster_ms = 77};

static struct wire_response
answer(const struct fsm_event *event, bool to_hello, struct answer_scratch *scratch)
{
    static char key[] = "k";
    struct answer_to to = {
        .key = key, .key_len = 1, .has_client_time = true, .client_time = 4711};
    struct wire_response response;

    answer_from_event(event, &at, &to, to_hello, scratch, &response);
    assert_int_equal(response.key.len, 1);
    assert_int_equal(response.position.index, 9);
    assert_int_equal(response.position.cluster_time_ms, 77);
    return response;
}

static void durations_fit_the_wire_and_end_if_they_end(void **state)
{
    struct answer_scratch scratch = {0};
    struct fsm_event event = {.type = FSM_EV_GRANTED};

    (void)state;
    event.claim.hold_ms = FSM_UNLIMITED;
    event.claim.remaining_ms = UINT32_MAX;
    struct wire_response response = answer(&event, true, &scratch);
    assert_int_equal(response.granted.lock_timeout_ms, WIRE_UNLIMITED);
    assert_int_equal(response.granted.remaining_ms, WIRE_UNLIMITED - 1);
    assert_true(response.granted.has_client_time);
    assert_int_equal(response.granted.client_time, 4711);
    event.claim.remaining_ms = 12;
    assert_int_equal(answer(&event, true, &scratch).granted.remaining_ms, 12);
}

static void denial_names_the_limit(void **state)
{
    struct answer_scratch scratch = {0};
    struct fsm_event event = {.type = FSM_EV_DENIED,
                              .deny = FSM_DENY_LIMIT_EXCEEDED,
                              .limit_name = "waiters per lock"};
    struct wire_response response = answer(&event, true, &scratch);

    (void)state;
    assert_int_equal(response.denied.reason, WIRE_DENY_LIMIT_EXCEEDED);
    assert_non_null(memmem(response.denied.text.data, response.denied.text.len,
                           "waiters per lock", strlen("waiters per lock")));
}

static void every_denial_has_words(void **state)
{
    (void)state;
    for (int deny = FSM_DENY_HELD; deny <= FSM_DENY_LIMIT_EXCEEDED; deny++) {
        assert_true(strlen(answer_deny_text((enum fsm_deny)deny)) > 10);
    }
}

static void holders_are_shown(void **state)
{
    struct answer_scratch scratch = {0};
    struct fsm_claim claims[3] = {
        {.token = 1}, {.token = 2}, {.token = 3, .type = FSM_READ}};
    struct fsm_event event = {
        .type = FSM_EV_STATUS,
        .state = FSM_STATE_HELD_BY_OTHER,
        .claims = claims,
        .claims_count = 3,
        .holders_count = 20,
    };
    struct wire_response response = answer(&event, true, &scratch);

    (void)state;
    assert_int_equal(response.status.state, WIRE_HELD_BY_OTHER_CLIENT);
    assert_int_equal(response.status.holders_shown, 3);
    assert_int_equal(response.status.holders_count, 20);
    assert_int_equal(response.status.holders[2].token, 3);
    assert_int_equal(response.status.holders[2].type, WIRE_READ);
    assert_int_equal(response.status.token, 0);
    answer_scratch_release(&scratch);
}

static void plain_status_speaks_the_plain_protocol(void **state)
{
    struct answer_scratch scratch = {0};
    struct fsm_event event = {.type = FSM_EV_STATUS, .state = FSM_FREE};

    (void)state;
    assert_int_equal(answer(&event, false, &scratch).type, WIRE_RESP_DENIED);
    event.state = FSM_STATE_HELD_BY_OTHER;
    assert_int_equal(answer(&event, false, &scratch).type, WIRE_RESP_DENIED);
    event.state = FSM_WAITING;
    assert_int_equal(answer(&event, false, &scratch).type, WIRE_RESP_WAIT);
    event.state = FSM_HELD_BY_ME;
    event.claim.type = FSM_READ;
    assert_int_equal(answer(&event, false, &scratch).type, WIRE_RESP_STATUS);
    assert_int_equal(answer(&event, false, &scratch).status.type, WIRE_READ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_lock_request_tries_exclusively_for_ever),
        cmocka_unit_test(lock_timeout_has_default_clamp_and_floor),
        cmocka_unit_test(ignore_without_timeout_is_for_those_who_mean_it),
        cmocka_unit_test(wait_timeout_of_nothing_is_for_ever),
        cmocka_unit_test(refresh_without_timeout_keeps_what_the_hold_has),
        cmocka_unit_test(refusals_by_the_wire_are_denied_where_a_lock_is_asked_for),
        cmocka_unit_test(what_is_no_question_to_the_table_is_no_command),
        cmocka_unit_test(durations_fit_the_wire_and_end_if_they_end),
        cmocka_unit_test(denial_names_the_limit),
        cmocka_unit_test(every_denial_has_words),
        cmocka_unit_test(holders_are_shown),
        cmocka_unit_test(plain_status_speaks_the_plain_protocol),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
