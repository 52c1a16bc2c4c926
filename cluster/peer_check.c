/* libraft's format (uv_encoding.c of 0.22.1). All numbers are little-endian.
 *
 *   preamble  1 type  1 zero  1 version  5 zero  8 length of the head
 *   head      by type, see below
 *   payload   AppendEntries: the entries, one behind the other; InstallSnapshot: the snapshot */
#include "peer_check.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <raft.h>

#include "durable.h"
#include "entry.h"
#include "feature_level.h"
#include "memory.h"
#include "peer_membership.h"
#include "snapshot.h"

enum {
    PREAMBLE_BYTES = 16,
    APPEND_BYTES = 48, /* without the entries' lines */
    ENTRY_LINE_BYTES = 16,
    INSTALL_BYTES = 56, /* without the membership */
    MEMBERSHIP_BYTES_MIN = 16,
    BARRIER_BYTES = 8,

    /* Entries and snapshots begin alike: magic, format, checksum of the rest. */
    FRAME_HEAD_BYTES = 16,
    AT_CHECKSUM = 8,
    FRAME_BYTES_MIN = 24,
};

/* What of the payload is passing. */
struct piece {
    uint32_t magic; /* 0: no frame, and nothing to check */
    uint64_t left;
    size_t head_len;
    uint8_t head[FRAME_HEAD_BYTES];
    XXH64_state_t sum;
};

struct peer_check {
    uint64_t node_id;
    struct piece piece;
    unsigned entries_count; /* in the message whose payload is passing */
    unsigned entries_done;
    uint32_t entry_bytes[PEER_CHECK_ENTRIES_MAX];
    uint8_t entry_types[PEER_CHECK_ENTRIES_MAX];
};

struct peer_check *peer_check_new(uint64_t node_id)
{
    struct peer_check *check = memory_new(sizeof *check);

    check->node_id = node_id;
    return check;
}

void peer_check_free(struct peer_check *check)
{
    free(check);
}

bool peer_check_at_boundary(const struct peer_check *check)
{
    return check->piece.left == 0 && check->entries_done == check->entries_count;
}

/* ---- numbers -------------------------------------------------------------------------------- */

static uint64_t number(const uint8_t *head, unsigned position)
{
    return durable_get_u64(head + 8 * position);
}

static bool is_term(uint64_t term)
{
    return term > 0 && term <= PEER_CHECK_NUMBER_MAX;
}

/* The position of an entry in a log, or before the first one. */
static bool is_position(uint64_t index, uint64_t term)
{
    return index <= PEER_CHECK_NUMBER_MAX && (index == 0) == (term == 0);
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* ---- payload -------------------------------------------------------------------------------- */

static void piece_begin(struct piece *piece, uint32_t magic, uint64_t bytes)
{
    piece->magic = magic;
    piece->left = bytes;
    piece->head_len = 0;
    if (magic != 0) {
        XXH64_reset(&piece->sum, 0);
    }
}

static const char *frame_head(const struct piece *piece)
{
    uint32_t newest =
        piece->magic == ENTRY_MAGIC ? ENTRY_FRAME_VERSION : feature_level_max;
    uint32_t format = durable_get_u32(piece->head + 4);

    if (durable_get_u32(piece->head) != piece->magic) {
        return "an entry or snapshot that is not of this service";
    }
    if (format == 0 || format > newest) {
        return "an entry or snapshot of a version that this node does not know";
    }
    return NULL;
}

static const char *piece_take(struct piece *piece, const uint8_t *bytes, size_t len)
{
    const char *refused = NULL;

    piece->left -= len;
    if (piece->magic == 0) {
        return NULL;
    }
    while (piece->head_len < FRAME_HEAD_BYTES && len > 0) {
        piece->head[piece->head_len++] = *bytes++;
        len--;
        refused = piece->head_len == FRAME_HEAD_BYTES ? frame_head(piece) : NULL;
    }
    if (refused != NULL) {
        return refused;
    }
    XXH64_update(&piece->sum, bytes, len);
    if (piece->left == 0 &&
        XXH64_digest(&piece->sum) != durable_get_u64(piece->head + AT_CHECKSUM)) {
        return "a damaged entry or snapshot";
    }
    return NULL;
}

static void next_entry(struct peer_check *check)
{
    if (check->entries_done < check->entries_count) {
        unsigned i = check->entries_done++;
        bool framed = check->entry_types[i] == RAFT_COMMAND;
        piece_begin(&check->piece, framed ? ENTRY_MAGIC : 0, check->entry_bytes[i]);
    }
}

/* ---- AppendEntries -------------------------------------------------------------------------- */
/* head: term, previous index, previous term, commit index, number of entries n, n lines, zero
 * line: 8 term  1 type  3 zero  4 bytes of the entry */

static const char *entry_bytes_check(uint8_t type, uint32_t bytes, unsigned i)
{
    if (bytes == 0 || bytes % 8 != 0) {
        return "an entry whose length is no multiple of 8"; /* libraft reads past the end */
    }
    switch (type) {
    case RAFT_COMMAND:
        return bytes >= FRAME_BYTES_MIN && bytes <= PEER_CHECK_ENTRY_BYTES_MAX
                   ? NULL
                   : "an entry of a wrong length";
    case RAFT_BARRIER:
        return bytes == BARRIER_BYTES ? NULL : "a barrier of a wrong length";
    case RAFT_CHANGE:
        if (i > 0) {
            return "a change of membership behind other entries";
        }
        return bytes <= PEER_CHECK_MEMBERSHIP_BYTES_MAX
                   ? NULL
                   : "a change of membership of a wrong length";
    default:
        return "an entry of an unknown type";
    }
}

/* Line @i of the entries; @term is that of the entry before. */
static const char *entry_line_check(struct peer_check *check,
                                    const uint8_t *line,
                                    unsigned i,
                                    uint64_t *term)
{
    uint64_t entry_term = number(line, 0);
    uint8_t type = line[8];
    uint32_t bytes = durable_get_u32(line + 12);

    if (!is_term(entry_term) || entry_term < *term) {
        return "an entry of a lower term than the one before";
    }
    if (!all_zero(line + 9, 3)) {
        return "an entry with something in its unused bytes";
    }
    *term = entry_term;
    check->entry_types[i] = type;
    check->entry_bytes[i] = bytes;
    return entry_bytes_check(type, bytes, i);
}

static const char *
append_check(struct peer_check *check, const uint8_t *head, size_t head_len)
{
    uint64_t term = number(head, 0);
    uint64_t last_term = number(head, 2);
    uint64_t count = number(head, 4);
    const char *refused = NULL;

    if (!is_term(term) || !is_position(number(head, 1), last_term) ||
        number(head, 3) > PEER_CHECK_NUMBER_MAX) {
        return "an impossible term or index";
    }
    if (count > PEER_CHECK_ENTRIES_MAX ||
        head_len != APPEND_BYTES + count * ENTRY_LINE_BYTES) {
        return "a number of entries that does not fit its length";
    }
    for (unsigned i = 0; i < count && refused == NULL; i++) {
        refused =
            entry_line_check(check, head + 40 + i * ENTRY_LINE_BYTES, i, &last_term);
    }
    if (refused == NULL && last_term > term) {
        refused = "an entry of a higher term than its leader's";
    }
    if (refused == NULL && !all_zero(head + head_len - 8, 8)) {
        refused = "something in its unused bytes";
    }
    check->entries_count = refused == NULL ? (unsigned)count : 0;
    return refused;
}

/* A change of membership has to be there as a whole before it, or the head before it, passes. */
static size_t change_bytes(const struct peer_check *check)
{
    return check->entries_count > 0 && check->entry_types[0] == RAFT_CHANGE
               ? check->entry_bytes[0]
               : 0;
}

/* ---- the other messages --------------------------------------------------------------------- */

/* head: term, rejected index, last index, 2 features  2 capacity  4 zero. All zero is said to open a
 * connection: nobody listens to an answer of term 0. */
static const char *
append_result_check(struct peer_check *check, const uint8_t *head, size_t head_len)
{
    uint64_t rejected = number(head, 1);
    uint64_t last_index = number(head, 2);

    (void)check;
    if (all_zero(head, head_len)) {
        return NULL;
    }
    if (!is_term(number(head, 0)) || rejected > PEER_CHECK_NUMBER_MAX ||
        last_index > PEER_CHECK_NUMBER_MAX) {
        return "an impossible term or index";
    }
    if (rejected > 0 && last_index >= rejected) {
        return "an answer that refuses what it has";
    }
    return all_zero(head + 28, 4) ? NULL : "something in its unused bytes";
}

/* head: term, candidate, last index, last term, flags. The candidate's own log is of earlier terms. */
static const char *
vote_check(struct peer_check *check, const uint8_t *head, size_t head_len)
{
    uint64_t term = number(head, 0);
    uint64_t last_term = number(head, 3);

    (void)head_len;
    if (!is_term(term) || !is_position(number(head, 2), last_term) || last_term >= term) {
        return "an impossible term or index";
    }
    if (number(head, 1) != check->node_id) {
        return "a request for votes for another node than the one that speaks";
    }
    return number(head, 4) <= 3 ? NULL : "unknown flags";
}

/* head: term, granted, 1 flags  1 zero  2 features  2 capacity  2 zero */
static const char *
vote_result_check(struct peer_check *check, const uint8_t *head, size_t head_len)
{
    (void)check;
    (void)head_len;
    if (!is_term(number(head, 0))) {
        return "an impossible term or index";
    }
    if (number(head, 1) > 1 || head[16] > 1 || head[17] != 0 || !all_zero(head + 22, 2)) {
        return "unknown flags";
    }
    return NULL;
}

/* head: term, last index, last term, index of the membership, its length, the membership, length of the
 * snapshot, zero */
static const char *
install_check(struct peer_check *check, const uint8_t *head, size_t head_len)
{
    uint64_t term = number(head, 0);
    uint64_t last_index = number(head, 1);
    uint64_t last_term = number(head, 2);
    uint64_t membership_index = number(head, 3);
    size_t membership_len = head_len - INSTALL_BYTES;

    if (!is_term(term) || !is_term(last_term) || last_term > term || last_index == 0 ||
        last_index > PEER_CHECK_NUMBER_MAX || membership_index == 0 ||
        membership_index > last_index) {
        return "an impossible term or index";
    }
    if (number(head, 4) != membership_len) {
        return "a membership that does not fit its length";
    }
    uint64_t bytes = durable_get_u64(head + head_len - 16);
    if (bytes < FRAME_BYTES_MIN || bytes > PEER_CHECK_SNAPSHOT_BYTES_MAX) {
        return "a snapshot that is too long or too short";
    }
    if (!all_zero(head + head_len - 8, 8)) {
        return "something in its unused bytes";
    }
    piece_begin(&check->piece, SNAPSHOT_MAGIC, bytes);
    return peer_membership_check(head + 40, membership_len);
}

/* head: term, last index, last term */
static const char *
timeout_check(struct peer_check *check, const uint8_t *head, size_t head_len)
{
    uint64_t term = number(head, 0);
    uint64_t last_term = number(head, 2);

    (void)check;
    (void)head_len;
    if (!is_term(term) || number(head, 1) == 0 ||
        !is_position(number(head, 1), last_term) || last_term > term) {
        return "an impossible term or index";
    }
    return NULL;
}

/* ---- messages ------------------------------------------------------------------------------- */

static const struct message_kind {
    uint8_t version;
    size_t bytes_min, bytes_max; /* of the head */
    const char *(*check)(struct peer_check *check, const uint8_t *head, size_t head_len);
} KINDS[] = {
    [RAFT_APPEND_ENTRIES] = {0, APPEND_BYTES,
                             APPEND_BYTES + PEER_CHECK_ENTRIES_MAX *ENTRY_LINE_BYTES,
                             append_check},
    [RAFT_APPEND_ENTRIES_RESULT] = {2, 32, 32, append_result_check},
    [RAFT_REQUEST_VOTE] = {2, 40, 40, vote_check},
    [RAFT_REQUEST_VOTE_RESULT] = {2, 24, 24, vote_result_check},
    [RAFT_INSTALL_SNAPSHOT] = {0, INSTALL_BYTES + MEMBERSHIP_BYTES_MIN,
                               INSTALL_BYTES + PEER_CHECK_MEMBERSHIP_BYTES_MAX,
                               install_check},
    [RAFT_TIMEOUT_NOW] = {0, 24, 24, timeout_check},
};

static const char *preamble_check(const uint8_t *bytes,
                                  const struct message_kind **ret_kind)
{
    const struct message_kind *kind = &KINDS[0];
    uint64_t head_len = number(bytes, 1);

    if (bytes[0] < sizeof KINDS / sizeof KINDS[0]) {
        kind = &KINDS[bytes[0]];
    }
    if (kind->check == NULL) {
        return "an unknown type";
    }
    if (bytes[2] != kind->version || bytes[1] != 0 || !all_zero(bytes + 3, 5)) {
        return "a version that this node does not know";
    }
    if (head_len < kind->bytes_min || head_len > kind->bytes_max) {
        return "a wrong length";
    }
    *ret_kind = kind;
    return NULL;
}

/* Step over the head of the next message, and the membership behind it. *ret_len stays 0 while they are
 * not complete. */
static const char *
message_begin(struct peer_check *check, const uint8_t *bytes, size_t len, size_t *ret_len)
{
    const struct message_kind *kind = NULL;

    if (len < PREAMBLE_BYTES) {
        return NULL;
    }
    const char *refused = preamble_check(bytes, &kind);
    size_t head_len = (size_t)number(bytes, 1);
    if (refused != NULL || len - PREAMBLE_BYTES < head_len) {
        return refused;
    }
    const uint8_t *payload = bytes + PREAMBLE_BYTES + head_len;
    size_t behind = len - PREAMBLE_BYTES - head_len;
    check->entries_count = check->entries_done = 0;
    refused = kind->check(check, bytes + PREAMBLE_BYTES, head_len);
    if (refused != NULL) {
        return refused;
    }
    size_t change_len = change_bytes(check);
    if (behind < change_len) {
        check->entries_count = 0; /* begins anew */
        return NULL;
    }
    *ret_len = PREAMBLE_BYTES + head_len;
    return change_len > 0 ? peer_membership_check(payload, change_len) : NULL;
}

const char *
peer_check(struct peer_check *check, const uint8_t *bytes, size_t len, size_t *ret_pass)
{
    const char *refused = NULL;
    size_t at = 0;

    while (refused == NULL && at < len) {
        size_t step = 0;
        if (check->piece.left > 0) {
            step = len - at < check->piece.left ? len - at : (size_t)check->piece.left;
            refused = piece_take(&check->piece, bytes + at, step);
        } else {
            refused = message_begin(check, bytes + at, len - at, &step);
        }
        if (step == 0) {
            break;
        }
        at += step;
        if (check->piece.left == 0) {
            next_entry(check);
        }
    }
    *ret_pass = at;
    return refused;
}
