/* A configuration file of any bytes is taken or refused with one line, never half. */
#include <assert.h>
#include <string.h>

#include "config_internal.h"
#include "text_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    char error[CONFIG_ERROR_BYTES] = "";
    struct config_source source = {.config = &config, .name = "f", .error = error};
    struct text_problem problem;

    memset(&config, 0, sizeof(config));
    if (text_check((const char *)data, size, &problem) != 0) {
        return 0;
    }
    int rv = config_parse_text(&source, (const char *)data, size);
    assert((rv == 0) == (error[0] == '\0'));
    assert(strchr(error, '\n') == NULL);
    return 0;
}
