// SPDX-License-Identifier: MIT
/*
 * The directory of peers in the shared memory.
 *
 * A peer can make a file with a name smaller, and a store beyond its end would
 * end the server. A system call that copies there just fails. It is read(),
 * since write() does not work on huge pages.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "directory.h"
#include "log.h"
#include "loop.h"
#include "peer.h"

/**
 * directory_open() - Make a directory, which is empty and not published yet.
 * @directory: all zero
 * @memory:    the shared memory
 * @size:      its bytes, more than the directory's
 *
 * Return: 0, or a negative errno after a line in the log.
 */
int directory_open(struct directory *directory, int memory, uint64_t size)
{
	struct ivshmem_directory *content = &directory->content;
	const size_t length = sizeof(*content);
	void *map;
	int ret;

	memcpy(content->magic, IVSHMEM_DIRECTORY_MAGIC, sizeof(content->magic));
	content->version = htole32(IVSHMEM_DIRECTORY_VERSION);
	/* Readers shall not take this server's numbers for an earlier one's. */
	content->generation = htole64(loop_now() << 20);

	directory->source = memfd_create("ivshmem-directory", MFD_CLOEXEC);
	if (directory->source < 0)
		goto fail;
	/* In huge pages a mapping begins where such a page does. */
	map = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_NORESERVE, memory, 0);
	if (map == MAP_FAILED)
		goto fail;
	directory->shared = (char *)map + size - length;
	directory->size = size;
	return 0;

fail:
	ret = -errno;
	if (directory->source >= 0)
		close(directory->source);
	log_err("cannot make the directory of peers: %s", strerror(-ret));
	return ret;
}

static bool directory_copy(struct directory *directory, size_t length)
{
	/* What was copied before has to be seen before. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return pwrite(directory->source, &directory->content, length, 0) ==
	       (ssize_t)length &&
	       pread(directory->source, directory->shared, length, 0) ==
	       (ssize_t)length;
}

static void directory_count(struct ivshmem_directory *content)
{
	content->generation = htole64(le64toh(content->generation) + 1);
}

/**
 * directory_publish() - Write who is there.
 * @directory: the directory
 * @peers:     all peers
 * @count:     how many
 */
void directory_publish(struct directory *directory, struct peer **peers,
		       size_t count)
{
	struct ivshmem_directory *content = &directory->content;
	const size_t head = offsetof(struct ivshmem_directory, present);
	unsigned int present = 0;
	bool done;
	size_t i;

	memset(content->present, 0, sizeof(content->present));
	for (i = 0; i < count; i++) {
		if (peers[i]->gone)
			continue;
		content->present[peers[i]->id / 8] |= 1 << peers[i]->id % 8;
		present++;
	}

	directory_count(content);
	done = directory_copy(directory, head);
	content->count = htole32(present);
	done = done && directory_copy(directory, sizeof(*content));
	directory_count(content);
	done = done && directory_copy(directory, head);
	if (!done && !directory->failed)
		log_warn("cannot write the directory of peers: has a peer changed the memory's size?");
	directory->failed = !done;
}

/**
 * directory_close() - Stop writing. What has been written stays.
 * @directory: the directory, or all zero
 */
void directory_close(struct directory *directory)
{
	if (!directory->shared)
		return;
	munmap(directory->shared + sizeof(directory->content) - directory->size,
	       directory->size);
	close(directory->source);
}
