# SPDX-License-Identifier: MIT
# What every userspace Makefile of the project shares. TOP is the project's
# root; everything that is built goes below $(O).

O	?= $(TOP)/build
VERSION	:= $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"$$/\1/p' $(TOP)/dkms.conf)

CC	?= gcc
AR	?= ar
CFLAGS	?= -O2 -g
WARN	= -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes \
	  -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wundef
CPPFLAGS += -D_GNU_SOURCE -DIVSHMEM_VERSION='"$(VERSION)"' \
	  -I$(TOP)/include/uapi -MMD -MP
ALL_CFLAGS = -std=gnu11 $(WARN) $(CPPFLAGS) $(CFLAGS)

prefix	?= /usr/local
bindir	?= $(prefix)/bin
sbindir	?= $(prefix)/sbin
libdir	?= $(prefix)/lib
includedir ?= $(prefix)/include
completionsdir ?= $(prefix)/share/bash-completion/completions
mandir	?= $(prefix)/share/man
INSTALL	?= install
