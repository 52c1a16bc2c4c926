/* config_internal.h - what the files of the configuration share: config_keys.c has the
 * table of keys and their values, config_file.c reads a file, config.c the flags, the
 * defaults and what must fit. */
#ifndef NETLOCK_CONFIG_INTERNAL_H
#define NETLOCK_CONFIG_INTERNAL_H

#include "config.h"

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE }; /* in ms */

enum config_kind {
    KIND_NUMBER,
    KIND_DURATION,
    KIND_YES_NO,
    KIND_TEXT,
    KIND_LEVEL,
    KIND_MEMBER,
};

struct config_key {
    const char *name;
    enum config_kind kind;
    size_t offset;
    size_t size;       /* KIND_TEXT: of the array */
    uint64_t min, max; /* numbers as they are, durations in ms */
    bool or_unlimited;
    const char *fallback; /* shown in help */
    const char *help;
};

enum { CONFIG_KEYS_COUNT = 40 };
extern const struct config_key config_keys[CONFIG_KEYS_COUNT];

/* Where a value comes from, for duplicates and messages. */
struct config_source {
    struct config *config;
    const char *name; /* of the file; NULL: command line */
    int line;         /* 0: the file as a whole */
    bool given[CONFIG_KEYS_COUNT];
    char *error; /* CONFIG_ERROR_BYTES; the first one, "" while there is none */
};

/* Note what is wrong, unless something was before. Returns -EINVAL. */
int config_fail(struct config_source *source, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Parse and store one value. */
int config_set(struct config_source *source, const char *name, const char *value);

/* What has passed text_check(). */
int config_parse_text(struct config_source *source, const char *data, size_t len);
int config_parse_file(struct config *config, const char *path, char *ret_error);

#endif
