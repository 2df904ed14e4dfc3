# SPDX-License-Identifier: GPL-2.0-only
# The one front door. `make help` lists what it does.

KDIR	?= /lib/modules/$(shell uname -r)/build
O	?= $(CURDIR)/build
PYTHON	?= /usr/bin/python3
JOBS	?= 2
export O

VERSION	:= $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"$$/\1/p' dkms.conf)
# It runs make itself, and nothing of this one is to reach that.
DKMS	?= dkms
CALL_DKMS = env -u MAKEFLAGS -u MAKELEVEL -u O $(DKMS)
# What it builds from.
DKMS_SRC = $(DESTDIR)/usr/src/ivshmem-$(VERSION)

# What check-matrix boots.
KERNELS	?= 5.10,5.10-cloud,5.10-rt,6.1,6.1-cloud,6.1-rt,6.12,6.12-cloud,6.12-rt,newest

# Where ours goes is not where the kernel's goes.
KBUILD	= -C $(KDIR) M=$(CURDIR) O=

PYTEST	= env -u MAKEFLAGS -u MAKELEVEL $(PYTHON) -m pytest -n $(JOBS)

all: tools modules ## Build the tools, and the module for KDIR

help: ## List the targets
	@sed -n 's/^\([a-z -]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
		awk -F'\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

modules: ## Build ivshmem.ko for the running kernel, or for KDIR=headers
	@test -e $(KDIR)/Makefile || { echo "No kernel headers in $(KDIR):" \
		"install linux-headers-$$(uname -r), or name others with KDIR=" >&2; \
		exit 1; }
	$(MAKE) $(KBUILD) modules

tools: ## Build libivshmem, ivshmemctl, ivshmem-server and the samples
	$(MAKE) -C tools

install: all ## Install module, tools and manual pages (DESTDIR=, prefix=)
	$(MAKE) $(KBUILD) INSTALL_MOD_PATH=$(DESTDIR) modules_install
	test -n "$(DESTDIR)" || \
		depmod $$(modinfo -F vermagic ivshmem.ko | cut -d' ' -f1)
	$(MAKE) -C tools install
	install -D -m 644 Documentation/man/ivshmem.4 \
		$(DESTDIR)$(or $(prefix),/usr/local)/share/man/man4/ivshmem.4

dkms-source:
	rm -rf $(DKMS_SRC)
	install -d $(DKMS_SRC)
	find Kbuild dkms.conf LICENSES driver include -type f -not -name '.*' \
		-not -name '*.o' -not -name '*.mod.c' -print0 | \
		xargs -0 cp --parents -t $(DKMS_SRC)

dkms-install: ## Have DKMS build the module, now and for each kernel to come
	test -z "$$($(CALL_DKMS) status -m ivshmem -v $(VERSION))" || \
		$(CALL_DKMS) remove -m ivshmem -v $(VERSION) --all
	$(MAKE) dkms-source
	$(CALL_DKMS) install -m ivshmem -v $(VERSION) $(DKMS_FLAGS)

dkms-uninstall: ## Take it out of DKMS and of every kernel
	$(CALL_DKMS) remove -m ivshmem -v $(VERSION) --all
	rm -rf $(DKMS_SRC)

deb rpm: ## Build packages for Debian, or for distributions that use rpm
	@env -u MAKEFLAGS -u MAKELEVEL -u O packaging/build $@ $(O)/$@

upstream-patch: ## Write patches that put the driver into the kernel in TREE=
	@packaging/upstream "$(TREE)" $(O)/upstream

html: ## Make pages to read of Documentation/, in build/html
	$(PYTHON) -m sphinx -b html $(SPHINXOPTS) Documentation $(O)/html

demo: ## Boot two VMs that ring each other (KERNEL=6.1 or 6.12)
	@tests/install-deps demo
	@$(PYTHON) tests/vm/demo.py

shell: ## The same two VMs with a shell in each, in tmux
	@tests/install-deps shell
	@$(PYTHON) tests/vm/shell.py

check: ## Run all tests (ARGS= for pytest, as ARGS="-k basic --kernels 6.1")
	@tests/install-deps check
	$(PYTEST) tests $(ARGS)

check-matrix: ## Fill the table of lanes and KERNELS= (LANES=files)
	@tests/install-deps check
	$(PYTEST) $(or $(LANES),tests) --kernels $(KERNELS) \
		--matrix Documentation/matrix.rst $(ARGS)

check-debug: ## Run the VM tests on kernels that notice mistakes (built once)
	@tests/install-deps check
	$(PYTEST) tests/vm --kernels debug,kcsan $(ARGS)

fuzz: ## Make ten million random calls on each kernel (CALLS=, SEED=)
	@tests/install-deps check
	IVSHMEM_FUZZ_CALLS=$(or $(CALLS),10000000) IVSHMEM_FUZZ_SEED=$(SEED) \
		$(PYTEST) tests/vm/test_fuzz.py -rP -o timeout=0 $(ARGS)

soak: ## Unplug the device a thousand times on each kernel (REMOVALS=)
	@tests/install-deps check
	IVSHMEM_REMOVALS=$(or $(REMOVALS),1000) \
		$(PYTEST) tests/vm/test_removal.py -rP -o timeout=0 $(ARGS)

bench: ## Compare the ways of mapping the memory: table, JSON, SVG
	@tests/install-deps demo
	@$(PYTHON) tests/bench/mapping.py $(ARGS)

bench-server: tools ## Measure the server with up to 1000 peers: table, JSON, SVG
	@$(MAKE) -s -C tests/unit $(O)/unit/crowd
	@$(PYTHON) tests/bench/server.py $(ARGS)

fuzz-server: ## Fuzz the server's options, requests, clients, SECONDS=200 each
	@tests/install-deps check
	@set -e; for what in options control clients; do \
		$(MAKE) -s -C tests/unit $(O)/unit/fuzz_$$what; \
		mkdir -p $(O)/corpus/$$what; \
		(cd $(O)/corpus/$$what && $(O)/unit/fuzz_$$what -max_len=400 \
			-max_total_time=$(or $(SECONDS),200) -close_fd_mask=3 .); \
	done

deps: ## Install the packages that the tests need
	@tests/install-deps check

clean: ## Remove everything that was built
	test ! -e $(KDIR)/Makefile || $(MAKE) $(KBUILD) clean
	rm -rf $(O)

.PHONY: all help modules tools install dkms-source dkms-install dkms-uninstall \
	deb rpm upstream-patch html demo shell check check-debug check-matrix fuzz \
	fuzz-server soak bench bench-server deps clean
