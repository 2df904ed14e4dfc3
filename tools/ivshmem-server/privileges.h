/* SPDX-License-Identifier: MIT */
/*
 * Giving up what the server does not need once it is ready.
 */
#ifndef PRIVILEGES_H
#define PRIVILEGES_H

int privileges_drop(const char *user);

#endif /* PRIVILEGES_H */
