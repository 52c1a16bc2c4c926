/* answer.h - from what the lock table decided to what a client is told. Pure; the way
 * back of request.h. Strings of the response are those of the event, of the request's
 * answer_to, or in the scratch memory, and valid until the next call with it. */
#ifndef NETLOCK_ANSWER_H
#define NETLOCK_ANSWER_H

#include <string.h>

#include "fsm.h"
#include "pending.h"
#include "replica.h"
#include "wire.h"

enum { ANSWER_TEXT_BYTES = 160 };

/* Memory for one response at a time; zero-initialise. */
struct answer_scratch {
    struct wire_claim *claims;
    size_t claims_capacity;
    char text[ANSWER_TEXT_BYTES];
};
void answer_scratch_release(struct answer_scratch *scratch);

/* GRANTED, WAITING, DENIED, WAIT_TIMEOUT, HOLD_ENDED, RELEASE, STATUS, TOKEN, FORCED,
 * ATTACHED and DETACHED. @to may be NULL: nobody asked. @hello: to a connection that said
 * Hello; a plain one is told a status in the words of the plain protocol. */
void answer_from_event(const struct fsm_event *event,
                       const struct replica_position *at,
                       const struct answer_to *to,
                       bool hello,
                       struct answer_scratch *scratch,
                       struct wire_response *ret);

/* A refusal of a request that names no lock. */
enum wire_error answer_error_of(enum fsm_deny deny);

/* Words for people: what is the matter and what to do. */
const char *answer_deny_text(enum fsm_deny deny);

struct wire_claim answer_claim(const struct fsm_claim *claim);

/* The key of the request, for any answer to it. */
struct wire_str answer_key(const struct answer_to *to);

static inline struct wire_str wire_str_of_fsm(struct fsm_str str)
{
    return (struct wire_str){.data = str.data, .len = str.len};
}

static inline struct wire_str wire_str_of_text(const char *text)
{
    return (struct wire_str){.data = text, .len = text != NULL ? strlen(text) : 0};
}

#endif
