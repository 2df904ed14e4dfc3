/* SPDX-License-Identifier: MIT */
/*
 * A filter of system calls.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdbool.h>

/**
 * enum sandbox_mode - What becomes of a call that the server does not need.
 * @SANDBOX_AUTO: as SANDBOX_DENY if there is a sandbox
 * @SANDBOX_DENY: it fails with EPERM
 * @SANDBOX_KILL: it ends the server
 * @SANDBOX_NONE: it is made
 */
enum sandbox_mode {
	SANDBOX_AUTO,
	SANDBOX_DENY,
	SANDBOX_KILL,
	SANDBOX_NONE,
};

#ifdef HAVE_SECCOMP
#define SANDBOX_POSSIBLE	true
#else
#define SANDBOX_POSSIBLE	false
#endif

int sandbox_enter(enum sandbox_mode mode);

#endif /* SANDBOX_H */
