/* Of eight ports that there are, four are kept: nobody is given one of these. In a network
 * namespace of its own; without the right to make one, it is skipped. */
#include "kept_port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { KEPT = 4, LEFT = 4 };
static const char RANGE[] = "40000 40007\n";

static uint16_t kept[KEPT];

static bool namespace_of_few_ports(void)
{
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};

    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        return false;
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool up = ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
    close(fd);
    fd = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY);
    bool few = fd >= 0 && write(fd, RANGE, strlen(RANGE)) == (ssize_t)strlen(RANGE);
    if (fd >= 0) {
        close(fd);
    }
    return up && few;
}

static int setup(void **state)
{
    static bool can;

    can = namespace_of_few_ports();
    for (int i = 0; can && i < KEPT; i++) {
        kept[i] = keep_port();
    }
    *state = &can;
    return 0;
}

static void require_namespace(void **state)
{
    if (!*(bool *)*state) {
        skip();
    }
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
}

/* Returns -1 with errno. */
static int bind_socket(uint16_t port, bool reuse)
{
    struct sockaddr_in address = loopback(port);
    int on = reuse;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int listen_on(uint16_t port)
{
    int fd = bind_socket(port, true);

    assert_true(fd >= 0);
    assert_int_equal(listen(fd, 2 * LEFT), 0);
    return fd;
}

/* Returns -1 with errno. */
static int connect_to(uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* With a reset: no port is left in TIME_WAIT. */
static void close_all(const int *fds, int count)
{
    struct linger linger = {.l_onoff = 1};

    for (int i = 0; i < count; i++) {
        setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        close(fds[i]);
    }
}

static void no_connection_comes_from_a_kept_port(void **state)
{
    int fds[LEFT];

    require_namespace(state);
    int listener = listen_on(kept[0]);
    for (int i = 0; i < LEFT; i++) {
        fds[i] = connect_to(kept[0]);
        assert_true(fds[i] >= 0);
    }
    assert_int_equal(connect_to(kept[0]), -1);
    assert_int_equal(errno, EADDRNOTAVAIL);
    close_all(fds, LEFT);
    close(listener);
}

static void nobody_who_asks_for_a_port_is_given_a_kept_one(void **state)
{
    int fds[LEFT];

    require_namespace(state);
    for (int reuse = 0; reuse < 2; reuse++) {
        for (int i = 0; i < LEFT; i++) {
            fds[i] = bind_socket(0, reuse);
            assert_true(fds[i] >= 0);
        }
        assert_int_equal(bind_socket(0, reuse), -1);
        assert_int_equal(errno, EADDRINUSE);
        close_all(fds, LEFT);
    }
}

static void a_kept_port_is_not_kept_twice(void **state)
{
    require_namespace(state);
    assert_int_equal(bind_socket(kept[0], false), -1);
    assert_int_equal(errno, EADDRINUSE);
}

static void a_connection_to_a_kept_port_is_refused(void **state)
{
    require_namespace(state);
    assert_int_equal(connect_to(kept[0]), -1);
    assert_int_equal(errno, ECONNREFUSED);
}

static void a_server_can_come_back_to_a_kept_port(void **state)
{
    int connected, accepted;

    require_namespace(state);
    for (int i = 0; i < 3; i++) {
        int listener = listen_on(kept[1]);
        connected = connect_to(kept[1]);
        assert_true(connected >= 0);
        accepted = accept(listener, NULL, NULL);
        assert_true(accepted >= 0);
        close(accepted); /* first: TIME_WAIT is the server's */
        close(connected);
        close(listener);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_connection_comes_from_a_kept_port),
        cmocka_unit_test(nobody_who_asks_for_a_port_is_given_a_kept_one),
        cmocka_unit_test(a_kept_port_is_not_kept_twice),
        cmocka_unit_test(a_connection_to_a_kept_port_is_refused),
        cmocka_unit_test(a_server_can_come_back_to_a_kept_port),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
