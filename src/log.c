#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_BYTES = 4096,
    LIMIT_INTERVAL_MS = 10000,
    LIMIT_LINES = 5, /* per interval */
    CLIENT_ID_SHOWN = 12,
};

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};
enum { LEVELS_COUNT = sizeof(level_names) / sizeof(level_names[0]) };

/* syslog's numbers, as the journal reads them. */
static const int level_priorities[] = {
    [LOG_LEVEL_ERROR] = 3,
    [LOG_LEVEL_WARNING] = 4,
    [LOG_LEVEL_INFO] = 6,
    [LOG_LEVEL_DEBUG] = 7,
};

void log_init(struct log *log, enum log_level level)
{
    *log = (struct log){
        .level = level,
        .journal = getenv("JOURNAL_STREAM") != NULL,
        .fd = STDERR_FILENO,
    };
}

bool log_level_parse(const char *text, enum log_level *ret)
{
    for (size_t i = 0; i < LEVELS_COUNT; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

/* ---- one line ---- */

/* Length of the printable UTF-8 character at @at, 0 if there is none. C1 controls are not
 * printable: some terminals obey them. */
static size_t printable(const unsigned char *at, size_t left)
{
    size_t len = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;

    if (len == 1) {
        return at[0] >= 0x20 && at[0] != 0x7f;
    }
    if (at[0] < 0xc2 || at[0] > 0xf4 || len > left) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return at[0] == 0xc2 && at[1] < 0xa0 ? 0 : len;
}

/* Append @len bytes of @data to @out, of which @used are taken, as printable text.
 * Returns the new length; stops where the room ends. */
static size_t put_escaped(
    char *out, size_t used, size_t size, const char *data, size_t len, bool quotes_too)
{
    size_t step = 1;

    for (size_t i = 0; i < len; i += step) {
        const unsigned char *at = (const unsigned char *)data + i;
        char text[8];
        size_t text_len = printable(at, len - i);
        step = text_len != 0 ? text_len : 1;
        if (text_len == 0) {
            text_len = (size_t)snprintf(text, sizeof(text), "\\x%02x", at[0]);
        } else if (quotes_too && (at[0] == '"' || at[0] == '\\')) {
            text[0] = '\\';
            text[1] = (char)at[0];
            text_len = 2;
        } else {
            memcpy(text, at, text_len);
        }
        if (size - used < text_len) {
            break;
        }
        memcpy(out + used, text, text_len);
        used += text_len;
    }
    return used;
}

static int put_head(const struct log *log,
                    enum log_level level,
                    const char *component,
                    const char *event,
                    char *out,
                    size_t size)
{
    struct timespec now;
    struct tm utc;

    if (log->journal) {
        return snprintf(out, size, "<%d>%s %s", level_priorities[level], component,
                        event);
    }
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    return snprintf(out, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s %s",
                    utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
                    utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000, level_names[level],
                    component, event);
}

static void __attribute__((format(printf, 5, 0))) write_line(const struct log *log,
                                                             enum log_level level,
                                                             const char *component,
                                                             const char *event,
                                                             const char *format,
                                                             va_list args)
{
    char text[LINE_BYTES];
    char line[LINE_BYTES];
    int head = put_head(log, level, component, event, line, LINE_BYTES / 2);
    size_t used = head < 0 ? 0 : (size_t)head;
    int len = vsnprintf(text, sizeof(text), format, args);
    if (len > 0) {
        size_t text_len = (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
        line[used++] = ' ';
        used = put_escaped(line, used, sizeof(line) - 1, text, text_len, false);
    }
    line[used++] = '\n';
    /* One write, so that lines of several threads or processes do not mix. If stderr is
     * gone there is nobody to tell. */
    ssize_t written = write(log->fd, line, used);
    (void)written;
}

void log_event(const struct log *log,
               enum log_level level,
               const char *component,
               const char *event,
               const char *format,
               ...)
{
    va_list args;

    if (level > log->level) {
        return;
    }
    va_start(args, format);
    write_line(log, level, component, event, format, args);
    va_end(args);
}

void log_audit(const struct log *log, const char *event, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_line(log, LOG_LEVEL_INFO, "audit", event, format, args);
    va_end(args);
}

/* ---- values ---- */

const char *log_quote(char out[static LOG_QUOTED_BYTES], const char *data, size_t len)
{
    out[0] = '"';
    size_t used = put_escaped(out, 1, LOG_QUOTED_BYTES - 2, data, len, true);
    out[used++] = '"';
    out[used] = '\0';
    return out;
}

const char *
log_client_id(char out[static LOG_CLIENT_ID_BYTES], const char *id, size_t len)
{
    static const char cut[] = "…";
    size_t shown = 0;
    size_t characters = 0;

    while (shown < len && characters < CLIENT_ID_SHOWN) {
        size_t step = printable((const unsigned char *)id + shown, len - shown);
        shown += step != 0 ? step : 1;
        characters++;
    }
    size_t used = put_escaped(out, 0, LOG_CLIENT_ID_BYTES - sizeof(cut), id, shown, true);
    if (shown < len) {
        memcpy(out + used, cut, sizeof(cut) - 1);
        used += sizeof(cut) - 1;
    }
    out[used] = '\0';
    return out;
}

/* ---- limits ---- */

bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint32_t *ret_suppressed)
{
    if (limit->written == 0 || now_ms - limit->interval_start_ms >= LIMIT_INTERVAL_MS) {
        limit->interval_start_ms = now_ms;
        limit->written = 0;
    }
    if (limit->written == LIMIT_LINES) {
        limit->suppressed++;
        return false;
    }
    limit->written++;
    *ret_suppressed = limit->suppressed;
    limit->suppressed = 0;
    return true;
}
