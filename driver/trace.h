/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ivshmem

#if !defined(IVSHMEM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define IVSHMEM_TRACE_H

#include <linux/tracepoint.h>

#include "ivshmem.h"

TRACE_EVENT(ring,
	    TP_PROTO(const struct ivshmem_device *ivs, u32 doorbell),
	    TP_ARGS(ivs, doorbell),
	    TP_STRUCT__entry(__field(int, device)
			     __field(u32, doorbell)
	    ),
	    TP_fast_assign(__entry->device = ivs->id;
			   __entry->doorbell = doorbell;
	    ),
	    TP_printk("ivshmem%d peer=%u vector=%u", __entry->device,
		      __entry->doorbell >> 16, __entry->doorbell & 0xffff)
);

TRACE_EVENT(interrupt,
	    TP_PROTO(const struct ivshmem_device *ivs, unsigned int vector, u64 count),
	    TP_ARGS(ivs, vector, count),
	    TP_STRUCT__entry(__field(int, device)
			     __field(unsigned int, vector)
			     __field(u64, count)
	    ),
	    TP_fast_assign(__entry->device = ivs->id;
			   __entry->vector = vector;
			   __entry->count = count;
	    ),
	    TP_printk("ivshmem%d vector=%u count=%llu", __entry->device,
		      __entry->vector, __entry->count)
);

TRACE_EVENT(wake,
	    TP_PROTO(const struct ivshmem_device *ivs, u32 vector, u64 count, int ret),
	    TP_ARGS(ivs, vector, count, ret),
	    TP_STRUCT__entry(__field(int, device)
			     __field(u32, vector)
			     __field(u64, count)
			     __field(int, ret)
	    ),
	    TP_fast_assign(__entry->device = ivs->id;
			   __entry->vector = vector;
			   __entry->count = count;
			   __entry->ret = ret;
	    ),
	    TP_printk("ivshmem%d vector=%d count=%llu ret=%d", __entry->device,
		      (int)__entry->vector, __entry->count, __entry->ret)
);

#endif /* IVSHMEM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
