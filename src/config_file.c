#include "config_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xalloc.h"

struct text {
    struct config_source *source;
    const char *at;
    const char *end;
};

/* Where a comment behind a value begins: '#' after a blank, as people write it; inih
 * knows ';'. */
static const char *comment_start(const char *at, const char *end)
{
    for (const char *c = at; c + 1 < end; c++) {
        if ((c[0] == ' ' || c[0] == '\t') && c[1] == '#') {
            return c;
        }
    }
    return end;
}

/* One line for inih, which does not count them. Without what stands before it, since inih
 * takes an indented line for more of the value above. */
static char *read_line(char *out, int size, void *arg)
{
    struct text *text = arg;
    struct config_source *source = text->source;

    if (text->at == text->end || source->error[0] != '\0') {
        return NULL;
    }
    source->line++;
    const char *end = memchr(text->at, '\n', (size_t)(text->end - text->at));
    const char *next = end != NULL ? end + 1 : text->end;
    end = end != NULL ? end : text->end;
    const char *start = text->at;
    text->at = next;
    while (start < end && (*start == ' ' || *start == '\t')) {
        start++;
    }
    size_t len = (size_t)(comment_start(start, end) - start);
    if (len > CONFIG_LINE_BYTES_MAX || len + 2 > (size_t)size) {
        config_fail(source, "a line longer than %d bytes", CONFIG_LINE_BYTES_MAX);
        return NULL;
    }
    memcpy(out, start, len);
    out[len] = '\n';
    out[len + 1] = '\0';
    return out;
}

static int on_pair(void *arg, const char *section, const char *name, const char *value)
{
    struct config_source *source = ((struct text *)arg)->source;

    if (section[0] != '\0') {
        config_fail(source, "[%.40s]: sections are not used here", section);
        return 0;
    }
    return config_set(source, name, value) == 0;
}

/* A text file: everything else (a certificate, a log, an executable) is a mistake. */
static int check_text(struct config_source *source, const char *data, size_t len)
{
    int line = 1;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '\n') {
            line++;
        } else if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f) {
            source->line = line;
            return config_fail(source, "a byte 0x%02x: this is not a text file", c);
        }
    }
    return 0;
}

static int parse_text(struct config_source *source, const char *data, size_t len)
{
    struct text text = {.source = source, .at = data, .end = data + len};

    int rv = check_text(source, data, len);
    if (rv != 0) {
        return rv;
    }
    int bad_line = ini_parse_stream(read_line, &text, on_pair, &text);
    if (source->error[0] != '\0') {
        return -EINVAL;
    }
    if (bad_line != 0) {
        source->line = bad_line;
        return config_fail(source, "not \"key = value\"");
    }
    return 0;
}

/* Returns the length, or -1 after config_fail(). */
static ssize_t read_whole(struct config_source *source, int fd, char **ret_data)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        config_fail(source, "%s", strerror(errno));
        return -1;
    }
    if (S_ISDIR(st.st_mode)) {
        config_fail(source, "is a directory");
        return -1;
    }
    char *data = xcalloc(CONFIG_FILE_BYTES_MAX + 1);
    size_t len = 0;
    ssize_t got;
    do {
        got = read(fd, data + len, CONFIG_FILE_BYTES_MAX + 1 - len);
        len += got > 0 ? (size_t)got : 0;
    } while (got > 0 && len <= CONFIG_FILE_BYTES_MAX);
    if (got < 0) {
        config_fail(source, "%s", strerror(errno));
    } else if (len > CONFIG_FILE_BYTES_MAX) {
        config_fail(source, "larger than %d bytes: this is no configuration",
                    CONFIG_FILE_BYTES_MAX);
    }
    *ret_data = data;
    return source->error[0] == '\0' ? (ssize_t)len : -1;
}

int config_parse_file(struct config *config, const char *path, char *ret_error)
{
    struct config_source source = {.config = config, .name = path, .error = ret_error};
    char *data = NULL;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return config_fail(&source, "%s", strerror(errno));
    }
    ssize_t len = read_whole(&source, fd, &data);
    close(fd);
    int rv = len < 0 ? -EINVAL : parse_text(&source, data, (size_t)len);
    free(data);
    return rv;
}
