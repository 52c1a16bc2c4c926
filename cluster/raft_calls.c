#include "raft_calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    ZEROS_BYTES =
        1048576,   /* at a time: what others want stored meanwhile waits for no more */
    ARGUMENTS = 6, /* that a system call can have */
};

/* File systems that never write in place: statfs(2). */
static const uint32_t COPY_ON_WRITE[] = {
    0x9123683e, /* btrfs */
    0x2fc12fc1, /* ZFS */
    0xca451a4e, /* bcachefs */
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

/* Returns 0 or an errno. They are stored at once and leave the page cache, as far as the kernel lets
 * them: a later write that goes past it would have to wait for them. */
static int write_zeros(int fd, off_t offset, off_t len)
{
    static const uint8_t zeros[ZEROS_BYTES];

    while (len > 0) {
        size_t part = len < ZEROS_BYTES ? (size_t)len : ZEROS_BYTES;
        ssize_t written = pwrite(fd, zeros, part, offset);

        if (written >= 0 && fdatasync(fd) == 0) {
            offset += written;
            len -= written;
        } else if (errno != EINTR) {
            return errno;
        }
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return 0;
}

/* A segment has a name from the beginning. A snapshot, which libraft reserves in the same way, gets its
 * name when it is stored: it is written once, from the first byte to the last. */
static bool is_segment(int fd)
{
    struct stat stat;

    return fstat(fd, &stat) == 0 && stat.st_nlink > 0;
}

static bool is_written_in_place(int fd)
{
    struct statfs statfs;

    if (fstatfs(fd, &statfs) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof COPY_ON_WRITE / sizeof COPY_ON_WRITE[0]; i++) {
        if ((uint32_t)statfs.f_type == COPY_ON_WRITE[i]) {
            return false;
        }
    }
    return true;
}

/* Reserved before it is written: a disk without room for all of it says so, and stays as it was. */
int posix_fallocate(int fd, off_t offset, off_t len)
{
    fallocate_fn reserve;

    find_libc_function("posix_fallocate", &reserve);
    int error = reserve(fd, offset, len);
    if (error != 0 || !is_segment(fd) || !is_written_in_place(fd)) {
        return error;
    }
    return write_zeros(fd, offset, len);
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

/* False: there is no thread to be had. It takes no signal: those that end the process are the loop's. errno is
 * left alone, as libraft looks at it after this. */
static bool destroy_in_thread(void *context)
{
    pthread_attr_t detached;
    pthread_t thread;
    sigset_t all, before;
    int saved = errno;

    if (pthread_attr_init(&detached) != 0) {
        return false;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) == 0 &&
                   pthread_create(&thread, &detached, destroy, context) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
    errno = saved;
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
