#include "text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xalloc.h"

int text_problem_set(struct text_problem *problem, int line, const char *format, ...)
{
    va_list args;

    problem->line = line;
    va_start(args, format);
    vsnprintf(problem->text, sizeof(problem->text), format, args);
    va_end(args);
    return -EINVAL;
}

void text_problem_print(const struct text_problem *problem,
                        const char *path,
                        char *out,
                        size_t size)
{
    if (problem->line == 0) {
        snprintf(out, size, "%.200s: %s", path, problem->text);
    } else {
        snprintf(out, size, "%.200s:%d: %s", path, problem->line, problem->text);
    }
}

int text_check(const char *data, size_t len, struct text_problem *ret_problem)
{
    int line = 1;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '\n') {
            line++;
        } else if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f) {
            return text_problem_set(ret_problem, line,
                                    "a byte 0x%02x: this is not a text file", c);
        }
    }
    return 0;
}

static int read_fd(int fd, char *data, size_t *ret_len, struct text_problem *ret_problem)
{
    struct stat st;
    ssize_t got;

    if (fstat(fd, &st) != 0) {
        return text_problem_set(ret_problem, 0, "%s", strerror(errno));
    }
    if (S_ISDIR(st.st_mode)) {
        return text_problem_set(ret_problem, 0, "is a directory");
    }
    *ret_len = 0;
    do {
        got = read(fd, data + *ret_len, TEXT_FILE_BYTES_MAX + 1 - *ret_len);
        *ret_len += got > 0 ? (size_t)got : 0;
    } while (got > 0 && *ret_len <= TEXT_FILE_BYTES_MAX);
    if (got < 0) {
        return text_problem_set(ret_problem, 0, "%s", strerror(errno));
    }
    if (*ret_len > TEXT_FILE_BYTES_MAX) {
        return text_problem_set(ret_problem, 0,
                                "larger than %d bytes: this is no configuration",
                                TEXT_FILE_BYTES_MAX);
    }
    return text_check(data, *ret_len, ret_problem);
}

int text_file_read(const char *path,
                   char **ret_data,
                   size_t *ret_len,
                   struct text_problem *ret_problem)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return text_problem_set(ret_problem, 0, "%s", strerror(errno));
    }
    char *data = xcalloc(TEXT_FILE_BYTES_MAX + 2);
    int rv = read_fd(fd, data, ret_len, ret_problem);
    close(fd);
    if (rv != 0) {
        free(data);
        return rv;
    }
    data[*ret_len] = '\0';
    *ret_data = data;
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

bool text_line_next(const char **at, const char *end, struct text_line *ret)
{
    if (*at == end) {
        return false;
    }
    const char *start = *at;
    const char *stop = memchr(start, '\n', (size_t)(end - start));
    *at = stop != NULL ? stop + 1 : end;
    stop = stop != NULL ? stop : end;
    while (start < stop && is_blank(*start)) {
        start++;
    }
    while (stop > start && is_blank(stop[-1])) {
        stop--;
    }
    *ret = (struct text_line){.data = start, .len = (size_t)(stop - start)};
    return true;
}
