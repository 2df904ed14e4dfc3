// SPDX-License-Identifier: MIT
/*
 * Giving up what the server does not need once it is ready.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"
#include "privileges.h"

static int privileges_become(const char *name)
{
	const struct passwd *user;

	errno = 0;
	user = getpwnam(name);
	if (!user)
		return errno ? -errno : -ENOENT;
	if (initgroups(name, user->pw_gid) ||
	    setresgid(user->pw_gid, user->pw_gid, user->pw_gid) ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid))
		return -errno;
	return 0;
}

/* A process that was not root may have some, and keeps them. */
static int privileges_drop_capabilities(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) ||
	    syscall(SYS_capset, &header, none))
		return -errno;
	return 0;
}

/**
 * privileges_drop() - Never again have more rights than now, or than a user.
 * @user: name of the user to become, without any capability; or NULL
 *
 * Return: 0, or a negative errno after a line in the log.
 */
int privileges_drop(const char *user)
{
	int ret = 0;

	if (user) {
		ret = privileges_become(user);
		if (!ret)
			ret = privileges_drop_capabilities();
	}
	if (!ret && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		ret = -errno;
	if (ret)
		log_err("cannot give up privileges%s%s: %s",
			user ? " to become " : "", user ? user : "",
			strerror(-ret));
	return ret;
}
