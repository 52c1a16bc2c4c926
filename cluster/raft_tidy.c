#include "raft_tidy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "raft_segment.h"

/* Whether another segment begins where @segment does, and ends later. */
static bool is_left_over(DIR *dir, const struct raft_segment_name *segment)
{
    struct raft_segment_name other;
    bool found = false;

    rewinddir(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL && !found;
         entry = readdir(dir)) {
        found = raft_segment_name(entry->d_name, &other) &&
                other.first == segment->first && other.last > segment->last;
    }
    return found;
}

int raft_tidy(const char *raft_path,
              void (*removed)(void *arg, const char *name),
              void *arg)
{
    DIR *names = opendir(raft_path);
    DIR *others = opendir(raft_path);
    int error = names == NULL || others == NULL ? -errno : 0;

    for (struct dirent *entry = error == 0 ? readdir(names) : NULL;
         entry != NULL && error == 0; entry = readdir(names)) {
        struct raft_segment_name segment;
        if (!raft_segment_name(entry->d_name, &segment) ||
            !is_left_over(others, &segment)) {
            continue;
        }
        if (unlinkat(dirfd(names), entry->d_name, 0) != 0) {
            error = -errno;
        } else {
            removed(arg, entry->d_name);
        }
    }
    if (names != NULL) {
        closedir(names);
    }
    if (others != NULL) {
        closedir(others);
    }
    return error == -ENOENT ? 0 : error;
}
