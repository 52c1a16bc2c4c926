#include "cli_text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void *or_die(void *memory)
{
    if (memory == NULL) {
        fputs("netlock: out of memory\n", stderr);
        exit(71);
    }
    return memory;
}

/* How many bytes a sequence that starts with @first has, and the bits of the code point in it. */
static size_t sequence_bytes(unsigned char first, int32_t *ret_bits)
{
    if (first < 0x80) {
        *ret_bits = first;
        return 1;
    }
    if (first >= 0xc2 && first < 0xe0) {
        *ret_bits = first & 0x1f;
        return 2;
    }
    if (first >= 0xe0 && first < 0xf0) {
        *ret_bits = first & 0x0f;
        return 3;
    }
    if (first >= 0xf0 && first < 0xf5) {
        *ret_bits = first & 0x07;
        return 4;
    }
    return 0;
}

int32_t text_decode(const char *text, size_t *ret_bytes)
{
    static const int32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    int32_t code;
    size_t bytes = sequence_bytes((unsigned char)text[0], &code);

    *ret_bytes = 1;
    if (bytes == 0) {
        return -1;
    }
    for (size_t i = 1; i < bytes; i++) {
        if (((unsigned char)text[i] & 0xc0) !=
            0x80) { /* stops at the terminating NUL, too */
            return -1;
        }
        code = code << 6 | (text[i] & 0x3f);
    }
    if (code < smallest[bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        return -1;
    }
    *ret_bytes = bytes;
    return code;
}

/* Characters that move or hide others: C0, C1, line separators, marks, joiners and overrides. */
static bool is_plain(int32_t code)
{
    return code >= 0x20 && !(code >= 0x7f && code < 0xa0) && code != 0xad &&
           code != 0x61c && !(code >= 0x200b && code <= 0x200f) &&
           !(code >= 0x2028 && code <= 0x202e) && !(code >= 0x2060 && code <= 0x206f) &&
           code != 0xfeff && !(code >= 0xfff9 && code <= 0xfffb) &&
           !(code >= 0xe0000 && code <= 0xe007f);
}

char *text_escape(const char *text)
{
    char *escaped = NULL;
    size_t size;
    FILE *out = or_die(open_memstream(&escaped, &size));

    for (size_t bytes; *text != '\0'; text += bytes) {
        int32_t code = text_decode(text, &bytes);

        if (code == '\\') {
            fputs("\\\\", out);
        } else if (code == '\n') {
            fputs("\\n", out);
        } else if (code == '\t') {
            fputs("\\t", out);
        } else if (code < 0x80 && (code < 0 || !is_plain(code))) {
            fprintf(out, "\\x%02x", (unsigned)(unsigned char)*text);
        } else if (!is_plain(code)) {
            fprintf(out, "\\u{%" PRIx32 "}", (uint32_t)code);
        } else {
            fwrite(text, 1, bytes, out);
        }
    }
    if (fclose(out) != 0) {
        or_die(NULL);
    }
    return escaped;
}

char *text_duration(uint64_t ms, char buffer[static TEXT_DURATION_BYTES])
{
    uint64_t s = ms / 1000;

    if (ms == UINT32_MAX) {
        snprintf(buffer, TEXT_DURATION_BYTES, "unlimited");
    } else if (ms < 1000) {
        snprintf(buffer, TEXT_DURATION_BYTES, "%" PRIu64 "ms", ms);
    } else if (s < 60) {
        snprintf(buffer, TEXT_DURATION_BYTES, "%" PRIu64 "s", s);
    } else if (s < 3600) {
        snprintf(buffer, TEXT_DURATION_BYTES, "%" PRIu64 "m%02us", s / 60,
                 (unsigned)(s % 60));
    } else if (s < 86400) {
        snprintf(buffer, TEXT_DURATION_BYTES, "%" PRIu64 "h%02um", s / 3600,
                 (unsigned)(s / 60 % 60));
    } else {
        snprintf(buffer, TEXT_DURATION_BYTES, "%" PRIu64 "d%02uh", s / 86400,
                 (unsigned)(s / 3600 % 24));
    }
    return buffer;
}

size_t text_prefix(const char *text, size_t characters)
{
    size_t at = 0, bytes;

    while (text[at] != '\0' && characters-- > 0) {
        text_decode(text + at, &bytes);
        at += bytes;
    }
    return at;
}

/* ---- tables ---- */

void text_table_add(struct text_table *table, const char *text)
{
    if (table->cells_count == table->cells_capacity) {
        table->cells_capacity =
            table->cells_capacity == 0 ? 64 : 2 * table->cells_capacity;
        table->cells = or_die(
            reallocarray(table->cells, table->cells_capacity, sizeof *table->cells));
    }
    table->cells[table->cells_count++] = text_escape(text);
}

void text_table_addf(struct text_table *table, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
    }
    va_end(args);
    text_table_add(table, or_die(text));
    free(text);
}

static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static size_t column_width(const struct text_table *table, size_t column)
{
    size_t widest = 0;

    for (size_t i = column; i < table->cells_count; i += table->columns) {
        size_t width = width_of(table->cells[i]);

        widest = width > widest ? width : widest;
    }
    return table->width_max != 0 && widest > table->width_max ? table->width_max : widest;
}

/* A cell and the space up to the next one. */
static void print_cell(const char *text, size_t width, FILE *out)
{
    if (text[text_prefix(text, width)] == '\0') {
        fprintf(out, "%s%*s", text, (int)(width - width_of(text) + 2), "");
    } else {
        fprintf(out, "%.*s\xe2\x80\xa6  ", (int)text_prefix(text, width - 1), text);
    }
}

void text_table_print(const struct text_table *table, FILE *out)
{
    size_t *widths = or_die(calloc(table->columns, sizeof *widths));

    assert(table->cells_count % table->columns == 0);
    for (size_t column = 0; column < table->columns; column++) {
        widths[column] = column_width(table, column);
    }
    for (size_t i = 0; i < table->cells_count; i++) {
        size_t column = i % table->columns;

        if (column == table->columns - 1) {
            fprintf(out, "%s\n", table->cells[i]);
        } else {
            print_cell(table->cells[i], widths[column], out);
        }
    }
    free(widths);
}

void text_table_release(struct text_table *table)
{
    for (size_t i = 0; i < table->cells_count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    *table = (struct text_table){0};
}

/* ---- JSON ---- */

static void put_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (size_t bytes; *text != '\0'; text += bytes) {
        int32_t code = text_decode(text, &bytes);

        if (code == '"' || code == '\\') {
            fprintf(out, "\\%c", (char)code);
        } else if (code < 0) {
            fputs("\\ufffd", out);
        } else if (code < 0x10000 && !is_plain(code)) {
            fprintf(out, "\\u%04" PRIx32, (uint32_t)code);
        } else {
            fwrite(text, 1, bytes, out);
        }
    }
    fputc('"', out);
}

/* What stands before a value: the comma after its predecessor, line and indent, the key. */
static void put_lead(struct json *json, const char *key)
{
    if (json->depth == 0) {
        assert(key == NULL);
        return;
    }
    assert((key != NULL) == (json->closing[json->depth - 1] == '}'));
    fprintf(json->out, "%s\n%*s", json->has_members[json->depth - 1] ? "," : "",
            (int)(2 * json->depth), "");
    json->has_members[json->depth - 1] = true;
    if (key != NULL) {
        put_quoted(json->out, key);
        fputs(": ", json->out);
    }
}

static void open_container(struct json *json, const char *key, const char *brackets)
{
    put_lead(json, key);
    assert(json->depth < JSON_DEPTH_MAX);
    fputc(brackets[0], json->out);
    json->has_members[json->depth] = false;
    json->closing[json->depth++] = brackets[1];
}

void json_open_object(struct json *json, const char *key)
{
    open_container(json, key, "{}");
}

void json_open_array(struct json *json, const char *key)
{
    open_container(json, key, "[]");
}

void json_close(struct json *json)
{
    assert(json->depth > 0);
    json->depth--;
    if (json->has_members[json->depth]) {
        fprintf(json->out, "\n%*s", (int)(2 * json->depth), "");
    }
    fputc(json->closing[json->depth], json->out);
    if (json->depth == 0) {
        fputc('\n', json->out);
    }
}

void json_string(struct json *json, const char *key, const char *value)
{
    if (value == NULL) {
        json_null(json, key);
        return;
    }
    put_lead(json, key);
    put_quoted(json->out, value);
}

void json_number(struct json *json, const char *key, uint64_t value)
{
    put_lead(json, key);
    fprintf(json->out, "%" PRIu64, value);
}

void json_bool(struct json *json, const char *key, bool value)
{
    put_lead(json, key);
    fputs(value ? "true" : "false", json->out);
}

void json_null(struct json *json, const char *key)
{
    put_lead(json, key);
    fputs("null", json->out);
}

void json_ms(struct json *json, const char *key, uint32_t ms)
{
    if (ms == UINT32_MAX) {
        json_null(json, key);
    } else {
        json_number(json, key, ms);
    }
}
