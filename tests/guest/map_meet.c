// SPDX-License-Identifier: MIT
/*
 * Two threads meet in one page table: for the one the kernel has chosen a huge
 * entry, for the other, since the process has turned them off, small ones. The
 * module meet decides who comes first.
 */
#include <sys/prctl.h>

#include "meet.h"

static unsigned char *mem;

static void *touch(void *unused TAP_UNUSED)
{
	run_on(1);
	mem[0] = 0x71;
	return NULL;
}

static void test_meet(int fd, bool small_first)
{
	pthread_t thread;

	mem = map_aligned(fd, HUGE);
	NEED(mem != MAP_FAILED);
	write_parameter(PARAMETERS "small_first", small_first);
	write_parameter(PARAMETERS "stage", 1);
	NEED(pthread_create(&thread, NULL, touch, NULL) == 0);
	EXPECT_WITHIN(stage() == 2, 30000);
	NEED(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
	mem[SMALL] = 0x72;
	NEED(pthread_join(thread, NULL) == 0);
	NEED(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0);

	/* They did meet. */
	EXPECT_EQ(stage(), 5);
	EXPECT_EQ(mem[0], 0x71);
	EXPECT_EQ(mem[SMALL], 0x72);
	EXPECT_EQ(map_walk(mem).size, small_first ? SMALL : HUGE);
	EXPECT_EQ(map_touch(mem, HUGE, SMALL, true), 0);
	EXPECT_EQ(munmap(mem, HUGE), 0);
}

int main(int argc, char **argv)
{
	int fd;

	tap_start(argc, argv, 60);
	fd = dev_open(O_RDWR);
	map_walk(&fd);
	run_on(0);
	test_meet(fd, false);
	test_meet(fd, true);
	return tap_finish();
}
