// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the benchmark compares with: the mapping of BAR2 that a UIO driver gets
 * when it asks UIO core for nothing special, UIO_MEM_PHYS, and in /dev/faultphys
 * that of a driver which maps one page at each fault. It names no device: it
 * binds to one that has it as driver_override, and to one at a time.
 */
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/uio_driver.h>

static unsigned long uiophys_pfn;

static vm_fault_t uiophys_fault(struct vm_fault *vmf)
{
	return vmf_insert_pfn(vmf->vma, vmf->address, uiophys_pfn + vmf->pgoff);
}

static const struct vm_operations_struct uiophys_vm_ops = {
	.fault = uiophys_fault,
};

static int uiophys_mmap(struct file *file, struct vm_area_struct *vma)
{
	vm_flags_t flags = VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
#ifdef HAVE_VM_FLAGS_SET
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
	vma->vm_ops = &uiophys_vm_ops;
	return 0;
}

static const struct file_operations uiophys_fops = {
	.owner = THIS_MODULE,
	.mmap = uiophys_mmap,
};

static struct miscdevice uiophys_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "faultphys",
	.fops = &uiophys_fops,
};

static void uiophys_remove(struct pci_dev *pdev)
{
	misc_deregister(&uiophys_misc);
}

static int uiophys_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct uio_info *info;
	int ret;

	info = devm_kzalloc(&pdev->dev, sizeof(*info), GFP_KERNEL);
	if (!info)
		return -ENOMEM;
	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;

	info->name = "uiophys";
	info->version = "1";
	info->irq = UIO_IRQ_NONE;
	info->mem[0].name = "shmem";
	info->mem[0].memtype = UIO_MEM_PHYS;
	info->mem[0].addr = pci_resource_start(pdev, 2);
	info->mem[0].size = pci_resource_len(pdev, 2);
	ret = devm_uio_register_device(&pdev->dev, info);
	if (ret)
		return ret;

	uiophys_pfn = PHYS_PFN(pci_resource_start(pdev, 2));
	return misc_register(&uiophys_misc);
}

static struct pci_driver uiophys_driver = {
	.name = "uiophys",
	.probe = uiophys_probe,
	.remove = uiophys_remove,
};
module_pci_driver(uiophys_driver);

MODULE_DESCRIPTION("BAR2 as a UIO_MEM_PHYS map, for benchmarks");
MODULE_LICENSE("GPL");
