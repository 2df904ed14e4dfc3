# SPDX-License-Identifier: GPL-2.0-only
# What the kernel has: looked up in its headers, so that a backport counts too.
# compat.h hides the differences. What no header tells goes by the version.

ivshmem-has = $(if $(shell grep -E '$(2)' $(srctree)/include/linux/$(1)),-D$(3))
ivshmem-since = $(if $(shell printf '%s\n' $(1) $(KERNELVERSION) | sort -VC && echo y),-D$(2))

ccflags-y += $(call ivshmem-has,eventfd.h,eventfd_signal.struct eventfd_ctx .ctx.[;{]?$$,HAVE_EVENTFD_SIGNAL_ONE)
ccflags-y += $(call ivshmem-has,fs.h,ssize_t copy_splice_read,HAVE_COPY_SPLICE_READ)
ccflags-y += $(call ivshmem-has,mm.h,void vm_flags_set,HAVE_VM_FLAGS_SET)
ccflags-y += $(call ivshmem-has,mm.h,void release_fault_lock,HAVE_RELEASE_FAULT_LOCK)
ccflags-y += $(call ivshmem-has,uio_driver.h,int ..mmap_prepare,HAVE_UIO_MMAP_PREPARE)
ccflags-y += $(call ivshmem-has,wait.h,define wait_event_state.wq_head,HAVE_WAIT_EVENT_STATE)
ccflags-y += $(call ivshmem-since,7.3.4,HAVE_SAFE_MBIND)
