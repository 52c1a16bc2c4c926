/* A configuration file of any bytes is taken or refused with one line, never half. */
#include <assert.h>
#include <string.h>

#include "as_file.h"
#include "config_internal.h"
#include "text_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(struct config *config, const uint8_t *data, size_t size, char *ret_error)
{
    struct config_source source = {.config = config, .name = "f", .error = ret_error};
    struct text_problem problem;

    if (goes_by_file(data, size)) {
        return config_parse_file(config, as_file(data, size), ret_error);
    }
    if (text_check((const char *)data, size, &problem) != 0) {
        return config_fail(&source, "%s", problem.text);
    }
    return config_parse_text(&source, (const char *)data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    char error[CONFIG_ERROR_BYTES] = "";

    memset(&config, 0, sizeof(config));
    int rv = parse(&config, data, size, error);
    assert((rv == 0) == (error[0] == '\0'));
    assert(strchr(error, '\n') == NULL);
    assert(config.members_count <= RAFT_NODE_MEMBERS_MAX);
    return 0;
}
