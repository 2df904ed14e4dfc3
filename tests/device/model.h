/* SPDX-License-Identifier: MIT */
/*
 * A model of the ivshmem PCI device, in each of the forms that it has had, for
 * QEMU's vfio-user-pci. One process is the device of several VMs, its guests,
 * which share its memory and ring each other.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/vfio.h>

#define MAX_GUESTS	16
#define MAX_VECTORS	2048
#define CONFIG_SIZE	256

#define NOT_READY	UINT32_MAX	/* position before the server answered */
#define JOINED		UINT32_MAX	/* status after a guest joined */

/** enum layout - What the registers look like. */
enum layout {
	LAYOUT_STOCK,			/* one doorbell: peer << 16 | vector */
	LAYOUT_2010,			/* one doorbell for each guest */
};

/** enum irq_mode - How the device interrupts. */
enum irq_mode {
	IRQ_NONE,
	IRQ_INTX,
	IRQ_MSIX,
};

/** enum mode - Ways to misbehave; see mode.c. */
enum mode {
	MODE_NONE,
	MODE_STUCK,			/* reading the status does not clear it */
	MODE_DEAF,			/* the same, and the mask does not count */
	MODE_SILENT,			/* the line is high, and no status says so */
	MODE_STORM,			/* one event after the other */
	MODE_ONES,			/* all reads are ones: it was pulled out */
	MODES
};

/** struct options - The command line. */
struct options {
	const char *sockets[MAX_GUESTS];
	unsigned int nr_guests;
	const char *control;
	uint8_t revision;
	enum layout layout;
	enum irq_mode irq;
	unsigned int vectors;
	uint32_t regs;			/* size of BAR0; 0 for none */
	uint64_t size;			/* of BAR2; 0 for none */
	uint32_t position;		/* of the first guest */
	unsigned int late;		/* reads until the position is known */
	bool never;			/* only a command makes it known */
	bool trap;			/* see each access to BAR2 */
	enum mode mode;
};

/**
 * struct guest - The device of one VM.
 * @listener: the socket that QEMU connects to
 * @fd:       the connection, or -1
 * @id:       index of the guest, from 0
 * @position: own peer id, or what a test wants it to be
 * @late:     reads of the position left that say NOT_READY
 * @never:    they all do
 * @masked:   an INTx was sent, and QEMU has not said that it is over
 * @burst:    events left to raise, each when the guest has seen the last
 * @eventfds: to raise interrupts: one for INTx, or one a vector; -1 for none
 * @stats:    what happened, for tests
 */
struct guest {
	int listener;
	int fd;
	unsigned int id;
	uint32_t position;
	uint32_t mask;
	uint32_t status;
	unsigned int late;
	bool never;
	enum mode mode;
	bool masked;
	uint64_t burst;
	int eventfds[MAX_VECTORS];
	uint8_t config[CONFIG_SIZE];
	struct {
		uint64_t events;	/* that reached the guest's device */
		uint64_t interrupts;	/* that were sent to QEMU */
		uint64_t status_reads;
		uint64_t early;		/* accesses to BAR2 before the position */
	} stats;
};

/** struct model - All there is. */
struct model {
	struct options options;
	int memory;
	struct guest guests[MAX_GUESTS];
	int control_listener;
	int control;
};

extern struct model model;

/* options.c */
void options_parse(int argc, char **argv);
bool options_number(const char *text, uint64_t max, uint64_t *value);

/* socket.c */
int socket_listen(const char *path);

/* protocol.c */
bool protocol_serve(struct guest *guest);

/* device.c */
void device_init(struct guest *guest);
void device_reset(struct guest *guest);
void device_join(struct guest *guest);
void device_ring(uint32_t peer, uint32_t value);
void device_burst(struct guest *guest, uint64_t events);
uint64_t device_region_size(unsigned int region);
void device_read(struct guest *guest, unsigned int region, uint64_t offset,
		 void *data, uint32_t size);
void device_write(struct guest *guest, unsigned int region, uint64_t offset,
		  const void *data, uint32_t size);

/* irq.c */
unsigned int irq_count(unsigned int index);
int irq_set(struct guest *guest, const struct vfio_irq_set *set, int *fds,
	    unsigned int nr_fds);
void irq_update(struct guest *guest);
void irq_message(struct guest *guest, unsigned int vector);
void irq_drop(struct guest *guest);

/* mode.c */
bool mode_parse(const char *name, enum mode *mode);
bool mode_holds_line(const struct guest *guest);
void mode_set(struct guest *guest, enum mode mode);
void mode_tick(struct guest *guest);

/* control.c */
void control_serve(void);

#endif /* MODEL_H */
