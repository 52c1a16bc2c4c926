#include "body.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "xalloc.h"

enum { CAPACITY_MIN = 4096, LINE_BYTES_MAX = 512, NUMBER_DIGITS_MAX = 20 };

static char *reserve(struct body *body, size_t more)
{
    if (body->capacity - body->len < more) {
        size_t capacity = body->capacity != 0 ? body->capacity : CAPACITY_MIN;
        while (capacity - body->len < more) {
            capacity *= 2;
        }
        body->data = xrealloc(body->data, capacity);
        body->capacity = capacity;
    }
    return body->data + body->len;
}

void body_put(struct body *body, const char *data, size_t len)
{
    if (len != 0) {
        memcpy(reserve(body, len), data, len);
        body->len += len;
    }
}

void body_text(struct body *body, const char *text)
{
    body_put(body, text, strlen(text));
}

void body_number(struct body *body, uint64_t number)
{
    char digits[NUMBER_DIGITS_MAX];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    body_put(body, digits + at, sizeof(digits) - at);
}

void body_printf(struct body *body, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int len = vsnprintf(reserve(body, LINE_BYTES_MAX), LINE_BYTES_MAX, format, args);
    va_end(args);
    assert(len >= 0 && len < LINE_BYTES_MAX);
    body->len += (size_t)len;
}

void body_release(struct body *body)
{
    free(body->data);
    *body = (struct body){0};
}

/* ---- JSON ---- */

/* How many bytes the character at @data has; 0: it is none of UTF-8. */
static size_t character_len(const unsigned char *data, size_t len)
{
    unsigned char lead = data[0];
    size_t need = lead < 0x80   ? 1
                  : lead < 0xc2 ? 0
                  : lead < 0xe0 ? 2
                  : lead < 0xf0 ? 3
                                : 4;

    if (need == 0 || need > len || lead > 0xf4) {
        return 0;
    }
    for (size_t i = 1; i < need; i++) {
        if ((data[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((lead == 0xe0 && data[1] < 0xa0) || (lead == 0xed && data[1] > 0x9f) ||
        (lead == 0xf0 && data[1] < 0x90) || (lead == 0xf4 && data[1] > 0x8f)) {
        return 0; /* longer than need be, a surrogate, beyond the last */
    }
    return need;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' &&
           c != '&';
}

static size_t plain_len(const char *data, size_t len)
{
    size_t plain = 0;

    while (plain < len && is_plain((unsigned char)data[plain])) {
        plain++;
    }
    return plain;
}

static void put_quoted(struct body *body, const char *data, size_t len)
{
    body_put(body, "\"", 1);
    for (;;) {
        size_t plain = plain_len(data, len);
        body_put(body, data, plain);
        data += plain;
        len -= plain;
        if (len == 0) {
            break;
        }
        size_t bytes = character_len((const unsigned char *)data, len);
        if (bytes > 1) {
            body_put(body, data, bytes);
        } else if (bytes == 1) {
            body_printf(body, "\\u%04x", (unsigned)(unsigned char)data[0]);
        } else {
            body_text(body, "\\ufffd");
            bytes = 1;
        }
        data += bytes;
        len -= bytes;
    }
    body_put(body, "\"", 1);
}

static void lead(struct body *body, const char *key)
{
    if (body->len != 0 && strchr("{[", body->data[body->len - 1]) == NULL) {
        body_put(body, ",", 1);
    }
    if (key != NULL) {
        body_put(body, "\"", 1);
        body_text(body, key);
        body_put(body, "\":", 2);
    }
}

void json_open(struct body *body, const char *key, char bracket)
{
    lead(body, key);
    body_put(body, &bracket, 1);
}

void json_close(struct body *body, char bracket)
{
    body_put(body, &bracket, 1);
}

void json_string(struct body *body, const char *key, const char *data, size_t len)
{
    lead(body, key);
    put_quoted(body, data, len);
}

void json_text(struct body *body, const char *key, const char *text)
{
    json_string(body, key, text, strlen(text));
}

void json_number(struct body *body, const char *key, uint64_t number)
{
    lead(body, key);
    body_number(body, number);
}

void json_bool(struct body *body, const char *key, bool value)
{
    lead(body, key);
    body_text(body, value ? "true" : "false");
}

void json_null(struct body *body, const char *key)
{
    lead(body, key);
    body_text(body, "null");
}
