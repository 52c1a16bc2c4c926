#include "raft_calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ZEROS_BYTES = 262144, /* at a time: what others want stored meanwhile waits for no more */
    ARGUMENTS = 6,        /* that a system call can have */
};

typedef int (*fallocate_fn)(int fd, off_t offset, off_t len);
typedef long (*syscall_fn)(long number, ...);

/* The one behind ours, into the function pointer at @ret. */
static void find_libc_function(const char *name, void *ret)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (function == NULL) {
        abort();
    }
    memcpy(ret, &function, sizeof function);
}

/* ---- segments ------------------------------------------------------------------------------- */

/* Returns 0 or an errno. They are stored at once and leave the page cache: a later write that goes past
 * it would have to wait for them. */
static int write_zeros(int fd, off_t offset, off_t len)
{
    static const uint8_t zeros[ZEROS_BYTES];

    while (len > 0) {
        size_t part = len < ZEROS_BYTES ? (size_t)len : ZEROS_BYTES;
        ssize_t written = pwrite(fd, zeros, part, offset);

        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0 || fdatasync(fd) != 0) {
            return errno;
        }
        offset += written;
        len -= written;
    }
    return posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* Reserved before it is written: a disk without room for all of it says so, and stays as it was. */
int posix_fallocate(int fd, off_t offset, off_t len)
{
    fallocate_fn reserve;

    find_libc_function("posix_fallocate", &reserve);
    int error = reserve(fd, offset, len);
    return error == 0 ? write_zeros(fd, offset, len) : error;
}

/* ---- contexts of asynchronous I/O ------------------------------------------------------------ */

static syscall_fn libc_syscall;

static void find_syscall(void)
{
    find_libc_function("syscall", &libc_syscall);
}

static void *destroy(void *context)
{
    (void)libc_syscall(SYS_io_destroy, context);
    return NULL;
}

/* False: there is no thread to be had. */
static bool destroy_in_thread(void *context)
{
    pthread_attr_t detached;
    pthread_t thread;

    if (pthread_attr_init(&detached) != 0) {
        return false;
    }
    bool started =
        pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) == 0 &&
        pthread_create(&thread, &detached, destroy, context) == 0;
    pthread_attr_destroy(&detached);
    return started;
}

/* How many arguments @number has is not asked: libc's takes six as well, whatever is in them. */
long syscall(long number, ...)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    void *arguments[ARGUMENTS];
    va_list args;

    pthread_once(&once, find_syscall);
    va_start(args, number);
    for (size_t i = 0; i < ARGUMENTS; i++) {
        arguments[i] = va_arg(args, void *);
    }
    va_end(args);
    if (number == SYS_io_destroy && destroy_in_thread(arguments[0])) {
        return 0;
    }
    return libc_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
                        arguments[4], arguments[5]);
}
