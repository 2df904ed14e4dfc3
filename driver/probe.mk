# SPDX-License-Identifier: GPL-2.0-only
# What the kernel has: looked up in its headers, so that a backport counts too.
# compat.h hides the differences.

ivshmem-has = $(if $(shell grep -E '$(2)' $(srctree)/include/linux/$(1)),-D$(3))

ccflags-y += $(call ivshmem-has,eventfd.h,eventfd_signal.struct eventfd_ctx .ctx.[;{]?$$,HAVE_EVENTFD_SIGNAL_ONE)
ccflags-y += $(call ivshmem-has,fs.h,ssize_t copy_splice_read,HAVE_COPY_SPLICE_READ)
ccflags-y += $(call ivshmem-has,mm.h,void vm_flags_set,HAVE_VM_FLAGS_SET)
ccflags-y += $(call ivshmem-has,mm.h,void release_fault_lock,HAVE_RELEASE_FAULT_LOCK)
ccflags-y += $(call ivshmem-has,uio_driver.h,int ..mmap_prepare,HAVE_UIO_MMAP_PREPARE)
ccflags-y += $(call ivshmem-has,wait.h,define wait_event_state.wq_head,HAVE_WAIT_EVENT_STATE)
