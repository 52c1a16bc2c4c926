/* libraft's own calls to the system, answered by raft_calls.c: this program is linked with it, as netlockd is. */
#include "raft_calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <raft.h>
#include <raft/uv.h>

enum {
    FILE_BYTES = 1048576 + 4096, /* no multiple of what is written at once */
    EXTENTS_MAX = 64,
    WAITS_MAX = 1000, /* of 10 ms */
};

struct fixture {
    char dir[64];
    char path[96];
    int fd;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    memcpy(f->dir, "raft-calls-XXXXXX",
           sizeof "raft-calls-XXXXXX"); /* /tmp may be in memory */
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/file", f->dir);
    f->fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(f->fd >= 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    DIR *dir = opendir(f->dir);
    const struct dirent *entry;

    close(f->fd);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
        }
    }
    closedir(dir);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

/* The extents of a file that are reserved and were never written. Skips the test where no file system
 * tells. */
static unsigned unwritten_extents(int fd)
{
    _Alignas(struct fiemap) uint8_t
        bytes[sizeof(struct fiemap) + EXTENTS_MAX * sizeof(struct fiemap_extent)] = {0};
    struct fiemap *map = (struct fiemap *)bytes;
    unsigned count = 0;

    map->fm_length = FIEMAP_MAX_OFFSET;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = EXTENTS_MAX;
    if (ioctl(fd, FS_IOC_FIEMAP, map) != 0) {
        print_message("this file system does not tell its extents\n");
        skip();
    }
    assert_true(map->fm_mapped_extents > 0);
    for (unsigned i = 0; i < map->fm_mapped_extents; i++) {
        count += (map->fm_extents[i].fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0;
    }
    return count;
}

/* ---- segments ------------------------------------------------------------------------------- */

/* What the whole file is for: that the look at the extents can tell the one from the other. */
static void reserved_alone_is_unwritten(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fallocate(f->fd, 0, 0, FILE_BYTES), 0);
    assert_true(unwritten_extents(f->fd) > 0);
}

static void reserved_bytes_are_written_with_zeros(void **state)
{
    struct fixture *f = *state;
    struct stat stat;

    assert_int_equal(posix_fallocate(f->fd, 0, FILE_BYTES), 0);
    assert_int_equal(fstat(f->fd, &stat), 0);
    assert_int_equal(stat.st_size, FILE_BYTES);
    const uint8_t *bytes = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, f->fd, 0);
    assert_true(bytes != MAP_FAILED);
    for (size_t i = 0; i < FILE_BYTES; i++) {
        assert_int_equal(bytes[i], 0);
    }
    munmap((void *)(uintptr_t)bytes, FILE_BYTES);
    assert_int_equal(unwritten_extents(f->fd), 0);
}

static void a_snapshot_which_has_no_name_yet_is_only_reserved(void **state)
{
    struct fixture *f = *state;
    int fd = open(f->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0) {
        print_message("this file system has no files without a name\n");
        skip();
    }
    assert_int_equal(posix_fallocate(fd, 0, FILE_BYTES), 0);
    unsigned unwritten = unwritten_extents(fd);
    close(fd);
    assert_true(unwritten > 0);
}

static void no_room_is_an_error_and_nothing_is_written(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, small = {.rlim_cur = FILE_BYTES / 2};
    struct stat stat;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int error = posix_fallocate(f->fd, 0, FILE_BYTES);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(error, EFBIG);
    assert_int_equal(fstat(f->fd, &stat), 0);
    assert_int_equal(stat.st_size, 0);
    assert_int_equal(stat.st_blocks, 0);
}

static void an_error_is_returned_and_not_put_into_errno(void **state)
{
    (void)state;
    errno = 0;
    assert_int_equal(posix_fallocate(-1, 0, FILE_BYTES), EBADF);
    assert_int_equal(errno, 0);
}

/* ---- contexts of asynchronous I/O ------------------------------------------------------------ */

static void a_context_is_destroyed_a_little_later(void **state)
{
    aio_context_t context = 0;
    struct timespec wait = {.tv_nsec = 10000000};
    bool gone = false;

    (void)state;
    assert_int_equal(syscall(SYS_io_setup, 8, &context), 0);
    assert_int_equal(syscall(SYS_io_submit, context, 0L, NULL), 0);
    errno = EDOM;
    assert_int_equal(syscall(SYS_io_destroy, context), 0);
    assert_int_equal(errno, EDOM);
    for (int i = 0; i < WAITS_MAX && !gone; i++) {
        gone = syscall(SYS_io_submit, context, 0L, NULL) == -1 && errno == EINVAL;
        nanosleep(&wait, NULL);
    }
    assert_true(gone);
}

static void other_calls_are_as_before(void **state)
{
    struct fixture *f = *state;
    uint8_t byte = 7;

    assert_int_equal(syscall(SYS_getpid), getpid());
    errno = 0;
    assert_int_equal(syscall(SYS_close, -1), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(pwrite(f->fd, &byte, 1, 4096), 1);
    const uint8_t *page = (const uint8_t *)syscall(SYS_mmap, NULL, 4096L, PROT_READ,
                                                   MAP_SHARED, f->fd, 4096L);
    assert_true(page != MAP_FAILED);
    assert_int_equal(page[0], 7);
    munmap((void *)(uintptr_t)page, 4096);
}

/* ---- libraft asks here ----------------------------------------------------------------------- */

static int no_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    (void)fsm;
    (void)buf;
    (void)result;
    return 0;
}

static void on_closed(struct raft *raft)
{
    *(bool *)raft->data = true;
}

static bool is_there(const struct fixture *f, const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    return access(path, F_OK) == 0;
}

/* One node, until it has prepared its segments. */
static void run_raft(struct fixture *f)
{
    struct raft_uv_transport transport = {.version = 1};
    struct raft_io io = {.version = 1};
    struct raft_fsm fsm = {.version = 1, .apply = no_apply};
    struct raft_configuration configuration;
    struct raft raft = {0};
    uv_loop_t loop;
    bool closed = false;
    int rv = uv_loop_init(&loop);

    rv |= raft_uv_tcp_init(&transport, &loop);
    rv |= raft_uv_init(&io, &loop, f->dir, &transport);
    rv |= raft_init(&raft, &io, &fsm, 1, "127.0.0.1:0");
    raft_configuration_init(&configuration);
    rv |= raft_configuration_add(&configuration, 1, "127.0.0.1:0", RAFT_VOTER);
    rv |= raft_bootstrap(&raft, &configuration);
    raft_configuration_close(&configuration);
    rv |= raft_start(&raft);
    assert_int_equal(rv, 0);
    raft.data = &closed;
    for (int i = 0; i < WAITS_MAX && !is_there(f, "open-2"); i++) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    int fd = -1;
    char path[128];
    snprintf(path, sizeof path, "%s/open-2", f->dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    raft_close(&raft, on_closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(closed);
    raft_uv_close(&io);
    raft_uv_tcp_close(&transport);
    assert_int_equal(uv_loop_close(&loop), 0);
    close(f->fd);
    f->fd = fd;
}

static void a_segment_of_libraft_is_written_before_it_is_used(void **state)
{
    struct fixture *f = *state;
    struct stat stat;

    run_raft(f);
    assert_true(f->fd >= 0);
    assert_int_equal(fstat(f->fd, &stat), 0);
    assert_true(stat.st_size > FILE_BYTES);
    assert_int_equal(unwritten_extents(f->fd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reserved_alone_is_unwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(reserved_bytes_are_written_with_zeros, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_which_has_no_name_yet_is_only_reserved,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(no_room_is_an_error_and_nothing_is_written, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_error_is_returned_and_not_put_into_errno,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_context_is_destroyed_a_little_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(other_calls_are_as_before, setup, teardown),
        cmocka_unit_test_setup_teardown(a_segment_of_libraft_is_written_before_it_is_used,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
