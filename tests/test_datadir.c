/* The data directory: whose it is, one process at a time, and nothing changed where
 * refused. */
#include "datadir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    char base[64];
    char path[128]; /* does not exist yet */
    char error[DATADIR_ERROR_BYTES];
};

static const struct datadir_identity ALPHA_1 = {.cluster_id = "alpha", .node_id = 1};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    snprintf(f->base, sizeof f->base, "/tmp/test_datadir.XXXXXX");
    assert_non_null(mkdtemp(f->base));
    snprintf(f->path, sizeof f->path, "%s/data", f->base);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", f->base);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static const char *path_in(const struct fixture *f, const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", f->path, name);
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void read_file(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

static unsigned count_entries(const char *path)
{
    unsigned count = 0;
    DIR *dir = opendir(path);

    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    closedir(dir);
    return count;
}

static struct datadir *open_ok(struct fixture *f, const struct datadir_identity *identity)
{
    struct datadir *dir = NULL;
    int error = datadir_open(&dir, f->path, identity, f->error);

    if (error != 0) {
        print_message("datadir_open: %s\n", f->error);
    }
    assert_int_equal(error, 0);
    return dir;
}

static void assert_refused(struct fixture *f,
                           const struct datadir_identity *identity,
                           int error,
                           const char *part_of_text)
{
    struct datadir *dir = NULL;

    f->error[0] = '\0';
    assert_int_equal(datadir_open(&dir, f->path, identity, f->error), error);
    assert_null(dir);
    if (strstr(f->error, part_of_text) == NULL) {
        fail_msg("'%s' is not in '%s'", part_of_text, f->error);
    }
    assert_null(strchr(f->error, '\n'));
}

/* A directory as it is after the first start: its log begun. */
static void make_used(struct fixture *f)
{
    struct datadir *dir = open_ok(f, &ALPHA_1);

    write_file(path_in(f, "raft/metadata1"), "x");
    assert_int_equal(datadir_log_begun(dir), 0);
    datadir_close(dir);
}

/* ---- making and opening --------------------------------------------------------------------- */

static void a_new_directory_is_private_and_knows_its_node(void **state)
{
    struct fixture *f = *state;
    struct datadir *dir = open_ok(f, &ALPHA_1);
    struct stat st;
    char text[256];

    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(datadir_raft_path(dir), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    read_file(path_in(f, "node"), text, sizeof text);
    assert_string_equal(text, "format 1\ncluster alpha\nnode 1\nlog no\n");
    assert_true(datadir_is_new(dir));
    datadir_close(dir);
}

static void it_is_new_until_its_log_was_begun(void **state)
{
    struct fixture *f = *state;

    make_used(f);

    struct datadir *dir = open_ok(f, &ALPHA_1);
    assert_false(datadir_is_new(dir));
    assert_int_equal(datadir_log_begun(dir), 0);
    datadir_close(dir);
}

static void an_empty_directory_of_ours_is_taken(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir(f->path, 0750), 0);
    datadir_close(open_ok(f, &ALPHA_1));
}

static void what_an_interrupted_first_start_left_is_thrown_away(void **state)
{
    struct fixture *f = *state;

    datadir_close(open_ok(f, &ALPHA_1));
    write_file(path_in(f, "raft/metadata1"), "term but no entry");

    struct datadir *dir = open_ok(f, &ALPHA_1);
    assert_true(datadir_is_new(dir));
    assert_int_equal(count_entries(datadir_raft_path(dir)), 0);
    datadir_close(dir);
}

static void a_crash_before_the_identity_was_written_does_no_harm(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir(f->path, 0700), 0);
    write_file(path_in(f, "lock"), "");
    write_file(path_in(f, "node.new"), "form");

    datadir_close(open_ok(f, &ALPHA_1));
}

static void a_log_that_was_begun_is_kept(void **state)
{
    struct fixture *f = *state;

    make_used(f);

    struct datadir *dir = open_ok(f, &ALPHA_1);
    assert_int_equal(count_entries(datadir_raft_path(dir)), 1);
    datadir_close(dir);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void the_log_of_another_cluster_is_refused(void **state)
{
    struct fixture *f = *state;
    struct datadir_identity other = {.cluster_id = "beta", .node_id = 1};

    make_used(f);
    assert_refused(f, &other, -EXDEV,
                   "node 1 of cluster alpha, not to node 1 of cluster beta");
}

static void the_log_of_another_node_is_refused(void **state)
{
    struct fixture *f = *state;
    struct datadir_identity other = {.cluster_id = "alpha", .node_id = 2};

    make_used(f);
    assert_refused(f, &other, -EXDEV,
                   "node 1 of cluster alpha, not to node 2 of cluster alpha");
}

static void a_newer_format_is_refused(void **state)
{
    struct fixture *f = *state;

    make_used(f);
    write_file(path_in(f, "node"), "format 2\nwho-knows\n");
    assert_refused(f, &ALPHA_1, -EPROTO, "format 2");
}

static void a_damaged_identity_is_refused(void **state)
{
    static const char *const damaged[] = {
        "",
        "format one\n",
        "format 1\n",
        "format 1\ncluster alpha\nnode 0\nlog no\n",
        "format 1\ncluster alpha\nnode 1\nlog maybe\n",
        "format 1\ncluster alpha\nnode 1\nlog yes\nmore\n",
        "format 1\ncluster alpha\nnode x\nlog yes\n",
    };
    struct fixture *f = *state;

    make_used(f);
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        write_file(path_in(f, "node"), damaged[i]);
        assert_refused(f, &ALPHA_1, -EUCLEAN, "damaged");
    }
}

static void a_node_without_its_log_is_refused(void **state)
{
    struct fixture *f = *state;

    make_used(f);
    assert_int_equal(unlink(path_in(f, "raft/metadata1")), 0);
    assert_refused(f, &ALPHA_1, -EUCLEAN, "is gone");
    assert_int_equal(rmdir(path_in(f, "raft")), 0);
    assert_refused(f, &ALPHA_1, -EUCLEAN, "new node id");
}

static void a_file_is_refused(void **state)
{
    struct fixture *f = *state;

    write_file(f->path, "hello");
    assert_refused(f, &ALPHA_1, -ENOTDIR, f->path);
}

static void a_missing_parent_is_named(void **state)
{
    struct fixture *f = *state;

    snprintf(f->path, sizeof f->path, "%s/no/data", f->base);
    assert_refused(f, &ALPHA_1, -ENOENT, "parent must exist");
}

static void a_directory_that_is_open_to_others_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_int_equal(chmod(f->path, 0770), 0);
    assert_refused(f, &ALPHA_1, -EACCES, "chmod 0700");
    assert_int_equal(chmod(f->path, 0702), 0);
    assert_refused(f, &ALPHA_1, -EACCES, "mode 0702");
    assert_int_equal(chmod(f->path, 0755), 0);
    assert_refused(f, &ALPHA_1, -EACCES, "mode 0755");
}

static void a_directory_of_another_user_is_refused(void **state)
{
    struct fixture *f = *state;

    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_int_equal(chown(f->path, 12345, 12345), 0);
    assert_refused(f, &ALPHA_1, -EACCES, "belongs to uid 12345");
}

/* A child gives up its rights, because root may write anywhere. */
static void a_directory_that_cannot_be_written_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir(f->path, 0500), 0);
    assert_int_equal(chmod(f->base, 0755), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(f->path, 12345, 12345), 0);
    }
    pid_t child = fork();
    if (child == 0) {
        struct datadir *dir = NULL;
        if (geteuid() == 0 && setuid(12345) != 0) {
            _exit(2);
        }
        int error = datadir_open(&dir, f->path, &ALPHA_1, f->error);
        _exit(error == -EACCES && strstr(f->error, "cannot be written") != NULL ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_directory_with_foreign_files_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir(f->path, 0700), 0);
    write_file(path_in(f, "precious"), "data");
    assert_refused(f, &ALPHA_1, -ENOTEMPTY, "identity file");
    assert_int_equal(count_entries(f->path), 1);
}

static void nothing_is_changed_in_a_directory_that_is_refused(void **state)
{
    struct fixture *f = *state;
    struct datadir_identity other = {.cluster_id = "beta", .node_id = 7};
    struct stat before[4];
    struct stat after[4];
    static const char *const names[] = {".", "node", "lock", "raft"};

    make_used(f);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(stat(path_in(f, names[i]), &before[i]), 0);
    }
    assert_refused(f, &other, -EXDEV, "alpha");
    for (int i = 0; i < 4; i++) {
        assert_int_equal(stat(path_in(f, names[i]), &after[i]), 0);
        assert_memory_equal(&before[i].st_mtim, &after[i].st_mtim,
                            sizeof before[i].st_mtim);
        assert_memory_equal(&before[i].st_ctim, &after[i].st_ctim,
                            sizeof before[i].st_ctim);
    }
}

static void invalid_names_are_refused(void **state)
{
    struct fixture *f = *state;
    struct datadir_identity no_node = {.cluster_id = "alpha", .node_id = 0};
    struct datadir_identity space = {.cluster_id = "al pha", .node_id = 1};
    struct datadir_identity empty = {.cluster_id = "", .node_id = 1};
    char longest[DATADIR_CLUSTER_ID_BYTES_MAX + 2];

    memset(longest, 'c', sizeof longest);
    longest[DATADIR_CLUSTER_ID_BYTES_MAX] = '\0';
    assert_true(datadir_cluster_id_valid(longest));
    longest[DATADIR_CLUSTER_ID_BYTES_MAX] = 'c';
    longest[DATADIR_CLUSTER_ID_BYTES_MAX + 1] = '\0';
    assert_false(datadir_cluster_id_valid(longest));
    assert_refused(f, &no_node, -EINVAL, "node id");
    assert_refused(f, &space, -EINVAL, "cluster id");
    assert_refused(f, &empty, -EINVAL, "cluster id");
    assert_int_equal(access(f->path, F_OK), -1);
}

/* ---- one process at a time ------------------------------------------------------------------ */

static void a_second_user_is_refused_and_told_the_pid_of_the_first(void **state)
{
    struct fixture *f = *state;
    struct datadir *dir = open_ok(f, &ALPHA_1);
    char pid[64];

    snprintf(pid, sizeof pid, "in use by process %ld", (long)getpid());
    assert_refused(f, &ALPHA_1, -EBUSY, pid);
    datadir_close(dir);
    datadir_close(open_ok(f, &ALPHA_1));
}

static void the_lock_dies_with_its_process(void **state)
{
    struct fixture *f = *state;
    int ready[2];

    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct datadir *dir = NULL;
        int error = datadir_open(&dir, f->path, &ALPHA_1, f->error);
        if (write(ready[1], error == 0 ? "y" : "n", 1) == 1) {
            pause();
        }
        _exit(1);
    }
    char answer = '\0';
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    assert_refused(f, &ALPHA_1, -EBUSY, "in use by process");

    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    datadir_close(open_ok(f, &ALPHA_1));
    close(ready[0]);
    close(ready[1]);
}

static void file_systems_without_durability_are_told_apart(void **state)
{
    struct fixture *f = *state;

    if (access("/dev/shm", W_OK) != 0) {
        skip();
    }
    snprintf(f->path, sizeof f->path, "/dev/shm/test_datadir.%ld", (long)getpid());
    struct datadir *dir = open_ok(f, &ALPHA_1);
    const char *fs = datadir_doubtful_fs(dir);
    datadir_close(dir);

    char command[192];
    snprintf(command, sizeof command, "rm -rf %s", f->path);
    assert_int_equal(system(command), 0);
    assert_non_null(fs);
    assert_string_equal(fs, "tmpfs");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_directory_is_private_and_knows_its_node),
        TEST(it_is_new_until_its_log_was_begun),
        TEST(an_empty_directory_of_ours_is_taken),
        TEST(what_an_interrupted_first_start_left_is_thrown_away),
        TEST(a_crash_before_the_identity_was_written_does_no_harm),
        TEST(a_log_that_was_begun_is_kept),
        TEST(the_log_of_another_cluster_is_refused),
        TEST(the_log_of_another_node_is_refused),
        TEST(a_newer_format_is_refused),
        TEST(a_damaged_identity_is_refused),
        TEST(a_node_without_its_log_is_refused),
        TEST(a_file_is_refused),
        TEST(a_missing_parent_is_named),
        TEST(a_directory_that_is_open_to_others_is_refused),
        TEST(a_directory_of_another_user_is_refused),
        TEST(a_directory_that_cannot_be_written_is_refused),
        TEST(a_directory_with_foreign_files_is_refused_and_left_alone),
        TEST(nothing_is_changed_in_a_directory_that_is_refused),
        TEST(invalid_names_are_refused),
        TEST(a_second_user_is_refused_and_told_the_pid_of_the_first),
        TEST(the_lock_dies_with_its_process),
        TEST(file_systems_without_durability_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
