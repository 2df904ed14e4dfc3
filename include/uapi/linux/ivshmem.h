/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The ABI of /dev/ivshmemN: inter-VM shared memory with doorbells.
 *
 * Offset 0 of the device file is the first byte of BAR2, the memory that the
 * peers share. Interrupts that peers raise are counted, one 64-bit counter per
 * vector. Rings that come faster than the device delivers them arrive as one
 * interrupt, so a counter says that something happened, not how often a peer
 * rang.
 *
 * open() with O_EXCL succeeds only if nobody else has the node open, and keeps
 * others out until it is closed: EBUSY. It says nothing of /dev/uioN, the other
 * node of the same device. open() also fails with ENOMEM, with ENODEV while the
 * device is being unplugged, and with EACCES where the node's mode says so.
 *
 * mmap() maps that memory, with MAP_SHARED. It fails with EACCES if the file is not
 * open for reading, or for writing where the mapping is to be written; with EINVAL
 * for MAP_PRIVATE; with ENXIO beyond the end of the memory; and with ENOMEM.
 * mprotect() cannot widen what the file was opened for: EACCES.
 *
 * poll() reports EPOLLIN | EPOLLRDNORM when read() would return an event,
 * EPOLLERR on a device that has no interrupt, and EPOLLHUP | EPOLLERR once the
 * device has been unplugged. Every other call then fails with ENODEV, and access
 * to a mapping raises SIGBUS.
 *
 * While the device is reset, ringing and access to a mapping wait for its end;
 * whoever sleeps goes on sleeping. The device loses what peers ring while it is
 * suspended or reset. So afterwards every vector counts once.
 */
#ifndef _UAPI_LINUX_IVSHMEM_H
#define _UAPI_LINUX_IVSHMEM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/** IVSHMEM_MAX_VECTORS - No device has more vectors than this. */
#define IVSHMEM_MAX_VECTORS	2048

/** IVSHMEM_MAX_PEER - The highest peer id. */
#define IVSHMEM_MAX_PEER	65535

/**
 * IVSHMEM_DOORBELL() - Argument of IVSHMEM_RING_DOORBELL.
 * @peer:   id of the peer to interrupt, 0 to IVSHMEM_MAX_PEER
 * @vector: which of its vectors, from 0
 */
#define IVSHMEM_DOORBELL(peer, vector) \
	(((__u32)(peer) << 16) | ((__u32)(vector) & 0xffff))

/**
 * enum ivshmem_feature - Bits of &ivshmem_info.features.
 * @IVSHMEM_FEATURE_DOORBELL:  IVSHMEM_RING_DOORBELL works
 * @IVSHMEM_FEATURE_INTERRUPT: read(), poll() and IVSHMEM_WAIT work
 */
enum ivshmem_feature {
	IVSHMEM_FEATURE_DOORBELL	= 1 << 0,
	IVSHMEM_FEATURE_INTERRUPT	= 1 << 1
};

/**
 * enum ivshmem_irq_mode - How the device interrupts this machine.
 * @IVSHMEM_IRQ_NONE: not at all: it has no interrupt, or none could be had
 * @IVSHMEM_IRQ_INTX: by one interrupt pin; the device has a single vector, 0
 * @IVSHMEM_IRQ_MSIX: by one message a vector
 */
enum ivshmem_irq_mode {
	IVSHMEM_IRQ_NONE	= 0,
	IVSHMEM_IRQ_INTX	= 1,
	IVSHMEM_IRQ_MSIX	= 2
};

/**
 * enum ivshmem_cache_mode - What the page table entries of a mapping ask for.
 * @IVSHMEM_CACHE_WRITE_BACK: as ordinary memory
 * @IVSHMEM_CACHE_UNCACHED:   every access goes to the bus
 */
enum ivshmem_cache_mode {
	IVSHMEM_CACHE_WRITE_BACK	= 0,
	IVSHMEM_CACHE_UNCACHED		= 1
};

/**
 * struct ivshmem_info - What a device is, from IVSHMEM_GET_INFO.
 * @size:       bytes of shared memory (BAR2)
 * @features:   bits of enum ivshmem_feature
 * @position:   own peer id, 0 to IVSHMEM_MAX_PEER; 0 if there is no doorbell
 * @vectors:    vectors that can be waited for, 0 to IVSHMEM_MAX_VECTORS
 * @revision:   PCI revision of the device
 * @irq_mode:   one of enum ivshmem_irq_mode
 * @cache_mode: one of enum ivshmem_cache_mode
 * @reserved:   0
 */
struct ivshmem_info {
	__u64 size;
	__u32 features;
	__u32 position;
	__u32 vectors;
	__u32 revision;
	__u32 irq_mode;
	__u32 cache_mode;
	__u32 reserved[8];
};

/**
 * enum ivshmem_event_flags - Bits of &ivshmem_event.flags.
 * @IVSHMEM_EVENT_JOIN: a new peer has come, perhaps among other things. Only
 *                      devices of the first design say so, on vector 0
 */
enum ivshmem_event_flags {
	IVSHMEM_EVENT_JOIN	= 1 << 0
};

/**
 * struct ivshmem_event - What read() returns, one for each vector that fired.
 * @vector: which vector
 * @flags:  bits of enum ivshmem_event_flags
 * @status: last value of the interrupt status register on a device with
 *          IVSHMEM_IRQ_INTX; 0 otherwise
 * @count:  interrupts of this vector since the driver took the device; never
 *          goes back
 *
 * read() returns as many whole events as fit, in no particular order of
 * vectors, and reports a vector again only when its count has changed since
 * this open file last reported it. The first read() of an open file reports
 * what has happened since the open.
 *
 * It fails with EINVAL if the buffer is smaller than one event, with EAGAIN if
 * there is none and the file is non-blocking, with EINTR if a signal came
 * first, with EFAULT for a bad buffer (no event is lost), and with ENXIO if
 * the device has no interrupt.
 */
struct ivshmem_event {
	__u16 vector;
	__u16 flags;
	__u32 status;
	__u64 count;
};

/** IVSHMEM_ANY_VECTOR - For &ivshmem_wait.vector: every subscribed vector. */
#define IVSHMEM_ANY_VECTOR	0xffffffffu

/** IVSHMEM_WAIT_FOREVER - For &ivshmem_wait.timeout_ns: no timeout. */
#define IVSHMEM_WAIT_FOREVER	(~(__u64)0)

/**
 * enum ivshmem_wait_flags - Bits of &ivshmem_wait.flags.
 * @IVSHMEM_WAIT_RING: ring &ivshmem_wait.doorbell before waiting. The bit is
 *                     cleared in the caller's struct once that is done, so that
 *                     a wait which is tried again does not ring again
 */
enum ivshmem_wait_flags {
	IVSHMEM_WAIT_RING	= 1 << 0
};

/**
 * struct ivshmem_wait - Argument of IVSHMEM_WAIT.
 * @count:      in: the count that the caller has seen; out: the count now. For
 *              one vector this is its interrupt count; for IVSHMEM_ANY_VECTOR it
 *              is the sum over the vectors that the open file subscribes to
 * @timeout_ns: when to give up, CLOCK_MONOTONIC of the initial time namespace in
 *              nanoseconds, absolute. 0 does not wait, IVSHMEM_WAIT_FOREVER
 *              waits without end
 * @busy_ns:    nanoseconds to poll before sleeping; cut to what the module
 *              parameter ``busy_poll_max_ns`` allows
 * @vector:     vector to wait for, or IVSHMEM_ANY_VECTOR
 * @flags:      bits of enum ivshmem_wait_flags
 * @doorbell:   with IVSHMEM_WAIT_RING an IVSHMEM_DOORBELL() value; otherwise
 *              ignored
 * @reserved:   must be 0
 *
 * The call returns 0 as soon as the count differs from @count, at once if it
 * does already: whoever passes on the count of the last call misses nothing.
 * Waiting does not change what read() and poll() report.
 *
 * It fails with ETIMEDOUT when the time is up; with EINTR if a signal came
 * first (the kernel restarts it by itself where the handler asks for that; the
 * timeout is absolute and does not move); with EINVAL for a vector that the
 * device does not have, an unknown flag or a reserved field that is not 0; with
 * ENXIO if the device has no interrupt; with EFAULT for a struct that cannot be
 * read or written; and, with IVSHMEM_WAIT_RING, with the errors of
 * IVSHMEM_RING_DOORBELL. A struct that can be read but not written is noticed
 * only at the end: the doorbell has then been rung.
 *
 * The struct is written back on success, on ETIMEDOUT, and on EINTR or ENODEV that
 * ended the wait itself; after any other error it is as it was.
 */
struct ivshmem_wait {
	__u64 count;
	__u64 timeout_ns;
	__u64 busy_ns;
	__u32 vector;
	__u32 flags;
	__u32 doorbell;
	__u32 reserved[3];
};

/**
 * struct ivshmem_eventfd - Argument of IVSHMEM_SET_EVENTFD.
 * @fd:       an eventfd to signal at each interrupt of the vector, or -1 to
 *            unbind the one that this open file has bound to it
 * @vector:   which vector
 * @reserved: must be 0
 *
 * An open file binds at most one eventfd to a vector; binding another replaces
 * it. Closing the open file unbinds. When the device is unplugged each bound
 * eventfd is signalled once more and then let go.
 *
 * It fails with EBADF or EINVAL if @fd is no eventfd, with EINVAL for a vector
 * that the device does not have or a reserved field that is not 0, with EFAULT
 * for a bad address, with ENXIO if the device has no interrupt, and with ENOMEM.
 */
struct ivshmem_eventfd {
	__s32 fd;
	__u32 vector;
	__u64 reserved;
};

/**
 * enum ivshmem_subscribe_flags - Bits of &ivshmem_subscribe.flags.
 * @IVSHMEM_SUBSCRIBE_ALL: every vector, as after open(); no bitmap is given
 */
enum ivshmem_subscribe_flags {
	IVSHMEM_SUBSCRIBE_ALL	= 1 << 0
};

/**
 * struct ivshmem_subscribe - Argument of IVSHMEM_SUBSCRIBE.
 * @bitmap:   address of an array of __u64; vector v is bit v % 64 of its
 *            element v / 64
 * @bits:     how many bits of the array count, 0 to IVSHMEM_MAX_VECTORS; the
 *            vectors beyond them are not subscribed to
 * @flags:    bits of enum ivshmem_subscribe_flags
 * @reserved: must be 0
 *
 * Chooses which vectors this open file's read(), poll(), SIGIO and
 * IVSHMEM_ANY_VECTOR see. Interrupts that came before are still reported for
 * vectors that stay subscribed, and not for those that are new.
 *
 * It fails with EINVAL for too many bits, a set bit of a vector that the device
 * does not have, an unknown flag, a reserved field that is not 0, or a bitmap or
 * bits beside IVSHMEM_SUBSCRIBE_ALL; with EFAULT for a bad address of the struct
 * or of the bitmap; with ENXIO if the device has no interrupt; and with ENOMEM. The
 * old choice then stays.
 */
struct ivshmem_subscribe {
	__u64 bitmap;
	__u32 bits;
	__u32 flags;
	__u64 reserved;
};

#define IVSHMEM_IOC_TYPE	0xc4

/**
 * IVSHMEM_GET_INFO - Fill in a struct ivshmem_info. Fails with EFAULT for a bad
 * address.
 */
#define IVSHMEM_GET_INFO	_IOR(IVSHMEM_IOC_TYPE, 0x00, struct ivshmem_info)

/**
 * IVSHMEM_RING_DOORBELL - Interrupt a peer. The argument is the value
 * IVSHMEM_DOORBELL(peer, vector) itself, not an address.
 *
 * Success says that the device was told: ringing a peer that is not there
 * succeeds too. Ringing oneself works. Fails with EINVAL for a vector that the
 * device cannot ring, or an argument that needs more than 32 bits; with EPERM if
 * the file is not open for writing; with ENXIO if the device has no doorbell; and
 * with EINTR if a signal came while the device was being reset.
 *
 * A device with IVSHMEM_IRQ_MSIX rings the vectors that it has itself, one with
 * IVSHMEM_IRQ_INTX any up to 65535. A device of the first design (one doorbell
 * register for each peer) cannot ring vector 0, nor a peer for which it has no
 * register.
 */
#define IVSHMEM_RING_DOORBELL	_IO(IVSHMEM_IOC_TYPE, 0x01)

/** IVSHMEM_WAIT - Wait for an interrupt; see struct ivshmem_wait. */
#define IVSHMEM_WAIT		_IOWR(IVSHMEM_IOC_TYPE, 0x02, struct ivshmem_wait)

/** IVSHMEM_SET_EVENTFD - Bind an eventfd; see struct ivshmem_eventfd. */
#define IVSHMEM_SET_EVENTFD	_IOW(IVSHMEM_IOC_TYPE, 0x03, struct ivshmem_eventfd)

/** IVSHMEM_SUBSCRIBE - Choose vectors; see struct ivshmem_subscribe. */
#define IVSHMEM_SUBSCRIBE	_IOW(IVSHMEM_IOC_TYPE, 0x04, struct ivshmem_subscribe)

#endif /* _UAPI_LINUX_IVSHMEM_H */
