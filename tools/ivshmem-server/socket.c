// SPDX-License-Identifier: MIT
/*
 * The socket that clients connect to.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "socket.h"

#define LOCK_TRIES	200
#define LOCK_PAUSE_NS	10000000

static int socket_address(struct sockaddr_un *addr, const char *path)
{
	size_t len = strlen(path);

	if (len >= sizeof(addr->sun_path)) {
		log_err("the socket's path has %zu bytes, no more than %zu are possible: %s",
			len, sizeof(addr->sun_path) - 1, path);
		return -ENAMETOOLONG;
	}
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(addr->sun_path, path, len);
	return 0;
}

/*
 * A socket that is bound and does not listen yet looks like a stale one, and
 * between the look at a stale one and its removal it can become a live one. So
 * servers that make a socket in the same folder do it one after the other, with
 * a lock on the folder, which leaves no file behind.
 */
static int socket_lock_folder(const char *path)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_NS };
	struct sockaddr_un addr;
	char *folder;
	int fd, i;

	memcpy(addr.sun_path, path, strlen(path) + 1);
	folder = dirname(addr.sun_path);

	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		fd = -errno;
		log_err("cannot open the socket's folder %s: %s", folder,
			strerror(-fd));
		return fd;
	}

	for (i = 0; i < LOCK_TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return fd;
		if (errno != EWOULDBLOCK && errno != EINTR)
			break;
		nanosleep(&pause, NULL);
	}
	i = -errno;
	log_err("cannot lock the socket's folder %s: %s", folder, strerror(-i));
	close(fd);
	return i;
}

/* Remove what is at the socket's path if it is a socket that nobody serves. */
static int socket_remove_stale(const struct sockaddr_un *addr)
{
	const char *path = addr->sun_path;
	struct stat st;
	int probe, ret;

	if (lstat(path, &st)) {
		ret = -errno;
		log_err("cannot look at %s: %s", path, strerror(-ret));
		return ret;
	}
	if (!S_ISSOCK(st.st_mode)) {
		log_err("%s is there already and is not a socket", path);
		return -EEXIST;
	}

	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0) {
		ret = -errno;
		log_err("cannot make a socket: %s", strerror(-ret));
		return ret;
	}
	ret = connect(probe, (const struct sockaddr *)addr, sizeof(*addr)) ?
		-errno : 0;
	close(probe);

	switch (ret) {
	case -ECONNREFUSED:
		break;
	case 0:
	case -EAGAIN:
	case -EPROTOTYPE:
		log_err("%s is in use: a server is running there", path);
		return -EADDRINUSE;
	default:
		log_err("cannot tell whether %s is in use: %s", path,
			strerror(-ret));
		return ret;
	}

	log_info("replacing the socket %s, which nobody serves", path);
	if (unlink(path)) {
		ret = -errno;
		log_err("cannot remove %s: %s", path, strerror(-ret));
		return ret;
	}
	return 0;
}

/* The umask is what gives the file its mode before anybody else can see it. */
static int socket_bind_once(int sock, const struct sockaddr_un *addr, int mode)
{
	mode_t mask = umask(0);
	int ret;

	umask(mode < 0 ? mask : 0777 & ~mode);
	ret = bind(sock, (const struct sockaddr *)addr, sizeof(*addr));
	umask(mask);
	return ret;
}

static int socket_bind(int sock, const struct sockaddr_un *addr, int mode)
{
	int ret;

	if (!socket_bind_once(sock, addr, mode))
		return 0;
	if (errno == EADDRINUSE) {
		ret = socket_remove_stale(addr);
		if (ret)
			return ret;
		if (!socket_bind_once(sock, addr, mode))
			return 0;
	}
	ret = -errno;
	log_err("cannot make the socket %s: %s", addr->sun_path, strerror(-ret));
	return ret;
}

/**
 * socket_listen() - Make a socket and listen on it.
 * @file:   filled in, for socket_remove()
 * @path:   where; must last as long as @file
 * @access: who may connect
 *
 * A socket that a dead server has left there is replaced, one that is in use
 * never.
 *
 * Return: its file descriptor, or a negative errno after a line in the log.
 */
int socket_listen(struct socket_file *file, const char *path,
		  const struct socket_access *access)
{
	struct sockaddr_un addr;
	int sock, folder, ret;
	struct stat st;

	ret = socket_address(&addr, path);
	if (ret)
		return ret;

	folder = socket_lock_folder(path);
	if (folder < 0)
		return folder;

	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0) {
		ret = -errno;
		log_err("cannot make a socket: %s", strerror(-ret));
		goto unlock;
	}
	ret = socket_bind(sock, &addr, access->mode);
	if (ret)
		goto close_socket;
	/* A service may not call it at all. */
	if ((access->owner != (uid_t)-1 || access->group != (gid_t)-1) &&
	    lchown(path, access->owner, access->group)) {
		ret = -errno;
		log_err("cannot give the socket %s away: %s", path,
			strerror(-ret));
		unlink(path);
		goto close_socket;
	}
	if (lstat(path, &st) || listen(sock, SOMAXCONN)) {
		ret = -errno;
		log_err("cannot listen on %s: %s", path, strerror(-ret));
		unlink(path);
		goto close_socket;
	}

	file->path = path;
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	close(folder);
	return sock;

close_socket:
	close(sock);
unlock:
	close(folder);
	return ret;
}

/**
 * socket_is_at() - Tell whether a socket was made at a path.
 * @sock: the socket
 * @path: the path, as it was given when the socket was made
 *
 * Return: true if it was.
 */
bool socket_is_at(int sock, const char *path)
{
	struct sockaddr_un addr = { 0 };
	socklen_t len = sizeof(addr);

	return !getsockname(sock, (struct sockaddr *)&addr, &len) &&
	       !strncmp(addr.sun_path, path, sizeof(addr.sun_path));
}

/**
 * socket_remove() - Remove a socket's file, unless it has become another's.
 * @file: the file. The socket must still listen, so that no other server takes
 *        it for a stale one and puts its own there meanwhile
 */
void socket_remove(const struct socket_file *file)
{
	struct stat st;

	if (lstat(file->path, &st))
		return;
	if (st.st_dev != file->dev || st.st_ino != file->ino) {
		log_warn("not removing %s: it is not this server's any more",
			 file->path);
		return;
	}
	if (unlink(file->path))
		log_warn("cannot remove %s: %s", file->path, strerror(errno));
}
