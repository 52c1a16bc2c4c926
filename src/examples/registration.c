/* registration - a web shop registers users, and nobody twice.
 *
 *     registration [--no-lock] [--workers N] [--users N]
 *
 * Several front ends, here processes, serve the same people, who click more than once. Each looks
 * whether the address is known and, if not, adds it: two steps with a moment between them, on a store
 * that cannot refuse duplicates (a file). With a lock per address the two steps are one, and different
 * addresses do not wait for each other. --no-lock shows what happens without. The last line is the
 * verdict; exit status 0: nobody twice, 1: somebody, 2: the demonstration itself failed. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "netlock.h"

enum {
    WORKERS_MAX = 64,
    USERS_MAX = 1000,
    LINE_BYTES = 64,
    DATABASE_MS = 10,
    FAILED = 2
};

struct shop {
    const char *path; /* one address per line */
    int workers, users;
    bool locked;
};

static void pause_ms(long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    nanosleep(&time, NULL);
}

/* How many lines of the store are @address. */
static int count_of(const char *path, const char *address)
{
    char line[LINE_BYTES];
    FILE *store = fopen(path, "r");
    int count = 0;

    while (store != NULL && fgets(line, sizeof line, store) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        count += strcmp(line, address) == 0;
    }
    if (store != NULL) {
        fclose(store);
    }
    return count;
}

static int add(const char *path, const char *address)
{
    FILE *store = fopen(path, "a");

    if (store == NULL) {
        return -1;
    }
    fprintf(store, "%s\n", address);
    return fclose(store);
}

static int register_user(const char *path, const char *address)
{
    if (count_of(path, address) > 0) {
        return 0; /* known already */
    }
    pause_ms(
        DATABASE_MS); /* whatever a registration does between the question and the entry */
    return add(path, address);
}

static int register_locked(struct netlock *nl, const char *path, const char *address)
{
    const struct netlock_lock_options how = {.lock_timeout_ms = 30000};
    char name[LINE_BYTES + 16];
    int rv, done;

    snprintf(name, sizeof name, "registration/%s", address);
    rv = netlock_lock(nl, name, &how, NULL);
    if (rv != 0) {
        fprintf(stderr, "registration: %s: %s\n", name, netlock_strerror(rv));
        return rv;
    }
    done = register_user(path, address);
    rv = netlock_unlock(nl, name);
    if (rv !=
        0) { /* the lock had been lost before: the registration is not sure to be single */
        fprintf(stderr, "registration: %s: %s\n", name, netlock_strerror(rv));
    }
    return done != 0 ? done : rv;
}

/* One front end: everybody clicks on it once. */
static int serve(const struct shop *shop)
{
    const struct netlock_options options = {.application = "registration"};
    struct netlock *nl = NULL;
    int rv = shop->locked ? netlock_open(&nl, &options) : 0;

    if (rv != 0) {
        fprintf(stderr, "registration: %s\n", netlock_strerror(rv));
    }
    for (int user = 0; rv == 0 && user < shop->users; user++) {
        char address[LINE_BYTES];

        snprintf(address, sizeof address, "user%d@example.org", user);
        rv = shop->locked ? register_locked(nl, shop->path, address)
                          : register_user(shop->path, address);
    }
    netlock_close(nl);
    return rv == 0 ? 0 : FAILED;
}

static int serve_in_parallel(const struct shop *shop)
{
    int status, result = 0;

    for (int worker = 0; worker < shop->workers; worker++) {
        pid_t pid = fork(); /* before any client exists: a client has a thread */

        if (pid == 0) {
            _exit(serve(shop));
        }
        result = pid < 0 ? FAILED : result;
    }
    while (wait(&status) > 0) {
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            result = FAILED;
        }
    }
    return result;
}

static int judge(const struct shop *shop)
{
    int registered = 0, entries = 0;

    for (int user = 0; user < shop->users; user++) {
        char address[LINE_BYTES];
        int count;

        snprintf(address, sizeof address, "user%d@example.org", user);
        count = count_of(shop->path, address);
        registered += count > 0;
        entries += count;
    }
    printf("VERDICT: %d of %d users registered, %d entries, %d duplicates\n", registered,
           shop->users, entries, entries - registered);
    return entries == registered ? 0 : 1;
}

static int number(const char *text, int max)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*end != '\0' || value < 1 || value > max) {
        fprintf(stderr, "registration: '%s' is not a number from 1 to %d\n", text, max);
        exit(64);
    }
    return (int)value;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"no-lock", no_argument, NULL, 'n'},
                                          {"workers", required_argument, NULL, 'w'},
                                          {"users", required_argument, NULL, 'u'},
                                          {NULL, 0, NULL, 0}};
    struct shop shop = {.workers = 6, .users = 10, .locked = true};
    char path[] = "/tmp/registration-XXXXXX";
    int option, result, store;

    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case 'n':
            shop.locked = false;
            break;
        case 'w':
            shop.workers = number(optarg, WORKERS_MAX);
            break;
        case 'u':
            shop.users = number(optarg, USERS_MAX);
            break;
        default:
            fputs("usage: registration [--no-lock] [--workers N] [--users N]\n", stderr);
            return 64;
        }
    }
    store = mkstemp(path);
    if (store < 0) {
        perror("registration");
        return FAILED;
    }
    close(store);
    shop.path = path;
    result = serve_in_parallel(&shop);
    if (result == 0) {
        result = judge(&shop);
    }
    unlink(path);
    return result;
}
