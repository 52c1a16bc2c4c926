#include "config_internal.h"

#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "text_file.h"

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
    if (source->line == 1 && end - start >= 3 && memcmp(start, "\xef\xbb\xbf", 3) == 0) {
        start += 3; /* what some editors begin a file with */
    }
    if (start < end && *start == '[') {
        config_fail(source, "sections are not used here");
        return NULL;
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

    (void)section;
    return config_set(source, name, value) == 0;
}

int config_parse_text(struct config_source *source, const char *data, size_t len)
{
    struct text text = {.source = source, .at = data, .end = data + len};

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

int config_parse_file(struct config *config, const char *path, char *ret_error)
{
    struct config_source source = {.config = config, .name = path, .error = ret_error};
    struct text_problem problem;
    char *data;
    size_t len;

    if (text_file_read(path, &data, &len, &problem) != 0) {
        source.line = problem.line;
        return config_fail(&source, "%s", problem.text);
    }
    int rv = config_parse_text(&source, data, len);
    free(data);
    return rv;
}
