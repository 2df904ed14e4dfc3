/* SPDX-License-Identifier: MIT */
/*
 * libivshmem: memory that virtual machines share, and doorbells to wake each
 * other.
 *
 * Functions return 0 or what they say, and -1 (a pointer: NULL) with errno set
 * when they fail. Every one fails with ENODEV once the device has been
 * unplugged, and touching its memory then raises SIGBUS. Any number of threads
 * may use one handle, as long as none of them closes it.
 *
 * The structs, limits and modes are those of the kernel, whose header comes
 * with the library.
 */
#ifndef IVSHMEM_H
#define IVSHMEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/ivshmem.h>

#ifdef __cplusplus
extern "C" {
/* Some functions have the name of a struct, as stat(2) does. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

#pragma GCC visibility push(default)

/** struct ivshmem - An open device; what is in it is the library's own. */
struct ivshmem;

/**
 * ivshmem_open() - Open a device.
 * @where: path of its node, as /dev/ivshmem0
 * @flags: O_RDWR, or O_RDONLY for a handle that can neither ring nor map for
 *         writing; with O_NONBLOCK ivshmem_read_events() does not block, with
 *         O_EXCL nobody else may have the device open. It is always closed on
 *         exec.
 *
 * Of the interrupts a handle sees those that come after this call.
 *
 * Return: a handle for ivshmem_close(), or NULL with the errno of open(2), EINVAL
 * for another flag, or ENOTTY if @where is no ivshmem device.
 */
struct ivshmem *ivshmem_open(const char *where, int flags);

/**
 * ivshmem_close() - Close a device.
 * @ivs: the handle, or NULL
 *
 * Mappings stay until they are unmapped. Does not change errno.
 */
void ivshmem_close(struct ivshmem *ivs);

/**
 * ivshmem_fd() - The descriptor for poll(2), epoll(7) and the like.
 * @ivs: the handle
 *
 * It is readable when ivshmem_read_events() would return, and has POLLHUP and
 * POLLERR after an unplug. It belongs to the handle: wait for it, set
 * O_NONBLOCK or O_ASYNC, but do not read or close it.
 *
 * Return: the descriptor.
 */
int ivshmem_fd(const struct ivshmem *ivs);

/**
 * ivshmem_get_info() - What the device is.
 * @ivs:  the handle
 * @info: where to put it
 *
 * Return: 0, or -1 and errno.
 */
int ivshmem_get_info(struct ivshmem *ivs, struct ivshmem_info *info);

/**
 * ivshmem_map() - Map a piece of the shared memory.
 * @ivs:    the handle
 * @offset: of its first byte; need not be at a page's start
 * @length: its bytes, at least 1
 * @prot:   PROT_READ, or PROT_READ | PROT_WRITE
 *
 * Return: address of the byte at @offset, for ivshmem_unmap(); or NULL with
 * EINVAL if the piece does not lie inside the memory, or the errno of mmap(2).
 */
void *ivshmem_map(struct ivshmem *ivs, uint64_t offset, uint64_t length, int prot);

/**
 * ivshmem_unmap() - Undo ivshmem_map().
 * @addr:   what it returned
 * @length: what it was given
 *
 * Return: 0, or -1 with the errno of munmap(2).
 */
int ivshmem_unmap(void *addr, size_t length);

/**
 * ivshmem_ring() - Interrupt a peer.
 * @ivs:    the handle
 * @peer:   id of the peer, which may be the caller's own
 * @vector: which of its vectors; with IVSHMEM_IRQ_INTX the value, up to 65535,
 *          for its interrupt status
 *
 * Nobody tells whether the peer is there.
 *
 * Return: 0; or -1 with EINVAL for a peer or vector that the device cannot ring,
 * EPERM if the handle is read-only, ENXIO if the device has no doorbell.
 */
int ivshmem_ring(struct ivshmem *ivs, unsigned int peer, unsigned int vector);

/**
 * ivshmem_count() - How often a vector has fired.
 * @ivs:    the handle
 * @vector: which vector, or IVSHMEM_ANY_VECTOR for the sum over those that the
 *          handle subscribes to
 * @count:  where to put it, for ivshmem_wait()
 *
 * Return: 0; or -1 with EINVAL for a vector that the device does not have, ENXIO
 * if it has no interrupt.
 */
int ivshmem_count(struct ivshmem *ivs, unsigned int vector, uint64_t *count);

/**
 * ivshmem_wait() - Wait until a vector fires.
 * @ivs:        the handle
 * @vector:     which vector, or IVSHMEM_ANY_VECTOR
 * @count:      in: the count that the caller knows; out, on success: the count
 *              now
 * @timeout_ns: how many nanoseconds to wait at most; 0 does not wait, a negative
 *              number waits for ever
 *
 * Returns once the count differs from what the caller knows, at once if it does
 * already, so that no interrupt is missed between two calls, nor between
 * ivshmem_count() and the first one. Does not take events away from
 * ivshmem_read_events().
 *
 * Signals whose handler has SA_RESTART do not lengthen the timeout.
 *
 * Return: 0; or -1 with ETIMEDOUT, EINTR if a signal came first, or the errno of
 * ivshmem_count().
 */
int ivshmem_wait(struct ivshmem *ivs, unsigned int vector, uint64_t *count,
		 int64_t timeout_ns);

/**
 * ivshmem_read_events() - Learn which vectors have fired.
 * @ivs:    the handle
 * @events: where to put them
 * @max:    for how many there is room, at least 1
 *
 * Waits for at least one, except on a descriptor with O_NONBLOCK. Each vector is
 * reported once, and again when its count has changed.
 *
 * Return: how many there are; or -1 with EAGAIN if there is none and the
 * descriptor does not block, EINTR, EINVAL if @max is 0, ENXIO if the device has
 * no interrupt.
 */
ssize_t ivshmem_read_events(struct ivshmem *ivs, struct ivshmem_event *events,
			    size_t max);

/**
 * ivshmem_set_eventfd() - Have a vector signal an eventfd.
 * @ivs:    the handle
 * @vector: which vector
 * @fd:     the eventfd(2), which stays the caller's; replaces an earlier one; -1
 *          to unbind
 *
 * An unplug signals it once more. ivshmem_close() unbinds.
 *
 * Return: 0; or -1 with EBADF or EINVAL if @fd is no eventfd, EINVAL for a vector
 * that the device does not have, ENXIO if it has no interrupt.
 */
int ivshmem_set_eventfd(struct ivshmem *ivs, unsigned int vector, int fd);

/**
 * ivshmem_subscribe() - Choose which vectors the handle sees.
 * @ivs:    the handle
 * @bitmap: vector v is bit v % 64 of element v / 64; NULL for every vector, as
 *          after ivshmem_open()
 * @bits:   how many bits of it count; 0 with NULL
 *
 * It holds for the descriptor, ivshmem_read_events() and IVSHMEM_ANY_VECTOR.
 *
 * Return: 0; or -1 with EINVAL for a vector that the device does not have or too
 * many bits, ENXIO if it has no interrupt. The old choice then stays.
 */
int ivshmem_subscribe(struct ivshmem *ivs, const uint64_t *bitmap,
		      unsigned int bits);

/**
 * ivshmem_peers() - Learn who is there.
 * @ivs: the handle
 * @ids: where to put the peers' ids, the lowest first; the own is one of them
 * @max: for how many there is room
 *
 * They are read from the directory that ivshmem-server --directory keeps in the
 * last IVSHMEM_DIRECTORY_SIZE bytes of the memory (see ivshmem-directory.h). Other
 * peers could write there too: do not trust it.
 *
 * Return: how many there are, which can be more than @max; or -1 with ENOENT if
 * there is no directory, or the errno of ivshmem_map().
 */
ssize_t ivshmem_peers(struct ivshmem *ivs, unsigned int *ids, size_t max);

#pragma GCC visibility pop

#ifdef __cplusplus
#pragma GCC diagnostic pop
}
#endif

#endif /* IVSHMEM_H */
