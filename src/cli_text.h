/* cli_text.h - what a terminal or a program reads: escaped names, tables, durations, JSON.
 *
 * Lock names and owner infos are chosen by strangers. On a terminal a name could move the cursor,
 * change colours or reverse the writing direction, so everything that is not plainly printable is
 * shown as an escape; JSON has its own. Out of memory ends the process: this is a command line.
 */
#ifndef NETLOCK_CLI_TEXT_H
#define NETLOCK_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The next character of @text (not its end): its code point, and how many bytes in @ret_bytes. An
 * invalid byte is -1, one byte long. */
int32_t text_decode(const char *text, size_t *ret_bytes);

/* How many bytes the first @characters of @text have; all, if there are no more. */
size_t text_prefix(const char *text, size_t characters);

/* @text with backslashes, control characters, bidirectional controls and invalid UTF-8 as \\, \n,
 * \x1b, \u{202e}. The caller frees it. */
char *text_escape(const char *text);

/* "350ms", "12s", "2m05s", "3h07m", "5d02h"; UINT32_MAX: "unlimited". @buffer is returned. */
enum { TEXT_DURATION_BYTES = 32 };
char *text_duration(uint64_t ms, char buffer[static TEXT_DURATION_BYTES]);

/* ---- tables ------------------------------------------------------------------------------------
 * Cells left to right, rows downwards, printed in columns as wide as they need; the last column is
 * not padded. */
struct text_table {
    size_t columns;
    size_t width_max; /* of all columns but the last: what is longer is cut; 0: none */
    size_t cells_count, cells_capacity;
    char **cells;
};
/* Escapes and copies. */
void text_table_add(struct text_table *table, const char *text);
__attribute__((format(printf, 2, 3))) void
text_table_addf(struct text_table *table, const char *format, ...);
void text_table_print(const struct text_table *table, FILE *out);
void text_table_release(struct text_table *table);

/* ---- JSON --------------------------------------------------------------------------------------
 * A writer: containers are opened and closed in pairs, members of objects have a key, elements of
 * arrays (and the outermost value) NULL. Invalid UTF-8 becomes U+FFFD. */
enum { JSON_DEPTH_MAX = 16 };
struct json {
    FILE *out;
    unsigned depth;
    bool has_members[JSON_DEPTH_MAX];
    char closing[JSON_DEPTH_MAX];
};
void json_open_object(struct json *json, const char *key);
void json_open_array(struct json *json, const char *key);
/* Closes the innermost container; after the outermost one a newline. */
void json_close(struct json *json);
void json_string(struct json *json, const char *key, const char *value); /* NULL: null */
void json_number(struct json *json, const char *key, uint64_t value);
void json_bool(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);
/* Milliseconds; UINT32_MAX, no limit, is null. */
void json_ms(struct json *json, const char *key, uint32_t ms);

#endif
