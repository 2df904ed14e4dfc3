// SPDX-License-Identifier: MIT
/*
 * The vfio-user protocol: messages with a header of 16 bytes, and bodies that
 * are mostly those of the ioctls in <linux/vfio.h>, in the host's byte order.
 * Each command has an answer, which is made in place.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "model.h"

#define MAX_FDS		16
#define MAX_BODY	8192

enum command {
	CMD_VERSION		= 1,
	CMD_DMA_MAP		= 2,
	CMD_DMA_UNMAP		= 3,
	CMD_GET_INFO		= 4,
	CMD_GET_REGION_INFO	= 5,
	CMD_GET_IRQ_INFO	= 7,
	CMD_SET_IRQS		= 8,
	CMD_REGION_READ		= 9,
	CMD_REGION_WRITE	= 10,
	CMD_RESET		= 13,
};

#define FLAG_REPLY	0x01
#define FLAG_NO_REPLY	0x10
#define FLAG_ERROR	0x20

struct header {
	uint16_t id;
	uint16_t command;
	uint32_t size;			/* with the header */
	uint32_t flags;
	uint32_t error;
};

struct version {
	uint16_t major;
	uint16_t minor;
	char capabilities[];
};

struct info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t regions;
	uint32_t irqs;
};

struct access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
	uint8_t data[];
};

/**
 * struct message - A command, and then its answer.
 * @size:   bytes in @body
 * @fds:    those that came with it; -1 for one that has been taken
 * @answer: an fd to go with the answer, or -1
 */
struct message {
	struct header header;
	uint64_t body[MAX_BODY / sizeof(uint64_t)];
	uint32_t size;
	int fds[MAX_FDS];
	unsigned int nr_fds;
	int answer;
};

static int handle_version(struct guest *guest, struct message *msg)
{
	struct version *version = (void *)msg->body;
	static const char text[] = "{\"capabilities\":{\"max_msg_fds\":8}}";

	if (msg->size < sizeof(*version))
		return -EINVAL;
	version->minor = 0;
	memcpy(version->capabilities, text, sizeof(text));
	msg->size = sizeof(*version) + sizeof(text);
	device_reset(guest);
	device_join(guest);
	return 0;
}

static int handle_info(struct message *msg)
{
	struct info *info = (void *)msg->body;

	if (msg->size < sizeof(*info))
		return -EINVAL;
	*info = (struct info) {
		.argsz = sizeof(*info),
		.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
		.regions = VFIO_PCI_NUM_REGIONS,
		.irqs = VFIO_PCI_NUM_IRQS,
	};
	msg->size = sizeof(*info);
	return 0;
}

static int handle_region_info(struct message *msg)
{
	struct vfio_region_info *info = (void *)msg->body;
	uint64_t size;

	if (msg->size < sizeof(*info) || info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;

	size = device_region_size(info->index);
	info->argsz = sizeof(*info);
	info->flags = 0;
	if (size)
		info->flags = VFIO_REGION_INFO_FLAG_READ |
			      VFIO_REGION_INFO_FLAG_WRITE;
	if (info->index == VFIO_PCI_BAR2_REGION_INDEX && !model.options.trap &&
	    size >= (uint64_t)sysconf(_SC_PAGESIZE)) {
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
		msg->answer = model.memory;
	}
	info->cap_offset = 0;
	info->size = size;
	info->offset = 0;
	msg->size = sizeof(*info);
	return 0;
}

static int handle_irq_info(struct message *msg)
{
	struct vfio_irq_info *info = (void *)msg->body;

	if (msg->size < sizeof(*info) || info->index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;

	info->argsz = sizeof(*info);
	info->count = irq_count(info->index);
	info->flags = VFIO_IRQ_INFO_EVENTFD;
	if (info->index == VFIO_PCI_INTX_IRQ_INDEX)
		info->flags |= VFIO_IRQ_INFO_MASKABLE |
			       VFIO_IRQ_INFO_AUTOMASKED;
	else
		info->flags |= VFIO_IRQ_INFO_NORESIZE;
	msg->size = sizeof(*info);
	return 0;
}

static int handle_set_irqs(struct guest *guest, struct message *msg)
{
	const struct vfio_irq_set *set = (void *)msg->body;

	if (msg->size < sizeof(*set))
		return -EINVAL;
	msg->size = 0;
	return irq_set(guest, set, msg->fds, msg->nr_fds);
}

static int handle_read(struct guest *guest, struct message *msg)
{
	struct access *access = (void *)msg->body;

	if (msg->size < sizeof(*access) ||
	    access->region >= VFIO_PCI_NUM_REGIONS ||
	    access->count > MAX_BODY - sizeof(*access))
		return -EINVAL;
	device_read(guest, access->region, access->offset, access->data,
		    access->count);
	msg->size = sizeof(*access) + access->count;
	return 0;
}

static int handle_write(struct guest *guest, struct message *msg)
{
	const struct access *access = (void *)msg->body;

	if (msg->size < sizeof(*access) ||
	    access->region >= VFIO_PCI_NUM_REGIONS ||
	    access->count > msg->size - sizeof(*access))
		return -EINVAL;
	device_write(guest, access->region, access->offset, access->data,
		     access->count);
	msg->size = sizeof(*access);
	return 0;
}

static int handle_reset(struct guest *guest, struct message *msg)
{
	device_reset(guest);
	msg->size = 0;
	return 0;
}

static int handle(struct guest *guest, struct message *msg)
{
	switch (msg->header.command) {
	case CMD_VERSION:
		return handle_version(guest, msg);
	/* Nothing here reads the guest's memory. */
	case CMD_DMA_MAP:
		msg->size = 0;
		return 0;
	case CMD_DMA_UNMAP:
		return 0;
	case CMD_GET_INFO:
		return handle_info(msg);
	case CMD_GET_REGION_INFO:
		return handle_region_info(msg);
	case CMD_GET_IRQ_INFO:
		return handle_irq_info(msg);
	case CMD_SET_IRQS:
		return handle_set_irqs(guest, msg);
	case CMD_REGION_READ:
		return handle_read(guest, msg);
	case CMD_REGION_WRITE:
		return handle_write(guest, msg);
	case CMD_RESET:
		return handle_reset(guest, msg);
	default:
		return -ENOTSUP;
	}
}

static bool receive(int fd, struct message *msg)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = { &msg->header, sizeof(msg->header) };
	struct msghdr hdr = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	ssize_t got;

	msg->nr_fds = 0;
	msg->answer = -1;
	got = recvmsg(fd, &hdr, MSG_WAITALL | MSG_CMSG_CLOEXEC);
	for (cmsg = CMSG_FIRSTHDR(&hdr); got > 0 && cmsg;
	     cmsg = CMSG_NXTHDR(&hdr, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		msg->nr_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(msg->fds, CMSG_DATA(cmsg), msg->nr_fds * sizeof(int));
	}
	if (got != sizeof(msg->header) ||
	    msg->header.size < sizeof(msg->header) ||
	    msg->header.size - sizeof(msg->header) > MAX_BODY)
		return false;

	msg->size = msg->header.size - sizeof(msg->header);
	return !msg->size || recv(fd, msg->body, msg->size, MSG_WAITALL) ==
			     (ssize_t)msg->size;
}

static bool answer(int fd, struct message *msg, int error)
{
	struct iovec iov[] = {
		{ &msg->header, sizeof(msg->header) },
		{ msg->body, error ? 0 : msg->size },
	};
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {
		.head = {
			.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		},
	};
	struct msghdr hdr = { .msg_iov = iov, .msg_iovlen = 2 };

	if (msg->header.flags & FLAG_NO_REPLY)
		return true;
	if (!error && msg->answer >= 0) {
		memcpy(CMSG_DATA(&control.head), &msg->answer, sizeof(int));
		hdr.msg_control = &control;
		hdr.msg_controllen = sizeof(control);
	}
	msg->header.size = sizeof(msg->header) + iov[1].iov_len;
	msg->header.flags = error ? FLAG_REPLY | FLAG_ERROR : FLAG_REPLY;
	msg->header.error = -error;
	return sendmsg(fd, &hdr, 0) == (ssize_t)msg->header.size;
}

/**
 * protocol_serve() - Take a command from QEMU, do it, and answer.
 * @guest: whose
 *
 * Returns false when QEMU has gone or makes no sense.
 */
bool protocol_serve(struct guest *guest)
{
	static struct message msg;
	bool good = receive(guest->fd, &msg);
	unsigned int i;

	if (good)
		good = answer(guest->fd, &msg, handle(guest, &msg));
	for (i = 0; i < msg.nr_fds; i++) {
		if (msg.fds[i] >= 0)
			close(msg.fds[i]);
	}
	return good;
}
