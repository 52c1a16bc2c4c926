#include "history.h"

#include <assert.h>

#include "event.h"
#include "process.h"

enum { LISTENERS_MAX = 8 };

static struct {
    struct {
        sim_record_cb call;
        void *arg;
    } listeners[LISTENERS_MAX];
    unsigned listeners_count;
    uint64_t ops;
} history;

void sim_history_listen(sim_record_cb listener, void *arg)
{
    assert(history.listeners_count < LISTENERS_MAX);
    history.listeners[history.listeners_count].call = listener;
    history.listeners[history.listeners_count].arg = arg;
    history.listeners_count++;
}

void sim_history_reset(void)
{
    history.listeners_count = 0;
    history.ops = 0;
}

uint64_t sim_history_next_op(void)
{
    return ++history.ops;
}

uint64_t sim_history_ops(void)
{
    return history.ops;
}

/* What users see is a part of the trace, whoever listens. */
static void mix(const struct sim_record *record)
{
    uint64_t what = (uint64_t)record->type | (uint64_t)(uint32_t)record->rv << 8 |
                    (uint64_t)record->holding << 40 | (uint64_t)record->on << 41;
    if (record->notice != NULL)
        what |= (uint64_t)record->notice->event << 48;
    if (record->response != NULL)
        what |= (uint64_t)record->response->type << 48;
    sim_trace_mix(what);
    sim_trace_mix(record->op << 32 ^ record->token);
}

void sim_history_tell(const struct sim_record *record)
{
    mix(record);
    if (history.listeners_count == 0)
        return;
    struct sim_process *inside = sim_process_outside(NULL);
    for (unsigned i = 0; i < history.listeners_count; i++)
        history.listeners[i].call(history.listeners[i].arg, record);
    sim_process_outside(inside);
}
