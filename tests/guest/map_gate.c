// SPDX-License-Identifier: MIT
/*
 * The device goes while a fault is about to make entries: that has to wait for
 * the fault, or else the entries would outlive the device.
 *
 *	map_gate DEVICE UNBIND SLOT
 */
#include <sys/prctl.h>

#include "meet.h"

static unsigned char *mem;
static bool go;

static void *touch(void *unused TAP_UNUSED)
{
	run_on(1);
	mem[0] = 0x71;
	return NULL;
}

static long long unbind(struct dev_call *c)
{
	char **argv = c->arg;
	int fd = open(argv[2], O_WRONLY);

	NEED(fd >= 0);
	while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
		sched_yield();
	return write(fd, argv[3], strlen(argv[3]));
}

static bool gone(int fd)
{
	struct ivshmem_info info;

	return ioctl(fd, IVSHMEM_GET_INFO, &info) && errno == ENODEV;
}

int main(int argc, char **argv)
{
	struct dev_call remover = { .call = unbind, .arg = argv };
	pthread_t thread;
	int fd;

	tap_start(argc, argv, 60);
	NEED(argc == 4);
	fd = dev_open(O_RDWR);
	run_on(0);
	mem = map_any(fd, HUGE);
	NEED(mem != MAP_FAILED);
	NEED(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);

	/*
	 * The processor of the fault that is held takes no interrupt, so a new
	 * thread, whose stack is to be mapped, would wait for it.
	 */
	dev_call_start(&remover);
	write_parameter(PARAMETERS "stage", 6);
	NEED(pthread_create(&thread, NULL, touch, NULL) == 0);
	EXPECT_WITHIN(stage() == 7, 30000);
	__atomic_store_n(&go, true, __ATOMIC_RELEASE);
	EXPECT_WITHIN(gone(fd), 10000);
	EXPECT(!dev_call_end(&remover, TAP_SECOND / 5));
	EXPECT_EQ(stage(), 7);
	write_parameter(PARAMETERS "stage", 8);
	NEED(pthread_join(thread, NULL) == 0);
	EXPECT(dev_call_end(&remover, DEV_LONG));
	EXPECT(remover.ret > 0);
	EXPECT_EQ(dev_fault(mem, -1), SIGBUS);
	EXPECT_EQ(dev_fault(mem + SMALL, 1), SIGBUS);
	return tap_finish();
}
