// SPDX-License-Identifier: MIT
/*
 * open, GET_INFO, lseek, and what the device does not do.
 *
 *	getinfo DEVICE SIZE VECTORS POSITION [pin]
 *
 * With "pin", one of revision 0 that has an interrupt pin.
 */
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "dev.h"

#define MISC_MAJOR	10

static void test_open(void)
{
	static const int modes[] = { O_RDWR, O_RDONLY, O_WRONLY,
				     O_RDWR | O_NONBLOCK };
	struct ivshmem_event event;
	struct stat st;
	unsigned int i;
	int fd;

	for (i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		fd = open(tap_device, modes[i]);
		EXPECT(fd >= 0);
		EXPECT_EQ(close(fd), 0);
	}
	EXPECT_ERRNO(open(tap_device, O_RDWR | O_DIRECTORY), ENOTDIR);

	fd = dev_open(O_WRONLY);
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EBADF);
	EXPECT_EQ(fstat(fd, &st), 0);
	EXPECT(S_ISCHR(st.st_mode));
	EXPECT_EQ(major(st.st_rdev), MISC_MAJOR);
	EXPECT_EQ(st.st_mode & 0777, 0660);
	close(fd);
}

static void test_info(int fd, uint64_t size, uint32_t vectors,
		      uint32_t position, bool pin)
{
	struct {
		struct ivshmem_info info;
		unsigned char after[64];
	} buf;
	struct ivshmem_info again;
	unsigned int i;
	int other;

	POISON(buf);
	EXPECT_EQ(ioctl(fd, IVSHMEM_GET_INFO, &buf.info), 0);
	EXPECT_EQ(buf.info.size, size);
	EXPECT_EQ(buf.info.features,
		  IVSHMEM_FEATURE_DOORBELL | IVSHMEM_FEATURE_INTERRUPT);
	EXPECT_EQ(buf.info.position, position);
	EXPECT_EQ(buf.info.vectors, vectors);
	EXPECT_EQ(buf.info.revision, !pin);
	EXPECT_EQ(buf.info.irq_mode,
		  pin ? IVSHMEM_IRQ_INTX : IVSHMEM_IRQ_MSIX);
	EXPECT_EQ(buf.info.cache_mode, IVSHMEM_CACHE_WRITE_BACK);
	for (i = 0; i < 8 && !buf.info.reserved[i]; i++)
		;
	EXPECT_EQ(i, 8);
	for (i = 0; i < sizeof(buf.after) && buf.after[i] == 0xcc; i++)
		;
	EXPECT_EQ(i, sizeof(buf.after));

	other = dev_open(O_RDONLY);
	POISON(again);
	EXPECT_EQ(ioctl(other, IVSHMEM_GET_INFO, &again), 0);
	EXPECT_EQ(memcmp(&again, &buf.info, sizeof(again)), 0);
	close(other);
}

static void test_info_fault(int fd)
{
	char *fence = dev_fence(1);
	struct ivshmem_info *info;

	EXPECT_ERRNO(ioctl(fd, IVSHMEM_GET_INFO, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_GET_INFO, -1L), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_GET_INFO, fence), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_GET_INFO, fence - 1), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_GET_INFO, fence - sizeof(*info) + 1),
		     EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_GET_INFO, dev_readonly("", 1)), EFAULT);
	EXPECT_EQ(ioctl(fd, IVSHMEM_GET_INFO, fence - sizeof(*info)), 0);
}

static void test_unknown(int fd)
{
	uint64_t buf[32];
	unsigned int nr, known = 0;

	POISON(buf);
	/* Every number, without an argument: one of them is RING_DOORBELL. */
	for (nr = 0; nr < 256; nr++) {
		errno = 0;
		if (ioctl(fd, _IO(IVSHMEM_IOC_TYPE, nr), -1L) != -1 ||
		    errno != ENOTTY)
			known++;
	}
	EXPECT_EQ(known, 1);

	/* The right number with another direction, size or type. */
	EXPECT_ERRNO(ioctl(fd, _IOW(IVSHMEM_IOC_TYPE, 0, struct ivshmem_info),
			   buf), ENOTTY);
	EXPECT_ERRNO(ioctl(fd, _IOR(IVSHMEM_IOC_TYPE, 0, char[63]), buf),
		     ENOTTY);
	EXPECT_ERRNO(ioctl(fd, _IOR(IVSHMEM_IOC_TYPE, 0, char[65]), buf),
		     ENOTTY);
	EXPECT_ERRNO(ioctl(fd, _IOW(IVSHMEM_IOC_TYPE, 1, int), buf), ENOTTY);
	EXPECT_ERRNO(ioctl(fd, _IOWR(IVSHMEM_IOC_TYPE, 2, char[56]), buf),
		     ENOTTY);
	EXPECT_ERRNO(ioctl(fd, _IOR(IVSHMEM_IOC_TYPE + 1, 0,
				    struct ivshmem_info), buf), ENOTTY);
	EXPECT_ERRNO(ioctl(fd, 0x5401 /* TCGETS */, buf), ENOTTY);
	EXPECT_ERRNO(ioctl(fd, 0, buf), ENOTTY);
	EXPECT_ERRNO(ioctl(fd, -1L, buf), ENOTTY);
}

static void test_seek(int fd, off_t size)
{
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
	EXPECT_EQ(lseek(fd, 0, SEEK_END), size);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), size);
	EXPECT_EQ(lseek(fd, -1, SEEK_END), size - 1);
	EXPECT_EQ(lseek(fd, 1, SEEK_CUR), size);
	EXPECT_EQ(lseek(fd, -size, SEEK_END), 0);
	EXPECT_EQ(lseek(fd, size, SEEK_SET), size);
	EXPECT_EQ(lseek(fd, 7, SEEK_SET), 7);

	EXPECT_ERRNO(lseek(fd, size + 1, SEEK_SET), EINVAL);
	EXPECT_ERRNO(lseek(fd, -1, SEEK_SET), EINVAL);
	EXPECT_ERRNO(lseek(fd, 1, SEEK_END), EINVAL);
	EXPECT_ERRNO(lseek(fd, -size - 1, SEEK_END), EINVAL);
	EXPECT_ERRNO(lseek(fd, size - 6, SEEK_CUR), EINVAL);
	EXPECT_ERRNO(lseek(fd, -8, SEEK_CUR), EINVAL);
	EXPECT_ERRNO(lseek(fd, INT64_MAX, SEEK_CUR), EINVAL);
	EXPECT_ERRNO(lseek(fd, 0, SEEK_DATA), EINVAL);
	EXPECT_ERRNO(lseek(fd, 0, SEEK_HOLE), EINVAL);
	EXPECT_ERRNO(lseek(fd, 0, 99), EINVAL);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 7);
}

static void test_refused(int fd)
{
	char buf[16] = "";

	EXPECT_ERRNO(write(fd, buf, sizeof(buf)), EINVAL);
	EXPECT_ERRNO(pwrite(fd, buf, sizeof(buf), 0), EINVAL);
	EXPECT_ERRNO(ftruncate(fd, 0), EINVAL);
}

int main(int argc, char **argv)
{
	uint64_t size;
	int fd;

	tap_start(argc, argv, 30);
	NEED(argc >= 5);
	size = strtoull(argv[2], NULL, 0);
	fd = dev_open(O_RDWR);
	test_open();
	test_info(fd, size, atoi(argv[3]), atoi(argv[4]), argc > 5);
	test_info_fault(fd);
	test_unknown(fd);
	test_seek(fd, size);
	test_refused(fd);
	EXPECT_EQ(close(fd), 0);
	return tap_finish();
}
