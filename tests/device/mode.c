// SPDX-License-Identifier: MIT
/*
 * Ways to misbehave, which can be changed while the guest runs.
 */
#include <string.h>

#include "model.h"

static const char * const names[MODES] = {
	[MODE_NONE] = "none",
	[MODE_STUCK] = "stuck",
	[MODE_DEAF] = "deaf",
	[MODE_SILENT] = "silent",
	[MODE_STORM] = "storm",
	[MODE_ONES] = "ones",
};

/**
 * mode_parse() - Find a mode by its name.
 */
bool mode_parse(const char *name, enum mode *mode)
{
	unsigned int i;

	for (i = 0; i < MODES; i++) {
		if (!strcmp(name, names[i])) {
			*mode = i;
			return true;
		}
	}
	return false;
}

/**
 * mode_holds_line() - Whether the line stays high, however often the guest looks.
 * @guest: whose
 */
bool mode_holds_line(const struct guest *guest)
{
	return guest->mode == MODE_STUCK || guest->mode == MODE_DEAF ||
	       guest->mode == MODE_SILENT;
}

/**
 * mode_set() - From now on, misbehave like this.
 * @guest: towards whom
 * @mode:  how
 */
void mode_set(struct guest *guest, enum mode mode)
{
	guest->mode = mode;
	guest->status = mode_holds_line(guest);
	irq_update(guest);
}

/**
 * mode_tick() - Called all the time, and often while a guest has MODE_STORM.
 * @guest: towards whom
 */
void mode_tick(struct guest *guest)
{
	unsigned int i;

	if (guest->mode != MODE_STORM || guest->fd < 0)
		return;
	guest->status = 1;
	irq_update(guest);
	for (i = 0; i < model.options.vectors; i++)
		irq_message(guest, i);
}
