// SPDX-License-Identifier: MIT
/*
 * The first process of a test VM, and the lab's hand in it: runs commands that
 * come over a serial line and sends back what they print, several at a time.
 *
 * To the agent:
 *	R <id> <length>\n<command>	run the command with /bin/sh
 *	K <id> <signal>\n		send a signal to the command's process group
 * From the agent:
 *	H 0 0\n				ready
 *	O <id> <length>\n<output>	what the command printed
 *	X <id> <status>\n		it ended: exit status, or 128 + signal
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define MAX_JOBS	64
#define MAX_COMMAND	65536

static struct job {
	unsigned int id;
	pid_t pid;	/* 0: this slot is free */
	int fd;		/* what it prints, -1 at its end */
} jobs[MAX_JOBS];

static int line_fd;

static void die(const char *what)
{
	dprintf(STDERR_FILENO, "agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void line_write(const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(line_fd, buf, len);

		if (n < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			die("write");
		}
		buf += n;
		len -= n;
	}
}

static void send_frame(char type, unsigned int id, unsigned int value,
		       const char *data)
{
	char head[64];

	line_write(head, snprintf(head, sizeof(head), "%c %u %u\n", type, id,
				  value));
	if (data)
		line_write(data, value);
}

static void line_read(char *buf, size_t len)
{
	while (len) {
		ssize_t n = read(line_fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die("read");
		buf += n;
		len -= n;
	}
}

/* Sends what a job has printed; false at the end, or when there is no more. */
static int job_output(struct job *job)
{
	char buf[4096];
	ssize_t n = read(job->fd, buf, sizeof(buf));

	if (n > 0) {
		send_frame('O', job->id, n, buf);
		return 1;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(job->fd);
		job->fd = -1;
	}
	return 0;
}

static void job_start(unsigned int id, const char *command)
{
	struct job *job = NULL;
	int pipefd[2];
	sigset_t none;
	int i;

	for (i = 0; i < MAX_JOBS && !job; i++)
		if (!jobs[i].pid)
			job = &jobs[i];
	if (!job || pipe2(pipefd, O_CLOEXEC)) {
		send_frame('X', id, 126, NULL);
		return;
	}
	job->id = id;
	job->pid = fork();
	if (job->pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		setsid();
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(null, STDIN_FILENO);
		dup2(pipefd[1], STDOUT_FILENO);
		dup2(pipefd[1], STDERR_FILENO);
		close(null);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(pipefd[1]);
	fcntl(pipefd[0], F_SETFL, O_NONBLOCK);
	job->fd = pipefd[0];
	if (job->pid < 0) {
		close(job->fd);
		job->pid = 0;
		send_frame('X', id, 126, NULL);
	}
}

static void job_kill(unsigned int id, int sig)
{
	int i;

	for (i = 0; i < MAX_JOBS; i++)
		if (jobs[i].pid && jobs[i].id == id)
			kill(-jobs[i].pid, sig);
}

/* Every orphan of the machine ends here, not only the jobs. */
static void reap(void)
{
	int status;
	pid_t pid;
	int i;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (i = 0; i < MAX_JOBS; i++) {
			struct job *job = &jobs[i];

			if (job->pid != pid)
				continue;
			while (job->fd >= 0 && job_output(job))
				;
			if (job->fd >= 0)
				close(job->fd);
			job->pid = 0;
			send_frame('X', job->id, WIFSIGNALED(status) ?
				   128 + WTERMSIG(status) : WEXITSTATUS(status),
				   NULL);
		}
	}
}

static void request(void)
{
	static char command[MAX_COMMAND + 1];
	unsigned int id, value;
	char head[64];
	size_t n = 0;

	do {
		if (n == sizeof(head) - 1)
			die("no end of line");
		line_read(&head[n], 1);
	} while (head[n++] != '\n');
	head[n] = '\0';
	if (sscanf(head + 1, "%u %u", &id, &value) != 2) {
		errno = EPROTO;
		die(head);
	}
	switch (head[0]) {
	case 'R':
		if (value > MAX_COMMAND) {
			errno = E2BIG;
			die(head);
		}
		line_read(command, value);
		command[value] = '\0';
		job_start(id, command);
		break;
	case 'K':
		job_kill(id, value);
		break;
	default:
		errno = EPROTO;
		die(head);
	}
}

int main(int argc, char **argv)
{
	struct pollfd fds[MAX_JOBS + 2];
	struct signalfd_siginfo info;
	struct job *job_of[MAX_JOBS + 2];
	struct termios tio;
	sigset_t mask;
	int sig_fd;

	if (argc != 2)
		return 2;
	line_fd = open(argv[1], O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (line_fd < 0)
		die(argv[1]);
	if (tcgetattr(line_fd, &tio))
		die("tcgetattr");
	cfmakeraw(&tio);
	tio.c_cflag |= CLOCAL;
	if (tcsetattr(line_fd, TCSANOW, &tio))
		die("tcsetattr");
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	sig_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sig_fd < 0)
		die("signalfd");
	send_frame('H', 0, 0, NULL);

	for (;;) {
		int i, n = 2;

		fds[0] = (struct pollfd){ .fd = line_fd, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = sig_fd, .events = POLLIN };
		for (i = 0; i < MAX_JOBS; i++) {
			if (!jobs[i].pid || jobs[i].fd < 0)
				continue;
			fds[n].fd = jobs[i].fd;
			fds[n].events = POLLIN;
			job_of[n++] = &jobs[i];
		}
		if (poll(fds, n, -1) < 0 && errno != EINTR)
			die("poll");
		for (i = 2; i < n; i++)
			if (fds[i].revents)
				job_output(job_of[i]);
		if (fds[1].revents) {
			while (read(sig_fd, &info, sizeof(info)) > 0)
				;
			reap();
		}
		if (fds[0].revents)
			request();
	}
}
