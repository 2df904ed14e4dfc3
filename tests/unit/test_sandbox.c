// SPDX-License-Identifier: MIT
/*
 * What the server's filter of system calls lets through.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "sandbox.h"

#define CHECK_DENIED(call)					\
	do {							\
		errno = 0;					\
		CHECK((long)(call) == -1 && errno == EPERM);	\
	} while (0)

static void test_denied(void)
{
	char name[] = "true";
	char *const args[] = { name, NULL };
	void *page;

	CHECK_DENIED(open("/dev/null", O_WRONLY));
	CHECK_DENIED(open("/dev/null", O_RDWR));
	CHECK_DENIED(open("/dev/null", O_RDONLY | O_CREAT, 0600));
	CHECK_DENIED(open("/dev/null", O_RDONLY | O_TRUNC));
	CHECK_DENIED(open("/tmp", O_TMPFILE | O_WRONLY, 0600));
	CHECK_DENIED(execve("/bin/true", args, NULL));
	CHECK_DENIED(syscall(SYS_fork));
	CHECK_DENIED(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	CHECK_DENIED(socket(AF_INET, SOCK_STREAM, 0));
	CHECK_DENIED(socket(AF_NETLINK, SOCK_RAW, 0));
	CHECK_DENIED(setuid(getuid()));
	CHECK_DENIED(kill(getpid(), 0));
	CHECK_DENIED(syscall(SYS_pidfd_send_signal, -1, SIGKILL, NULL, 0));
	CHECK_DENIED(ptrace(PTRACE_TRACEME, 0, 0, 0));
	CHECK_DENIED(chmod("/nowhere", 0));
	CHECK_DENIED(mkdir("/nowhere", 0));
	CHECK_DENIED(rename("/nowhere", "/nowhere"));
	CHECK_DENIED(syscall(SYS_mount, "", "", "", 0, ""));
	CHECK_DENIED(syscall(SYS_bpf, 0, NULL, 0));
	CHECK_DENIED(syscall(SYS_io_uring_setup, 1, NULL));
	CHECK_DENIED(mmap(NULL, 4096, PROT_READ | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	CHECK_DENIED(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static void test_allowed(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0 && !close(fd));
	fd = eventfd(0, EFD_CLOEXEC);
	CHECK(fd >= 0 && !close(fd));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0 && !close(fd));
	CHECK(syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0) == -1 &&
	      errno == EBADF);
	CHECK(unlink("/nowhere/file") && errno == ENOENT);
}

static int run(void (*test)(void), enum sandbox_mode mode)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (!pid) {
		CHECK(!sandbox_enter(mode));
		test();
		/* The sanitizers would have more to do. */
		syscall(SYS_exit_group, 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

static void test_one_denied(void)
{
	mkdir("/nowhere", 0);
}

static void test_make_folder(void)
{
	CHECK(mkdir("/proc/nowhere", 0) && errno == ENOENT);
}

int main(void)
{
	int status;

	CHECK(!run(test_denied, SANDBOX_DENY));
	CHECK(!run(test_denied, SANDBOX_AUTO));
	CHECK(!run(test_allowed, SANDBOX_KILL));
	CHECK(!run(test_make_folder, SANDBOX_NONE));
	status = run(test_one_denied, SANDBOX_KILL);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	return 0;
}
