// SPDX-License-Identifier: GPL-2.0-only
/*
 * The PCI driver: finding a device, letting go of it, and the module itself.
 */
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/iopoll.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>

#include "ivshmem.h"
#include "regs.h"

#define IVSHMEM_POSITION_TIMEOUT_US	5000000

static DEFINE_IDA(ivshmem_ida);

/* Says why a probe fails: dev_err_probe() does not if memory is short. */
static __printf(3, 4) int ivshmem_pci_fail(struct pci_dev *pdev, int err,
					   const char *format, ...)
{
	struct va_format vaf = { .fmt = format };
	va_list args;

	va_start(args, format);
	vaf.va = &args;
	dev_err(&pdev->dev, "error %pe: %pV", ERR_PTR(err), &vaf);
	va_end(args);
	return err;
}

/* Takes the sizes and addresses of the BARs, and maps the registers. */
static int ivshmem_pci_map(struct ivshmem_device *ivs)
{
	struct pci_dev *pdev = ivs->pdev;

	if (!(pci_resource_flags(pdev, IVSHMEM_BAR_REGS) & IORESOURCE_MEM) ||
	    pci_resource_len(pdev, IVSHMEM_BAR_REGS) < IVSHMEM_REGS_SIZE)
		return ivshmem_pci_fail(pdev, -ENODEV,
					"BAR%d has no room for the registers\n",
					IVSHMEM_BAR_REGS);

	ivs->mem = pci_resource_start(pdev, IVSHMEM_BAR_MEM);
	ivs->mem_size = pci_resource_len(pdev, IVSHMEM_BAR_MEM);
	if (!(pci_resource_flags(pdev, IVSHMEM_BAR_MEM) & IORESOURCE_MEM) ||
	    !ivs->mem_size || !PAGE_ALIGNED(ivs->mem | ivs->mem_size))
		return ivshmem_pci_fail(pdev, -ENODEV,
					"BAR%d is not whole pages of memory: %pR\n",
					IVSHMEM_BAR_MEM, &pdev->resource[IVSHMEM_BAR_MEM]);

	ivs->regs = pci_iomap(pdev, IVSHMEM_BAR_REGS, 0);
	if (!ivs->regs)
		return ivshmem_pci_fail(pdev, -ENOMEM,
					"cannot map BAR%d\n", IVSHMEM_BAR_REGS);
	return 0;
}

/*
 * Only a device with interrupts has peers. One of revision 0 has no position
 * until its server has answered; newer ones do not start without it.
 */
static int ivshmem_pci_read_position(struct ivshmem_device *ivs)
{
	struct pci_dev *pdev = ivs->pdev;
	void __iomem *reg = ivs->regs + IVSHMEM_REG_POSITION;

	if (!ivshmem_irq_present(pdev))
		return 0;

	ivs->position = readl(reg);
	if (!ivs->revision && ivs->position == IVSHMEM_NOT_THERE)
		read_poll_timeout(readl, ivs->position,
				  ivs->position != IVSHMEM_NOT_THERE,
				  10000, IVSHMEM_POSITION_TIMEOUT_US, true, reg);
	if (ivs->position > IVSHMEM_MAX_PEER)
		return ivshmem_pci_fail(pdev, -ENODEV,
					"no peer id from the server: the position register reads %#x\n",
					ivs->position);
	return 0;
}

static int ivshmem_pci_probe(struct pci_dev *pdev,
			     const struct pci_device_id *id)
{
	struct ivshmem_device *ivs;
	int ret;

	ivs = ivshmem_device_create(pdev);
	if (IS_ERR(ivs))
		return ivshmem_pci_fail(pdev, PTR_ERR(ivs),
					"cannot allocate a device\n");

	ret = ida_alloc(&ivshmem_ida, GFP_KERNEL);
	if (ret < 0) {
		ivshmem_pci_fail(pdev, ret, "cannot allocate a number\n");
		goto err_put;
	}
	ivs->id = ret;
	ivs->revision = pdev->revision;
	snprintf(ivs->name, sizeof(ivs->name), "ivshmem%d", ivs->id);

	ret = pci_enable_device(pdev);
	if (ret) {
		ivshmem_pci_fail(pdev, ret, "cannot enable the device\n");
		goto err_ida;
	}
	/*
	 * That has let the pin interrupt. Until there is a handler, or if there
	 * never is, a device that will not be quiet would hold a line that others
	 * share, and nobody could make it fall.
	 */
	if (pdev->pin)
		pci_intx(pdev, 0);

	ret = pci_request_regions_exclusive(pdev, KBUILD_MODNAME);
	if (ret) {
		ivshmem_pci_fail(pdev, ret, "the BARs are in use\n");
		goto err_disable;
	}

	ret = ivshmem_pci_map(ivs);
	if (ret)
		goto err_regions;

	ret = ivshmem_pci_read_position(ivs);
	if (ret)
		goto err_unmap;

	/* The interrupt handler looks at what this finds. */
	if (ivshmem_irq_present(pdev))
		ivshmem_doorbell_init(ivs);

	/* An event that arrives while bus mastering is off is lost. */
	pci_set_master(pdev);
	ret = ivshmem_irq_init(ivs);
	if (ret) {
		ivshmem_pci_fail(pdev, ret, "cannot allocate vectors\n");
		goto err_master;
	}

	ret = ivshmem_sysfs_init(ivs);
	if (ret) {
		ivshmem_pci_fail(pdev, ret, "cannot allocate attributes\n");
		goto err_irq;
	}

	pci_set_drvdata(pdev, ivs);
	ret = ivshmem_uio_register(ivs);
	if (ret) {
		ivshmem_pci_fail(pdev, ret, "cannot register with UIO\n");
		goto err_irq;
	}

	ret = ivshmem_chardev_register(ivs);
	if (ret) {
		ivshmem_pci_fail(pdev, ret,
				 "cannot register /dev/%s\n", ivs->name);
		goto err_irq;
	}

	/* For a reset after an error, which may leave nothing to save. */
	pci_save_state(pdev);
	dev_info(&pdev->dev, "%s: %llu bytes, %u vectors, position %u\n",
		 ivs->name, ivs->mem_size, ivs->nr_vectors, ivs->position);
	return 0;

err_irq:
	/* UIO's node may be open by now, and its interrupts are live. */
	ivshmem_device_unplug(ivs);
	ivshmem_irq_free(ivs);
	ivshmem_uio_unregister(ivs);
err_master:
	pci_clear_master(pdev);
err_unmap:
	pci_iounmap(pdev, ivs->regs);
err_regions:
	pci_release_regions(pdev);
err_disable:
	pci_disable_device(pdev);
err_ida:
	ida_free(&ivshmem_ida, ivs->id);
err_put:
	ivshmem_device_put(ivs);
	return ret;
}

/* Never waits for a program to close its file. */
static void ivshmem_pci_remove(struct pci_dev *pdev)
{
	struct ivshmem_device *ivs = pci_get_drvdata(pdev);

	ivshmem_device_unplug(ivs);
	ivshmem_irq_free(ivs);
	ivshmem_uio_unregister(ivs);
	ivshmem_chardev_unregister(ivs);
	pci_clear_master(pdev);
	pci_iounmap(pdev, ivs->regs);
	pci_release_regions(pdev);
	pci_disable_device(pdev);
	ida_free(&ivshmem_ida, ivs->id);
	ivshmem_device_put(ivs);
}

/*
 * What nothing can mend. UIO has no word for that until remove(), which may never
 * come: who reads from it is at least woken.
 */
static pci_ers_result_t ivshmem_pci_lose(struct ivshmem_device *ivs)
{
	ivshmem_device_unplug(ivs);
	ivshmem_uio_notify(ivs);
	return PCI_ERS_RESULT_DISCONNECT;
}

/* Ends what ivshmem_device_hold() began, once the configuration is back. */
static void ivshmem_pci_restore(struct ivshmem_device *ivs)
{
	u32 position;

	/* All of it reads as ones, and nobody is to take that for the memory. */
	if (!pci_device_is_present(ivs->pdev)) {
		ivshmem_pci_lose(ivs);
		return;
	}

	/* A machine that was hibernated may have come to another server. */
	position = readl(ivs->regs + IVSHMEM_REG_POSITION);
	if (ivshmem_irq_present(ivs->pdev) && position <= IVSHMEM_MAX_PEER)
		WRITE_ONCE(ivs->position, position);
	ivshmem_irq_restore(ivs);
	/* Restoring has used up what was saved. */
	pci_save_state(ivs->pdev);
	ivshmem_device_unhold(ivs);
	ivshmem_irq_catch_up(ivs);
}

static int __maybe_unused ivshmem_pci_suspend(struct device *dev)
{
	ivshmem_device_hold(dev_get_drvdata(dev));
	return 0;
}

static int __maybe_unused ivshmem_pci_resume(struct device *dev)
{
	ivshmem_pci_restore(dev_get_drvdata(dev));
	return 0;
}

static SIMPLE_DEV_PM_OPS(ivshmem_pci_pm_ops, ivshmem_pci_suspend,
			 ivshmem_pci_resume);

static void ivshmem_pci_reset_prepare(struct pci_dev *pdev)
{
	ivshmem_device_hold(pci_get_drvdata(pdev));
}

static void ivshmem_pci_reset_done(struct pci_dev *pdev)
{
	ivshmem_pci_restore(pci_get_drvdata(pdev));
}

static pci_ers_result_t ivshmem_pci_error_detected(struct pci_dev *pdev,
						   pci_channel_state_t state)
{
	struct ivshmem_device *ivs = pci_get_drvdata(pdev);

	switch (state) {
	case pci_channel_io_normal:
		return PCI_ERS_RESULT_CAN_RECOVER;
	case pci_channel_io_frozen:
		ivshmem_device_hold(ivs);
		return PCI_ERS_RESULT_NEED_RESET;
	default:
		return ivshmem_pci_lose(ivs);
	}
}

static pci_ers_result_t ivshmem_pci_slot_reset(struct pci_dev *pdev)
{
	pci_restore_state(pdev);
	if (!pci_device_is_present(pdev))
		return ivshmem_pci_lose(pci_get_drvdata(pdev));
	return PCI_ERS_RESULT_RECOVERED;
}

static void ivshmem_pci_error_resume(struct pci_dev *pdev)
{
	ivshmem_pci_restore(pci_get_drvdata(pdev));
}

static const struct pci_error_handlers ivshmem_pci_err_handler = {
	.error_detected = ivshmem_pci_error_detected,
	.slot_reset = ivshmem_pci_slot_reset,
	.resume = ivshmem_pci_error_resume,
	.reset_prepare = ivshmem_pci_reset_prepare,
	.reset_done = ivshmem_pci_reset_done,
};

static const struct pci_device_id ivshmem_pci_ids[] = {
	{ PCI_DEVICE(IVSHMEM_PCI_VENDOR, IVSHMEM_PCI_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, ivshmem_pci_ids);

static struct pci_driver ivshmem_pci_driver = {
	.name = KBUILD_MODNAME,
	.id_table = ivshmem_pci_ids,
	.probe = ivshmem_pci_probe,
	.remove = ivshmem_pci_remove,
	.err_handler = &ivshmem_pci_err_handler,
	.driver.pm = &ivshmem_pci_pm_ops,
};

static int __init ivshmem_pci_init(void)
{
	int ret;

	ret = ivshmem_device_init();
	if (ret)
		return ret;

	ret = pci_register_driver(&ivshmem_pci_driver);
	if (ret)
		ivshmem_device_exit();
	return ret;
}
module_init(ivshmem_pci_init);

static void __exit ivshmem_pci_exit(void)
{
	pci_unregister_driver(&ivshmem_pci_driver);
	ivshmem_device_exit();
}
module_exit(ivshmem_pci_exit);

MODULE_DESCRIPTION("Inter-VM shared memory (ivshmem) PCI device");
MODULE_LICENSE("GPL");
MODULE_AUTHOR("The ivshmem driver project");
