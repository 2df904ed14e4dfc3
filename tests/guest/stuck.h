/* SPDX-License-Identifier: MIT */
/*
 * A page that is not there until somebody who looks after it provides it: a call
 * that copies to it does not return before.
 */
#ifndef STUCK_H
#define STUCK_H

#include <linux/userfaultfd.h>

#include "dev.h"

#define STUCK_SIZE	4096

/* Returns NULL, and says why, where the kernel has no such pages. */
static inline void *stuck_page(int *uffd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	void *mem;

	*uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (*uffd < 0) {
		tap_note("userfaultfd: %s", strerror(errno));
		return NULL;
	}
	NEED(!ioctl(*uffd, UFFDIO_API, &api));
	mem = mmap(NULL, STUCK_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(mem != MAP_FAILED);
	reg.range.start = (uintptr_t)mem;
	reg.range.len = STUCK_SIZE;
	NEED(!ioctl(*uffd, UFFDIO_REGISTER, &reg));
	return mem;
}

static inline void stuck_release(int uffd, void *page)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)page, .len = STUCK_SIZE },
	};

	NEED(!ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
}

static inline void stuck_free(int uffd, void *page)
{
	close(uffd);
	munmap(page, STUCK_SIZE);
}

#endif /* STUCK_H */
