/* Runs a harness once over every file of the directories that it is given: the corpus as a test,
 * with any compiler. */
#include <dirent.h>
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes are in a block of their own size, so that AddressSanitizer sees a step beyond them. */
static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");

    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        err(1, "%s", path);
    }
    size_t size = (size_t)ftell(file);
    uint8_t *data = malloc(size > 0 ? size : 1);
    rewind(file);
    if (data == NULL || fread(data, 1, size, file) != size) {
        err(1, "%s", path);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

static unsigned run_directory(const char *directory)
{
    struct dirent **names;
    unsigned files = 0;

    int count = scandir(directory, &names, NULL, alphasort);
    if (count < 0) {
        err(1, "%s", directory);
    }
    for (int i = 0; i < count; i++) {
        char path[4096];
        if (names[i]->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", directory, names[i]->d_name);
            run_file(path);
            files++;
        }
        free(names[i]);
    }
    free(names);
    return files;
}

int main(int argc, char **argv)
{
    unsigned files = 0;

    for (int i = 1; i < argc; i++) {
        files += run_directory(argv[i]);
    }
    printf("%u files\n", files);
    return files > 0 ? 0 : 1;
}
