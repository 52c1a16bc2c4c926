/* netlockd: one node of a netlock cluster. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "config.h"
#include "disk_space.h"
#include "http.h"
#include "log.h"
#include "notify.h"
#include "offline.h"
#include "privileges.h"
#include "server.h"

enum { EXIT_OK = 0, EXIT_REFUSED = 2, EXIT_FATAL = 3, EXIT_NEWER = 4 };

struct daemon {
    int argc; /* for the configuration, read again */
    char *const *argv;
    struct config config;
    struct log log;
    uv_loop_t loop;
    struct server *server;
    struct http *http; /* NULL: not configured */
    struct disk_space disk;
    uv_work_t first_work;
    struct privileges_user user; /* whom root becomes; the name is empty: nobody */
    uv_signal_t terminate, interrupt, hangup, louder, quieter;
    uv_timer_t watchdog;
    bool stopping;
    int status;
};

/* ---- before the loop ---- */

/* The default directory may be the first thing in ~/.local/state; another one is the
 * operator's. */
static void make_parents(const char *path)
{
    char parent[CONFIG_PATH_BYTES];

    snprintf(parent, sizeof(parent), "%s", path);
    for (char *slash = strchr(parent + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(parent,
                    0700); /* what cannot be made shows when the directory is opened */
        *slash = '/';
    }
}

/* A connection is a descriptor. */
static void raise_descriptor_limit(const struct daemon *daemon)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < daemon->config.connections_max + 128) {
        log_event(&daemon->log, LOG_LEVEL_WARNING, "netlockd", "few-descriptors",
                  "limit=%llu connections-max=%llu", (unsigned long long)limit.rlim_cur,
                  (unsigned long long)daemon->config.connections_max);
    }
}

static void warn(const struct daemon *daemon)
{
    const struct config *config = &daemon->config;

    if (config->insecure_listen && !config_has_tls(config)) {
        log_event(&daemon->log, LOG_LEVEL_WARNING, "netlockd", "insecure-listen",
                  "text=\"clients and nodes are neither encrypted nor authenticated: "
                  "whoever reaches these ports can take and break every lock\"");
    }
    if (geteuid() == 0 && config->user[0] == '\0') {
        log_event(
            &daemon->log, LOG_LEVEL_WARNING, "netlockd", "running-as-root",
            "text=\"nothing here needs it once the ports are bound: name an account "
            "with the key user, or start as one\"");
    }
    if (config->members_count % 2 == 0 && !config->join) {
        log_event(&daemon->log, LOG_LEVEL_WARNING, "netlockd", "even-members",
                  "members=%zu text=\"one node less survives as many failures\"",
                  config->members_count);
    }
}

/* ---- the end ---- */

_Noreturn static void on_fatal(void *arg, const char *what)
{
    const struct daemon *daemon = arg;
    char quoted[LOG_QUOTED_BYTES];

    log_event(&daemon->log, LOG_LEVEL_ERROR, "netlockd", "fatal", "why=%s",
              log_quote(quoted, what, strlen(what)));
    _exit(EXIT_FATAL);
}

/* SIG_BLOCK or SIG_UNBLOCK for what start_signals() listens to. */
static void mask_signals(int how)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGUSR2);
    pthread_sigmask(how, &signals, NULL);
}

/* An older build has been started on what a newer one wrote. */
_Noreturn static void on_newer(void *arg, const char *what)
{
    const struct daemon *daemon = arg;
    char quoted[LOG_QUOTED_BYTES];

    log_event(&daemon->log, LOG_LEVEL_ERROR, "netlockd", "newer-data", "why=%s",
              log_quote(quoted, what, strlen(what)));
    _exit(EXIT_NEWER);
}

/* With its handle libuv takes away what is done about a signal, and what is left is to kill: one that
 * comes so late must not make another end of an orderly stop. */
static void on_stopped(void *arg)
{
    struct daemon *daemon = arg;

    http_close(daemon->http);
    disk_space_close(&daemon->disk);
    mask_signals(SIG_BLOCK);
    uv_close((uv_handle_t *)&daemon->terminate, NULL);
    uv_close((uv_handle_t *)&daemon->interrupt, NULL);
    uv_close((uv_handle_t *)&daemon->hangup, NULL);
    uv_close((uv_handle_t *)&daemon->louder, NULL);
    uv_close((uv_handle_t *)&daemon->quieter, NULL);
    uv_close((uv_handle_t *)&daemon->watchdog, NULL);
}

static void on_stop_signal(uv_signal_t *signal, int number)
{
    struct daemon *daemon = signal->data;

    notify_send("STOPPING=1");
    daemon->stopping = true;
    log_event(&daemon->log, LOG_LEVEL_INFO, "netlockd", "stopping", "signal=%d", number);
    server_stop(daemon->server, on_stopped, daemon);
}

static void set_log_level(void *arg, enum log_level level)
{
    struct daemon *daemon = arg;

    daemon->log.level = level;
    server_log_level_changed(daemon->server);
    log_audit(&daemon->log, "log-level", "level=%s", log_level_name(level));
}

/* Of the configuration only this key may change while a node runs. A file that is wrong, or that only root
 * may read, keeps nobody from new certificates. */
static void reload_log_level(struct daemon *daemon)
{
    struct config config;
    enum config_action action;
    char error[CONFIG_ERROR_BYTES];
    char quoted[LOG_QUOTED_BYTES];

    int rv = config_load(&config, daemon->argc, daemon->argv, &action, error);
    if (rv == 0 && config.log_level != daemon->log.level) {
        set_log_level(daemon, config.log_level);
    } else if (rv != 0) {
        log_event(&daemon->log, LOG_LEVEL_WARNING, "netlockd", "config-not-reread",
                  "why=%s text=\"the log level stays\"",
                  log_quote(quoted, error, strlen(error)));
    }
}

/* Certificates, rules and the log level; everything else is read at the start only. */
static void on_hangup(uv_signal_t *signal, int number)
{
    struct daemon *daemon = signal->data;
    char error[SERVER_ERROR_BYTES];
    char quoted[LOG_QUOTED_BYTES];

    if (daemon->stopping) {
        return;
    }
    notify_reloading();
    reload_log_level(daemon);
    int rv = server_reload(daemon->server, error);
    if (rv == 0 && daemon->http != NULL) {
        rv = http_reload(daemon->http, error);
    }
    if (rv == 0) {
        log_event(&daemon->log, LOG_LEVEL_INFO, "netlockd", "reloaded", "signal=%d",
                  number);
    } else {
        log_event(&daemon->log, LOG_LEVEL_ERROR, "netlockd", "reload-refused",
                  "why=%s text=\"what was in force stays so\"",
                  log_quote(quoted, error, strlen(error)));
    }
    notify_send("READY=1");
}

/* One level at a time, between error and debug. */
static void on_log_level(uv_signal_t *signal, int number)
{
    struct daemon *daemon = signal->data;
    enum log_level level = daemon->log.level;

    if (number == SIGUSR1 && level < LOG_LEVEL_DEBUG) {
        level++;
    } else if (number == SIGUSR2 && level > LOG_LEVEL_ERROR) {
        level--;
    }
    set_log_level(daemon, level);
}

static void on_disk_space(void *arg, bool low, uint64_t free_bytes)
{
    struct daemon *daemon = arg;

    server_set_disk_low(daemon->server, low, free_bytes);
}

static void start_disk_space(struct daemon *daemon)
{
    daemon->disk = (struct disk_space){
        .path = daemon->config.data_dir,
        .floor_bytes = daemon->config.disk_free_min_bytes,
        .on_change = on_disk_space,
        .arg = daemon,
    };
    disk_space_start(&daemon->disk, &daemon->loop);
}

static void start_signals(struct daemon *daemon)
{
    uv_signal_init(&daemon->loop, &daemon->terminate);
    uv_signal_init(&daemon->loop, &daemon->interrupt);
    uv_signal_init(&daemon->loop, &daemon->hangup);
    uv_signal_init(&daemon->loop, &daemon->louder);
    uv_signal_init(&daemon->loop, &daemon->quieter);
    daemon->terminate.data = daemon->interrupt.data = daemon->hangup.data = daemon;
    daemon->louder.data = daemon->quieter.data = daemon;
    uv_signal_start(&daemon->terminate, on_stop_signal, SIGTERM);
    uv_signal_start(&daemon->interrupt, on_stop_signal, SIGINT);
    uv_signal_start(&daemon->hangup, on_hangup, SIGHUP);
    uv_signal_start(&daemon->louder, on_log_level, SIGUSR1);
    uv_signal_start(&daemon->quieter, on_log_level, SIGUSR2);
    signal(SIGPIPE, SIG_IGN);
    mask_signals(SIG_UNBLOCK);
}

/* ---- the beginning ---- */

static void say_ready(const struct daemon *daemon)
{
    const struct config *config = &daemon->config;
    char line[CONFIG_ADDRESS_BYTES + 256];

    snprintf(line, sizeof(line),
             "netlockd ready: clients on %s, node %llu of cluster %s\n",
             server_address(daemon->server), (unsigned long long)config->node_id,
             config->cluster);
    fputs(line, stdout);
    fflush(stdout);
    notify_send("READY=1");
    if (config->ready_file[0] == '\0') {
        return;
    }
    FILE *file = fopen(config->ready_file, "we");
    if (file == NULL || fputs(line, file) == EOF) {
        log_event(&daemon->log, LOG_LEVEL_WARNING, "netlockd", "ready-file", "why=\"%s\"",
                  strerror(errno));
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* -EPROTO: the data directory is of a newer build. */
static int refuse(int rv, const char *error)
{
    fprintf(stderr, "netlockd: %s\n", error);
    return rv == -EPROTO ? EXIT_NEWER : EXIT_REFUSED;
}

static void do_nothing(uv_work_t *work)
{
    (void)work;
}

/* libuv's threads are made now: after privileges are gone, which each thread has for itself, and while
 * signals are blocked, which stay with the loop's thread alone. */
static void start_threads(struct daemon *daemon)
{
    uv_queue_work(&daemon->loop, &daemon->first_work, do_nothing, NULL);
}

/* What root had to do is done. */
static int on_bound(void *arg, char *ret_error)
{
    struct daemon *daemon = arg;
    char error[PRIVILEGES_ERROR_BYTES] = "";

    if (daemon->config.http_listen[0] != '\0') {
        int failed = http_new(&daemon->http, &daemon->config, &daemon->log, ret_error);
        if (failed != 0) {
            return failed;
        }
    }
    int rv = daemon->user.name[0] == '\0' ? privileges_shed(error)
                                          : privileges_drop(&daemon->user, error);
    if (rv != 0) {
        snprintf(ret_error, SERVER_ERROR_BYTES, "%s", error);
        return rv;
    }
    start_threads(daemon);
    return 0;
}

/* With a user named, the directories are its own; without, those of whoever runs this. */
static int prepare_data_dir(struct daemon *daemon, char *ret_error)
{
    const struct config *config = &daemon->config;

    if (config->data_dir_is_default) {
        make_parents(config->data_dir);
    }
    if (config->user[0] == '\0') {
        return 0;
    }
    int rv = privileges_find(&daemon->user, config->user, ret_error);
    return rv != 0 || geteuid() != 0
               ? rv
               : privileges_make_dir(&daemon->user, config->data_dir, ret_error);
}

static int run(struct daemon *daemon)
{
    struct server_host host = {.arg = daemon,
                               .fatal = on_fatal,
                               .newer = on_newer,
                               .set_log_level = set_log_level,
                               .on_bound = on_bound};
    char error[SERVER_ERROR_BYTES];

    mask_signals(SIG_BLOCK);
    int rv = server_new(&daemon->server, &daemon->loop, &daemon->config, &daemon->log,
                        &host, error);
    if (rv != 0) {
        uv_run(&daemon->loop,
               UV_RUN_DEFAULT); /* its threads may be at the first work yet */
        http_free(daemon->http);
        return refuse(rv, error);
    }
    start_signals(daemon);
    notify_start_watchdog(&daemon->loop, &daemon->watchdog);
    start_disk_space(daemon);
    rv = server_start(daemon->server, error);
    if (rv == 0 && daemon->http != NULL) {
        rv = http_start(daemon->http, &daemon->loop, daemon->server, error);
    }
    if (rv == 0) {
        say_ready(daemon);
    } else {
        daemon->status = refuse(rv, error);
        server_stop(daemon->server, on_stopped, daemon);
    }
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
    http_free(daemon->http);
    server_free(daemon->server);
    return daemon->status;
}

struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
};
static const struct verb verbs[] = {
    {"restore", offline_restore},
    {"recover", offline_recover},
    {"check-data", offline_check_data},
    {"dump-log", offline_dump_log},
};

static const struct verb *verb_of(const char *word)
{
    for (size_t i = 0; word != NULL && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, word) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct daemon daemon; /* large; everything else gets a pointer to it */
    enum config_action action;
    char error[CONFIG_ERROR_BYTES];
    const struct verb *verb = verb_of(argv[1]);

    if (verb != NULL) {
        return verb->run(argc - 1, argv + 1);
    }
    if (config_load(&daemon.config, argc, argv, &action, error) != 0) {
        return refuse(-EINVAL, error);
    }
    if (action == CONFIG_HELP) {
        config_help(stdout);
        return EXIT_OK;
    }
    if (action == CONFIG_VERSION) {
        puts("netlockd " NETLOCK_VERSION);
        return EXIT_OK;
    }
    daemon.argc = argc;
    daemon.argv = argv;
    log_init(&daemon.log, daemon.config.log_level);
    warn(&daemon);
    if (action == CONFIG_CHECK) {
        puts("configuration is valid");
        return EXIT_OK;
    }
    if (prepare_data_dir(&daemon, error) != 0) {
        return refuse(-EINVAL, error);
    }
    raise_descriptor_limit(&daemon);
    if (uv_loop_init(&daemon.loop) != 0) {
        return refuse(-ENOMEM, "no event loop: out of descriptors or memory");
    }
    int status = run(&daemon);
    int rv = uv_loop_close(&daemon.loop);
    assert(rv == 0); /* else a handle was left behind */
    (void)rv;
    return status;
}
