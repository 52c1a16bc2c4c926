#include "backup.h"

#include <assert.h>
#include <string.h>

#include "durable.h"
#include "memory.h"
#include "snapshot.h"

enum {
    MAGIC = 0x4b424c4e, /* "NLBK" */
    FORMAT = 1,

    AT_MAGIC = 0,
    AT_FORMAT = 4,
    AT_CHECKSUM = 8,
    AT_LEN = 16,
    AT_INDEX = 24,
    AT_TERM = 32,
    AT_CLUSTER_ID = 40,
    HEADER_BYTES = 104,

    HASH_SEED = 1, /* whoever restores reads one table, and serves nobody from it */
    CLOCK_S_MIN = 1700000000, /* November 2023: an earlier clock was never set */
};
static_assert((int)AT_CLUSTER_ID + (int)BACKUP_CLUSTER_ID_BYTES == (int)HEADER_BYTES,
              "layout");

/* ---- the file ------------------------------------------------------------------------- */

void backup_encode(const struct backup_origin *origin,
                   const void *snapshot,
                   size_t snapshot_len,
                   uint8_t **ret_data,
                   size_t *ret_len)
{
    size_t len = HEADER_BYTES + snapshot_len;
    uint8_t *data = memory_new(len);

    durable_put_u32(data + AT_MAGIC, MAGIC);
    durable_put_u32(data + AT_FORMAT, FORMAT);
    durable_put_u64(data + AT_LEN, len);
    durable_put_u64(data + AT_INDEX, origin->index);
    durable_put_u64(data + AT_TERM, origin->term);
    memcpy(data + AT_CLUSTER_ID, origin->cluster_id, BACKUP_CLUSTER_ID_BYTES);
    memcpy(data + HEADER_BYTES, snapshot, snapshot_len);
    durable_put_u64(data + AT_CHECKSUM, durable_checksum(data + AT_LEN, len - AT_LEN));
    *ret_data = data;
    *ret_len = len;
}

static const char *check_header(const uint8_t *data, size_t len)
{
    if (len < HEADER_BYTES || durable_get_u32(data + AT_MAGIC) != MAGIC) {
        return "it is no backup of this service, or its beginning is missing";
    }
    if (durable_get_u32(data + AT_FORMAT) != FORMAT) {
        return durable_newer;
    }
    if (durable_get_u64(data + AT_LEN) > len) {
        return "its end is missing";
    }
    if (durable_get_u64(data + AT_LEN) < len) {
        return "it is damaged (there is more behind its end)";
    }
    if (durable_get_u64(data + AT_CHECKSUM) !=
        durable_checksum(data + AT_LEN, len - AT_LEN)) {
        return "it is damaged (checksum)";
    }
    if (memchr(data + AT_CLUSTER_ID, '\0', BACKUP_CLUSTER_ID_BYTES) == NULL ||
        durable_get_u64(data + AT_INDEX) == 0 || durable_get_u64(data + AT_TERM) == 0) {
        return "it is damaged (origin)";
    }
    return NULL;
}

const char *backup_decode(const uint8_t *data,
                          size_t len,
                          struct backup_origin *ret_origin,
                          struct fsm **ret_fsm,
                          uint64_t *ret_commands_index)
{
    const char *error = check_header(data, len);

    if (error == NULL) {
        error = snapshot_decode(data + HEADER_BYTES, len - HEADER_BYTES, HASH_SEED,
                                ret_fsm, ret_commands_index);
    }
    if (error != NULL) {
        return error;
    }
    *ret_origin = (struct backup_origin){
        .index = durable_get_u64(data + AT_INDEX),
        .term = durable_get_u64(data + AT_TERM),
        .level = snapshot_level(data + HEADER_BYTES),
    };
    memcpy(ret_origin->cluster_id, data + AT_CLUSTER_ID, BACKUP_CLUSTER_ID_BYTES);
    return NULL;
}

/* ---- tokens --------------------------------------------------------------------------- */

uint64_t backup_token_start(uint64_t unix_ms, uint64_t last_token)
{
    uint64_t start = unix_ms * BACKUP_TOKENS_PER_MS;

    return unix_ms / 1000 >= CLOCK_S_MIN && start > last_token ? start : 0;
}

struct move {
    struct fsm *to;
    uint64_t next_token;
};

static uint64_t digest_of_restore(uint64_t digest, uint64_t next_token)
{
    uint8_t bytes[16];

    durable_put_u64(bytes, digest);
    durable_put_u64(bytes + 8, next_token);
    return durable_checksum(bytes, sizeof(bytes));
}

static void move_record(void *arg, const struct fsm_record *record)
{
    struct move *move = arg;
    struct fsm_record moved = *record;

    if (record->type == FSM_REC_ROOT) {
        moved.root.token = move->next_token - 1;
        moved.root.digest = digest_of_restore(record->root.digest, move->next_token);
    }
    int rv = fsm_load(move->to, &moved);
    assert(rv == 0); /* a higher counter contradicts nothing */
    (void)rv;
}

struct fsm *backup_move_tokens(const struct fsm *fsm, uint64_t next_token)
{
    struct move move = {.to = fsm_new(HASH_SEED), .next_token = next_token};

    assert(next_token > fsm_last_token(fsm));
    fsm_dump(fsm, move_record, &move);
    int rv = fsm_load_end(move.to);
    assert(rv == 0);
    (void)rv;
    return move.to;
}
