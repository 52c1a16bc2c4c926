/* as_file.h - the bytes of an input as a file that can be opened by its name. */
#ifndef NETLOCK_FUZZ_AS_FILE_H
#define NETLOCK_FUZZ_AS_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Its path, valid until the next call. */
static inline const char *as_file(const uint8_t *data, size_t size)
{
    static char path[32];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("input", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size) {
        abort();
    }
    return path;
}

/* For one input of sixteen: a file takes ten times as long as its bytes. */
static inline int goes_by_file(const uint8_t *data, size_t size)
{
    return size > 0 && data[size - 1] % 16 == 10; /* a newline, for one */
}

#endif
