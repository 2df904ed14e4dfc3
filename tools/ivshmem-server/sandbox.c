// SPDX-License-Identifier: MIT
/*
 * A filter of system calls.
 *
 * What is left is what a server needs that has everything open: it can wait, talk
 * on unix sockets, make eventfds, read files and unlink its sockets. It can open
 * no file for writing, run no program, map nothing executable and become nobody
 * else.
 *
 * What looks up users' names when the access lists are read again is code that the
 * system chooses, and could want anything. So what is not needed fails, and does
 * not end the server if nobody asks for that.
 */
#include "sandbox.h"

#ifdef HAVE_SECCOMP

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "log.h"

static const int allowed[] = {
	/* The loop and the signals. */
	SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_gettime64),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(restart_syscall),
	/* Peers, and those who ask for the status. */
	SCMP_SYS(accept4), SCMP_SYS(getsockopt), SCMP_SYS(sendmsg),
	SCMP_SYS(sendto), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg),
	SCMP_SYS(eventfd2), SCMP_SYS(close), SCMP_SYS(pidfd_open),
	SCMP_SYS(io_submit), SCMP_SYS(io_getevents), SCMP_SYS(io_destroy),
	/* The service manager: connections to it, and what it is to keep. */
	SCMP_SYS(connect), SCMP_SYS(setsockopt), SCMP_SYS(getsockname),
	SCMP_SYS(getpeername), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(dup),
	SCMP_SYS(pipe2),
	/* Files: the configuration, names of users, the directory, the log. */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(pwrite64), SCMP_SYS(lseek), SCMP_SYS(_llseek), SCMP_SYS(fstat),
	SCMP_SYS(fstat64), SCMP_SYS(newfstatat), SCMP_SYS(fstatat64),
	SCMP_SYS(statx), SCMP_SYS(stat), SCMP_SYS(stat64), SCMP_SYS(lstat),
	SCMP_SYS(lstat64), SCMP_SYS(fcntl), SCMP_SYS(fcntl64),
	SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	/* Memory and the C library. */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(futex), SCMP_SYS(getrandom), SCMP_SYS(getpid),
	SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
	SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(exit_group),
	SCMP_SYS(exit),
};

#define OPEN_WRITING	(O_ACCMODE | O_CREAT | O_TRUNC)

/* Calls that are allowed with some values of one argument. */
static const struct {
	int call;
	struct scmp_arg_cmp arg;
} restricted[] = {
	{ SCMP_SYS(open), { 1, SCMP_CMP_MASKED_EQ, OPEN_WRITING, O_RDONLY } },
	{ SCMP_SYS(openat), { 2, SCMP_CMP_MASKED_EQ, OPEN_WRITING, O_RDONLY } },
	{ SCMP_SYS(socket), { 0, SCMP_CMP_EQ, AF_UNIX, 0 } },
	{ SCMP_SYS(socketpair), { 0, SCMP_CMP_EQ, AF_UNIX, 0 } },
	{ SCMP_SYS(pidfd_send_signal), { 1, SCMP_CMP_EQ, 0, 0 } },
	{ SCMP_SYS(mmap), { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } },
	{ SCMP_SYS(mmap2), { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } },
	{ SCMP_SYS(mprotect), { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } },
};

/* Some architectures do not have some of the calls. */
static int sandbox_rule(scmp_filter_ctx filter, int call, unsigned int count,
			const struct scmp_arg_cmp *args)
{
	int ret = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, count,
					 args);

	return ret == -EDOM ? 0 : ret;
}

static int sandbox_load(scmp_filter_ctx filter)
{
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < sizeof(allowed) / sizeof(*allowed); i++)
		ret = sandbox_rule(filter, allowed[i], 0, NULL);
	for (i = 0; !ret && i < sizeof(restricted) / sizeof(*restricted); i++)
		ret = sandbox_rule(filter, restricted[i].call, 1,
				   &restricted[i].arg);
	return ret ? ret : seccomp_load(filter);
}

/**
 * sandbox_enter() - Have the kernel refuse what the server does not need.
 * @mode: how
 *
 * Return: 0, or a negative errno after a line in the log.
 */
int sandbox_enter(enum sandbox_mode mode)
{
	scmp_filter_ctx filter;
	int ret;

	if (mode == SANDBOX_NONE)
		return 0;

	/* Nobody's name: all that looks up names gets loaded. */
	getpwnam("");
	getgrnam("");

	filter = seccomp_init(mode == SANDBOX_KILL ? SCMP_ACT_KILL_PROCESS :
			      SCMP_ACT_ERRNO(EPERM));
	ret = filter ? sandbox_load(filter) : -ENOMEM;
	seccomp_release(filter);
	if (ret)
		log_err("cannot filter system calls (--sandbox none does without): %s",
			strerror(-ret));
	return ret;
}

#else

/**
 * sandbox_enter() - Do nothing: this server was built without libseccomp.
 * @mode: SANDBOX_AUTO or SANDBOX_NONE
 *
 * Return: 0.
 */
int sandbox_enter(enum sandbox_mode mode)
{
	(void)mode;
	return 0;
}

#endif
