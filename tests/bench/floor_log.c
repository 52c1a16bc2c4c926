#include "floor_log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 4096,
    FILE_BYTES = 1 << 30,    /* then from the start again, where a write costs less */
    BUFFER_BYTES = 16 << 20, /* of one write */
};

static struct {
    uv_loop_t *loop;
    int fd, done_fd;
    aio_context_t aio;
    uv_poll_t done;
    uv_work_t again;
    long again_result;
    uint8_t *blocks; /* what is written: from the first block that is not full */
    size_t used;
    off_t offset; /* of these in the file */
    bool writing;
    uint8_t *waiting; /* appended meanwhile */
    size_t waiting_len;
    uint64_t appended, submitted, durable;
    void (*on_durable)(void);
} disk;

void floor_check(const char *what, long rv)
{
    if (rv < 0) {
        fprintf(stderr, "bench_floor: %s: %s\n", what, uv_strerror((int)rv));
        exit(1);
    }
}

static size_t write_bytes(void)
{
    return (disk.used + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

static void start_write(void)
{
    memcpy(disk.blocks + disk.used, disk.waiting, disk.waiting_len);
    disk.used += disk.waiting_len;
    disk.waiting_len = 0;
    disk.submitted = disk.appended;
    disk.writing = true;
    struct iocb request = {.aio_lio_opcode = IOCB_CMD_PWRITE,
                           .aio_rw_flags = RWF_DSYNC | RWF_NOWAIT,
                           .aio_fildes = (uint32_t)disk.fd,
                           .aio_buf = (uintptr_t)disk.blocks,
                           .aio_nbytes = write_bytes(),
                           .aio_offset = disk.offset,
                           .aio_flags = IOCB_FLAG_RESFD,
                           .aio_resfd = (uint32_t)disk.done_fd};
    struct iocb *requests[] = {&request};
    long rv = syscall(SYS_io_submit, disk.aio, 1, requests);
    floor_check("io_submit", rv == 1 ? 0 : -errno);
}

static void end_write(long result)
{
    floor_check("write", result < 0 || (size_t)result == write_bytes() ? result : -EIO);
    size_t full = disk.used / BLOCK_BYTES * BLOCK_BYTES;
    disk.used -= full;
    memmove(disk.blocks, disk.blocks + full, disk.used);
    disk.offset += (off_t)full;
    if (disk.offset + BUFFER_BYTES > FILE_BYTES) {
        disk.offset = 0;
    }
    disk.durable = disk.submitted;
    disk.on_durable();
    disk.writing = false;
    if (disk.waiting_len > 0) {
        start_write();
    }
}

static void on_again(uv_work_t *work)
{
    struct iovec all = {.iov_base = disk.blocks, .iov_len = write_bytes()};

    (void)work;
    ssize_t n = pwritev2(disk.fd, &all, 1, disk.offset, RWF_DSYNC);
    disk.again_result = n < 0 ? -errno : n;
}

static void after_again(uv_work_t *work, int status)
{
    (void)work;
    (void)status;
    end_write(disk.again_result);
}

static void on_done(uv_poll_t *poll, int status, int events)
{
    uint64_t count;
    struct io_event event = {0};

    (void)poll;
    (void)events;
    floor_check("poll", status);
    floor_check("eventfd", read(disk.done_fd, &count, sizeof(count)) < 0 ? -errno : 0);
    long rv = syscall(SYS_io_getevents, disk.aio, 1, 1, &event, NULL);
    floor_check("io_getevents", rv == 1 ? 0 : -errno);
    if (event.res == -EAGAIN) {
        uv_queue_work(disk.loop, &disk.again, on_again, after_again);
    } else {
        end_write((long)event.res);
    }
}

uint64_t floor_log_append(const uint8_t *record, size_t len)
{
    /* With it goes a block that is not full. */
    bool fits = disk.waiting_len + len <= BUFFER_BYTES - BLOCK_BYTES;
    floor_check("the disk does not keep up", fits ? 0 : -ENOBUFS);
    memcpy(disk.waiting + disk.waiting_len, record, len);
    disk.waiting_len += len;
    disk.appended += len;
    if (!disk.writing) {
        start_write();
    }
    return disk.appended;
}

uint64_t floor_log_durable(void)
{
    return disk.durable;
}

void floor_log_open(uv_loop_t *loop, const char *directory, void (*on_durable)(void))
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/log", directory);
    disk.loop = loop;
    disk.on_durable = on_durable;
    disk.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
    floor_check(path, disk.fd < 0 ? -errno : 0);
    floor_check("fallocate", -posix_fallocate(disk.fd, 0, FILE_BYTES));
    floor_check("fsync", fsync(disk.fd) != 0 ? -errno : 0);
    disk.blocks = aligned_alloc(BLOCK_BYTES, BUFFER_BYTES);
    disk.waiting = malloc(BUFFER_BYTES);
    floor_check("buffers", disk.blocks == NULL || disk.waiting == NULL ? -ENOMEM : 0);
    floor_check("io_setup", syscall(SYS_io_setup, 1, &disk.aio) != 0 ? -errno : 0);
    disk.done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    floor_check("eventfd", disk.done_fd < 0 ? -errno : 0);
    floor_check("poll", uv_poll_init(loop, &disk.done, disk.done_fd));
    floor_check("poll", uv_poll_start(&disk.done, UV_READABLE, on_done));
}
