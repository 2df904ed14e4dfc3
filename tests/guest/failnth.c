// SPDX-License-Identifier: MIT
/*
 * Whatever a call needs of the kernel, memory or a copy from or to the program,
 * is refused in turn, until it needs no more. The call fails with ENOMEM or EFAULT
 * or does without, and can be undone or made again.
 *
 *	failnth DEVICE [ADDRESS]
 *
 * With the address of the device on its bus, which has no driver then, the call is
 * the driver's probe. Needs a kernel that injects faults, and failslab and
 * fail_page_alloc set to refuse whatever may be refused.
 */
#include <sys/epoll.h>

#include "driver.h"
#include "irq.h"
#include "uio.h"

#define MANY		1000	/* more than any call needs */
#define SIZE		(4096 * 2)

static int nth = -1;
static int file = -1, uio = -1, efd = -1, epfd = -1;

static void fail_at(unsigned int n)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", n);

	NEED(pwrite(nth, text, length, 0) == length);
}

/* Tells whether a place has been refused, and refuses no more. */
static bool failed(void)
{
	char text[16] = "";
	bool left = pread(nth, text, sizeof(text) - 1, 0) <= 0 || atoi(text) > 0;

	/* Both calls can be what is refused. */
	while (pwrite(nth, "0", 1, 0) != 1)
		;
	return !left;
}

static long call_probe(void)
{
	return driver_try("bind");
}

static void undo_probe(long ret TAP_UNUSED)
{
	driver_write("unbind");
}

static long call_open(void)
{
	return open(tap_device, O_RDWR | O_CLOEXEC);
}

static long call_open_uio(void)
{
	return uio_open(O_RDWR | O_CLOEXEC);
}

static void undo_open(long ret)
{
	NEED(!close(ret));
}

static long map(int fd, off_t offset)
{
	volatile char *mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
				  fd, offset);

	if (mem == MAP_FAILED)
		return -1;
	/* A fault that finds no memory comes again. */
	mem[0] = 1;
	mem[SIZE - 1] = 2;
	return (long)mem;
}

static long call_mmap(void)
{
	return map(file, 0);
}

static long call_mmap_uio(void)
{
	return map(uio, UIO_MAP(1));
}

static void undo_mmap(long mem)
{
	volatile char *byte = (volatile char *)mem;

	NEED(byte[0] == 1 && byte[SIZE - 1] == 2);
	NEED(!munmap((void *)mem, SIZE));
}

static long call_info(void)
{
	struct ivshmem_info info;

	return ioctl(file, IVSHMEM_GET_INFO, &info);
}

static long call_wait(void)
{
	struct ivshmem_wait wait = {
		.vector = 0,
		.timeout_ns = IVSHMEM_WAIT_FOREVER,
	};

	return ioctl(file, IVSHMEM_WAIT, &wait);
}

static long call_eventfd(void)
{
	return irq_bind(file, 0, efd);
}

static void undo_eventfd(long ret TAP_UNUSED)
{
	NEED(!irq_bind(file, 0, -1));
}

static long call_subscribe(void)
{
	return irq_subscribe(file, 1);
}

static long call_read(void)
{
	struct ivshmem_event event;

	return read(file, &event, sizeof(event));
}

/* Rings: what the failed call did not take is still there. */
static void undo_read(long ret TAP_UNUSED)
{
	irq_fire(0);
}

static long call_poll(void)
{
	struct pollfd pfd = { .fd = file, .events = POLLIN };

	return poll(&pfd, 1, -1);
}

static long call_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(epfd, EPOLL_CTL_ADD, file, &event);
}

static void undo_epoll(long ret TAP_UNUSED)
{
	NEED(!epoll_ctl(epfd, EPOLL_CTL_DEL, file, NULL));
}

static long call_async(void)
{
	return fcntl(file, F_SETFL, O_ASYNC);
}

static void undo_async(long ret TAP_UNUSED)
{
	NEED(!fcntl(file, F_SETFL, 0));
}

struct call {
	const char *name;
	long (*make)(void);
	void (*undo)(long ret);
};

static const struct call probe = { "probe", call_probe, undo_probe };

static const struct call calls[] = {
	{ "open", call_open, undo_open },
	{ "open of UIO", call_open_uio, undo_open },
	{ "mmap", call_mmap, undo_mmap },
	{ "mmap of UIO", call_mmap_uio, undo_mmap },
	{ "GET_INFO", call_info, NULL },
	{ "WAIT", call_wait, NULL },
	{ "SET_EVENTFD", call_eventfd, undo_eventfd },
	{ "SUBSCRIBE", call_subscribe, NULL },
	{ "poll", call_poll, NULL },
	{ "read", call_read, undo_read },
	{ "epoll", call_epoll, undo_epoll },
	{ "SIGIO", call_async, undo_async },
};

/*
 * Makes a call until nothing of it has been refused; it then has to succeed. There
 * may be one more errno that it fails with, or 0.
 */
static void test_call(const struct call *c, int other)
{
	unsigned int n, errors = 0, strange = 0;
	bool refused = true;
	long ret = -1;
	int err;

	for (n = 1; refused && n < MANY; n++) {
		errno = 0;
		fail_at(n);
		ret = c->make();
		err = errno;
		refused = failed();
		if (ret >= 0) {
			if (c->undo)
				c->undo(ret);
			continue;
		}
		errors++;
		if (err == ENOMEM || err == EFAULT || err == other)
			continue;
		tap_note("%s, place %u: %s", c->name, n, strerrorname_np(err));
		strange++;
	}
	tap_ok(!refused && ret >= 0 && errors && !strange,
	       "%s: %u places, %u of them errors", c->name, n - 2, errors);
}

int main(int argc, char **argv)
{
	unsigned int i;

	tap_start(argc, argv, 240);
	nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	NEED(nth >= 0);
	if (argc > 2) {
		snprintf(driver_address, sizeof(driver_address), "%s", argv[2]);
		/* A region that the kernel cannot write down is in use, to it. */
		test_call(&probe, EBUSY);
		return tap_finish();
	}
	irq_start(1);
	uio_find();
	uio = uio_open(O_RDWR | O_CLOEXEC);
	NEED(uio >= 0);
	file = dev_open(O_RDWR);
	efd = irq_eventfd();
	epfd = epoll_create1(EPOLL_CLOEXEC);
	NEED(epfd >= 0);
	irq_fire(0);
	for (i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		test_call(&calls[i], 0);
	return tap_finish();
}
