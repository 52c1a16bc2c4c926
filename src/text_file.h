/* text_file.h - a file that people write, read whole: the configuration, the ACL, the
 * tokens.
 *
 * What is no text (a certificate, a log, an executable) is refused before anybody parses
 * it, with the line. */
#ifndef NETLOCK_TEXT_FILE_H
#define NETLOCK_TEXT_FILE_H

#include <stdbool.h>
#include <stddef.h>

enum { TEXT_FILE_BYTES_MAX = 1048576, TEXT_PROBLEM_BYTES = 256 };

/* What is wrong with it. */
struct text_problem {
    int line; /* 0: the file as a whole */
    char text[TEXT_PROBLEM_BYTES];
};

/* Returns 0 with *@ret_data (the caller's to free; a NUL behind the end) and its length,
 * or -EINVAL with @ret_problem: it cannot be read, is a directory, too large, or has a
 * byte that no text has. */
int text_file_read(const char *path,
                   char **ret_data,
                   size_t *ret_len,
                   struct text_problem *ret_problem);

/* The check alone. */
int text_check(const char *data, size_t len, struct text_problem *ret_problem);

/* Note what is wrong in @line. Returns -EINVAL. */
int text_problem_set(struct text_problem *problem, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "PATH:LINE: TEXT", or without the line. */
void text_problem_print(const struct text_problem *problem,
                        const char *path,
                        char *out,
                        size_t size);

/* The next line of [*@at, @end): false at the end. Without the newline, a carriage return
 * before it, and blanks around it. */
struct text_line {
    const char *data;
    size_t len;
};
bool text_line_next(const char **at, const char *end, struct text_line *ret);

#endif
