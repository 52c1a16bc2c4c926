#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4))) static int
fail(char *ret_error, int rv, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, PRIVILEGES_ERROR_BYTES, format, args);
    va_end(args);
    return rv;
}

int privileges_find(struct privileges_user *ret,
                    const char *name,
                    char ret_error[static PRIVILEGES_ERROR_BYTES])
{
    errno = 0;
    const struct passwd *entry = getpwnam(name);

    if (entry == NULL) {
        return fail(ret_error, -ENOENT, "user: there is no user '%.64s'%s%s", name,
                    errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
    }
    if (entry->pw_uid == 0) {
        return fail(ret_error, -EINVAL, "user: '%.64s' is root itself", name);
    }
    *ret = (struct privileges_user){.uid = entry->pw_uid, .gid = entry->pw_gid};
    snprintf(ret->name, sizeof(ret->name), "%s", name);
    return 0;
}

int privileges_make_dir(const struct privileges_user *user,
                        const char *path,
                        char ret_error[static PRIVILEGES_ERROR_BYTES])
{
    if (mkdir(path, 0700) != 0) {
        return errno == EEXIST ? 0
                               : fail(ret_error, -errno, "data directory %.150s: %s",
                                      path, strerror(errno));
    }
    if (lchown(path, user->uid, user->gid) != 0) {
        int error = -errno;
        rmdir(path);
        return fail(ret_error, error, "data directory %.150s: chown: %s", path,
                    strerror(-error));
    }
    return 0;
}

/* ---- capabilities ---- */

static struct __user_cap_header_struct own_capabilities(void)
{
    return (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3};
}

static bool has_capabilities(void)
{
    struct __user_cap_header_struct header = own_capabilities();
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};

    if (syscall(SYS_capget, &header, sets) != 0) {
        return true;
    }
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        if ((sets[i].effective | sets[i].permitted | sets[i].inheritable) != 0) {
            return true;
        }
    }
    return false;
}

/* Also those that an executed file could bring back. Only root may do that; for others nothing is to be
 * executed anyway. */
static void empty_bounding_set(void)
{
    for (unsigned long i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++) {
        (void)prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    }
}

static int drop_capabilities(char *ret_error)
{
    struct __user_cap_header_struct header = own_capabilities();
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    /* Ambient ones are permitted ones. Where there are none, a sandbox may forbid the call below. */
    if (!has_capabilities()) {
        return 0;
    }
    if (syscall(SYS_capset, &header, none) != 0) {
        return fail(ret_error, -errno, "cannot drop capabilities: %s", strerror(errno));
    }
    if (has_capabilities()) {
        return fail(ret_error, -EPERM, "capabilities are left after dropping them");
    }
    return 0;
}

int privileges_shed(char ret_error[static PRIVILEGES_ERROR_BYTES])
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return fail(ret_error, -errno, "no-new-privileges: %s", strerror(errno));
    }
    return geteuid() == 0 ? 0 : drop_capabilities(ret_error);
}

/* ---- the user ---- */

/* All three ids, and no way back. */
static int check_dropped(const struct privileges_user *user, char *ret_error)
{
    uid_t uid, euid, suid;
    gid_t gid, egid, sgid;

    if (getresuid(&uid, &euid, &suid) != 0 || getresgid(&gid, &egid, &sgid) != 0 ||
        uid != user->uid || euid != user->uid || suid != user->uid || gid != user->gid ||
        egid != user->gid || sgid != user->gid) {
        return fail(ret_error, -EPERM, "user %s: some ids are still others'", user->name);
    }
    if (setuid(0) == 0 || setgid(0) == 0) {
        return fail(ret_error, -EPERM, "user %s: root can still be had back", user->name);
    }
    return 0;
}

int privileges_drop(const struct privileges_user *user,
                    char ret_error[static PRIVILEGES_ERROR_BYTES])
{
    if (geteuid() != 0) {
        return geteuid() == user->uid
                   ? privileges_shed(ret_error)
                   : fail(ret_error, -EPERM,
                          "user: only root can become %s; this is uid %u", user->name,
                          (unsigned)geteuid());
    }
    empty_bounding_set();
    /* Groups first: who is root no more cannot change them. */
    if (initgroups(user->name, user->gid) != 0 ||
        setresgid(user->gid, user->gid, user->gid) != 0 ||
        setresuid(user->uid, user->uid, user->uid) != 0) {
        return fail(ret_error, -errno, "user: cannot become %s: %s", user->name,
                    strerror(errno));
    }
    int rv = privileges_shed(ret_error);
    return rv != 0 ? rv : check_dropped(user, ret_error);
}
