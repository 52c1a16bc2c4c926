/* body.h - the body of an HTTP answer: bytes that grow, and JSON into them.
 *
 * Containers are opened and closed in pairs; members of objects have a key, elements of
 * arrays and the outermost value NULL. Strings are others' bytes: what is not UTF-8 becomes
 * U+FFFD, control characters and < > & are escaped, so that no answer can be taken for
 * HTML. */
#ifndef NETLOCK_BODY_H
#define NETLOCK_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise. */
struct body {
    char *data;
    size_t len, capacity;
};

void body_put(struct body *body, const char *data, size_t len);
void body_text(struct body *body, const char *text);
void body_number(struct body *body, uint64_t number);
__attribute__((format(printf, 2, 3))) void
body_printf(struct body *body, const char *format, ...);
void body_release(struct body *body);

void json_open(struct body *body, const char *key, char bracket); /* { or [ */
void json_close(struct body *body, char bracket);                 /* } or ] */
void json_string(struct body *body, const char *key, const char *data, size_t len);
void json_text(struct body *body, const char *key, const char *text);
void json_number(struct body *body, const char *key, uint64_t number);
void json_bool(struct body *body, const char *key, bool value);
void json_null(struct body *body, const char *key);

#endif
