/* privileges.h - a process gives away what it does not need: root, capabilities, the right to gain more.
 *
 *     privileges_find(&user, "netlock", error)     while names can still be looked up
 *     privileges_make_dir(&user, path, error)      what only root may make
 *     privileges_drop(&user, error)                for good: it cannot be undone, and that is checked
 *
 * Before other threads exist. */
#ifndef NETLOCK_PRIVILEGES_H
#define NETLOCK_PRIVILEGES_H

#include <sys/types.h>

enum { PRIVILEGES_ERROR_BYTES = 256, PRIVILEGES_NAME_BYTES = 65 };

struct privileges_user {
    char name[PRIVILEGES_NAME_BYTES];
    uid_t uid;
    gid_t gid;
};

/* Returns 0; -ENOENT, or -EINVAL for root, who is no less than root. One line in @ret_error. */
int privileges_find(struct privileges_user *ret,
                    const char *name,
                    char ret_error[static PRIVILEGES_ERROR_BYTES]);

/* Make the directory at @path, mode 0700, for @user; what is there already stays as it is: whose it must
 * be is checked when it is opened. Its parent must exist. */
int privileges_make_dir(const struct privileges_user *user,
                        const char *path,
                        char ret_error[static PRIVILEGES_ERROR_BYTES]);

/* Become @user with its groups and without capabilities. Needs root, unless this is @user already. */
int privileges_drop(const struct privileges_user *user,
                    char ret_error[static PRIVILEGES_ERROR_BYTES]);

/* Never gain privileges again by executing something; and, for others than root, no capabilities that
 * came along. */
int privileges_shed(char ret_error[static PRIVILEGES_ERROR_BYTES]);

#endif
