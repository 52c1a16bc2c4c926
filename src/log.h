/* log.h - what the server tells its operator: one line per event on stderr.
 *
 *     2026-01-01T00:00:00.000Z info server client-hello peer=10.0.0.7:4711 library="x"
 *
 * Under systemd (JOURNAL_STREAM is set) the time is left out and `<6>` says the level.
 * Whatever is written comes out as one line: control characters and broken UTF-8 are
 * escaped. Values that others choose (names, texts) go through log_quote(), client ids
 * through log_client_id(); secrets never come here. What a stranger can provoke at will
 * has a struct log_limit at its call site. */
#ifndef NETLOCK_LOG_H
#define NETLOCK_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum { LOG_QUOTED_BYTES = 1024, LOG_CLIENT_ID_BYTES = 64 };

struct log {
    enum log_level level; /* what is above is not written */
    bool journal;
    int fd;
};

/* Writes to stderr. */
void log_init(struct log *log, enum log_level level);

/* "error", "warning", "info", "debug"; false for anything else. */
bool log_level_parse(const char *text, enum log_level *ret);

const char *log_level_name(enum log_level level);

/* @format gives the `key=value` pairs; it may be empty. */
void log_event(const struct log *log,
               enum log_level level,
               const char *component,
               const char *event,
               const char *format,
               ...) __attribute__((format(printf, 5, 6)));

/* An operator's action: component "audit", written at every level. Values that others
 * choose go through log_quote(); whole client ids do belong here. */
void log_audit(const struct log *log, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A few lines per interval, then one that says how many were left out.
 * Zero-initialise. */
struct log_limit {
    uint64_t interval_start_ms;
    uint32_t written;
    uint32_t suppressed;
};

/* Whether the next line may be written at @now_ms. If so, *@ret_suppressed is the number
 * of those left out since the last one. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint32_t *ret_suppressed);

/* The value in double quotes, escaped, cut to what fits. Returns @out. */
const char *log_quote(char out[static LOG_QUOTED_BYTES], const char *data, size_t len);

/* The first 12 characters: enough to find it, too little to use it. Returns @out. */
const char *
log_client_id(char out[static LOG_CLIENT_ID_BYTES], const char *id, size_t len);

#endif
