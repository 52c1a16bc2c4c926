/* The bytes of a message, as libraft encodes it, through the check that the bytes of a real peer pass. */
#include "peers.h"

#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "node.h"
#include "peer_check.h"
#include "process.h"

/* libraft's own, and not in its headers. The first buffer and the array come from raft_malloc(), the others
 * are the message's entries or snapshot. */
int uvEncodeMessage(const struct raft_message *message, uv_buf_t **bufs, unsigned *count);

/* Of what each node says, as a node has one for each connection. */
static struct peer_check *checks[SIM_NODES_MAX + 1];

static struct peer_check *check_of(uint64_t from)
{
    if (checks[from] == NULL) {
        struct sim_process *inside = sim_process_outside(NULL);
        checks[from] = peer_check_new(from);
        sim_process_outside(inside);
    }
    return checks[from];
}

/* After a refusal nothing more may be asked: the connection is broken. */
static void forget_check(uint64_t from)
{
    peer_check_free(checks[from]);
    checks[from] = NULL;
}

static const char *look(struct peer_check *check, const uint8_t *bytes, size_t len)
{
    size_t pass;
    const char *refused = peer_check(check, bytes, len, &pass);

    return refused == NULL && pass < len ? "not all of it passes" : refused;
}

/* The check wants the head of a message, and a change of membership behind it, in one piece. */
static const char *look_at_change(struct peer_check *check, const uv_buf_t bufs[2])
{
    uint8_t head[PEER_CHECK_HOLD_BYTES_MAX];

    if (bufs[0].len + bufs[1].len > sizeof(head)) {
        return "its head is longer than the check allows";
    }
    memcpy(head, bufs[0].base, bufs[0].len);
    memcpy(head + bufs[0].len, bufs[1].base, bufs[1].len);
    return look(check, head, bufs[0].len + bufs[1].len);
}

static bool begins_with_change(const struct raft_message *message)
{
    return message->type == RAFT_APPEND_ENTRIES &&
           message->append_entries.n_entries > 0 &&
           message->append_entries.entries[0].type == RAFT_CHANGE;
}

const char *sim_peer_bytes_refused(uint64_t from, const struct raft_message *message)
{
    struct peer_check *check = check_of(from);
    const char *refused = NULL;
    uv_buf_t *bufs;
    unsigned count;
    unsigned done = 0;

    if (uvEncodeMessage(message, &bufs, &count) != 0) {
        abort();
    }
    if (begins_with_change(message)) {
        refused = look_at_change(check, bufs);
        done = 2;
    }
    for (; done < count && refused == NULL; done++) {
        refused = look(check, (const uint8_t *)bufs[done].base, bufs[done].len);
    }
    if (refused == NULL && !peer_check_at_boundary(check)) {
        refused = "its end is missing";
    }
    raft_free(bufs[0].base);
    raft_free(bufs);
    if (refused != NULL) {
        forget_check(from);
    }
    return refused;
}
