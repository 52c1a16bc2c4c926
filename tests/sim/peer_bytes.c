/* The bytes of a message, as libraft encodes it, through the check that the bytes of a real peer pass. */
#include "peers.h"

#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "peer_check.h"

/* libraft's own, and not in its headers. The first buffer and the array come from raft_malloc(), the others
 * are the message's entries or snapshot. */
int uvEncodeMessage(const struct raft_message *message, uv_buf_t **bufs, unsigned *count);

/* The check wants the head of a message, and a change of membership behind it, in one piece. */
static const char *check_head(struct peer_check *check,
                              const struct raft_message *message,
                              const uv_buf_t *bufs,
                              unsigned *ret_done)
{
    uint8_t head[PEER_CHECK_HOLD_BYTES_MAX];
    size_t len = 0;
    size_t pass;
    bool change = message->type == RAFT_APPEND_ENTRIES &&
                  message->append_entries.n_entries > 0 &&
                  message->append_entries.entries[0].type == RAFT_CHANGE;

    *ret_done = change ? 2 : 1;
    for (unsigned i = 0; i < *ret_done; i++) {
        if (bufs[i].len > sizeof(head) - len) {
            return "its head is longer than the check allows";
        }
        memcpy(head + len, bufs[i].base, bufs[i].len);
        len += bufs[i].len;
    }
    const char *refused = peer_check(check, head, len, &pass);
    return refused == NULL && pass < len ? "its head does not pass" : refused;
}

const char *sim_peer_bytes_refused(uint64_t from, const struct raft_message *message)
{
    struct peer_check *check = peer_check_new(from);
    uv_buf_t *bufs;
    unsigned count;
    unsigned done;

    if (uvEncodeMessage(message, &bufs, &count) != 0) {
        abort();
    }
    const char *refused = check_head(check, message, bufs, &done);
    for (; done < count && refused == NULL; done++) {
        size_t pass;
        refused =
            peer_check(check, (const uint8_t *)bufs[done].base, bufs[done].len, &pass);
    }
    if (refused == NULL && !peer_check_at_boundary(check)) {
        refused = "its end is missing";
    }
    raft_free(bufs[0].base);
    raft_free(bufs);
    peer_check_free(check);
    return refused;
}
