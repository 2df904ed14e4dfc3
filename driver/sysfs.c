// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes of a device, in /sys/class/misc/ivshmemN. They are described in
 * Documentation/ABI/testing/sysfs-class-misc-ivshmem.
 */
#include <linux/device.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "ivshmem.h"

static struct ivshmem_device *ivshmem_sysfs_device(struct device *dev)
{
	struct miscdevice *misc = dev_get_drvdata(dev);

	return container_of(misc, struct ivshmem_device, misc);
}

static ssize_t position_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	return sysfs_emit(buf, "%u\n",
			  READ_ONCE(ivshmem_sysfs_device(dev)->position));
}
static DEVICE_ATTR_RO(position);

static ssize_t vectors_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%u\n", ivshmem_sysfs_device(dev)->nr_vectors);
}
static DEVICE_ATTR_RO(vectors);

static ssize_t size_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%llu\n", ivshmem_sysfs_device(dev)->mem_size);
}
static DEVICE_ATTR_RO(size);

static ssize_t revision_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	return sysfs_emit(buf, "%u\n", ivshmem_sysfs_device(dev)->revision);
}
static DEVICE_ATTR_RO(revision);

static ssize_t irq_mode_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	static const char * const names[] = {
		[IVSHMEM_IRQ_NONE] = "none",
		[IVSHMEM_IRQ_INTX] = "intx",
		[IVSHMEM_IRQ_MSIX] = "msix",
	};

	return sysfs_emit(buf, "%s\n",
			  names[ivshmem_sysfs_device(dev)->irq_mode]);
}
static DEVICE_ATTR_RO(irq_mode);

static ssize_t cache_mode_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	static const char * const names[] = {
		[IVSHMEM_CACHE_WRITE_BACK] = "write-back",
		[IVSHMEM_CACHE_UNCACHED] = "uncached",
	};

	return sysfs_emit(buf, "%s\n", names[ivshmem_mmap_cache_mode]);
}
static DEVICE_ATTR_RO(cache_mode);

static struct attribute *ivshmem_sysfs_attrs[] = {
	&dev_attr_position.attr,
	&dev_attr_vectors.attr,
	&dev_attr_size.attr,
	&dev_attr_revision.attr,
	&dev_attr_irq_mode.attr,
	&dev_attr_cache_mode.attr,
	NULL
};

static const struct attribute_group ivshmem_sysfs_group = {
	.attrs = ivshmem_sysfs_attrs,
};

static ssize_t ivshmem_sysfs_count_show(struct device *dev,
					struct device_attribute *attr, char *buf)
{
	struct ivshmem_vector *vec = container_of(attr, struct ivshmem_vector,
						  count_attr);

	return sysfs_emit(buf, "%llu\n", (u64)atomic64_read(&vec->count));
}

/**
 * ivshmem_sysfs_init() - Prepare the attributes of a device.
 * @ivs: the device, with its vectors
 *
 * Called by probe. Returns 0 or -ENOMEM; ivshmem_sysfs_fini() frees in either
 * case.
 */
int ivshmem_sysfs_init(struct ivshmem_device *ivs)
{
	unsigned int i;

	ivs->groups[0] = &ivshmem_sysfs_group;
	if (!ivs->nr_vectors)
		return 0;

	ivs->counts.name = "counts";
	ivs->counts.attrs = kvcalloc(ivs->nr_vectors + 1,
				     sizeof(*ivs->counts.attrs), GFP_KERNEL);
	if (!ivs->counts.attrs)
		return -ENOMEM;

	for (i = 0; i < ivs->nr_vectors; i++) {
		struct ivshmem_vector *vec = &ivs->vectors[i];

		sysfs_attr_init(&vec->count_attr.attr);
		/* The number alone, out of "ivshmem0-3". */
		vec->count_attr.attr.name = strrchr(vec->name, '-') + 1;
		vec->count_attr.attr.mode = 0444;
		vec->count_attr.show = ivshmem_sysfs_count_show;
		ivs->counts.attrs[i] = &vec->count_attr.attr;
	}
	ivs->groups[1] = &ivs->counts;
	return 0;
}

/**
 * ivshmem_sysfs_fini() - Undo ivshmem_sysfs_init().
 * @ivs: the device, no longer registered
 */
void ivshmem_sysfs_fini(struct ivshmem_device *ivs)
{
	kvfree(ivs->counts.attrs);
}
