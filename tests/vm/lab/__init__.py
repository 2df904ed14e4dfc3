# SPDX-License-Identifier: MIT
"""The VM lab: kernels, guest images, virtual machines and servers for tests.

kernels  brings distribution kernels and their headers into a cache
arch     processors, and what QEMU and compilers call them
cross    brings what VMs with other processors need
build    builds the module, the tools, the guest programs and the initramfs
system   a whole Debian system, and the project's packages in it
vm       one virtual machine: QEMU, its QMP socket, agent and kernel log
server   a running ivshmem-server
model    a running ivshmem-device, the forms of the device that QEMU has not
qemu11   brings the QEMU that takes a device from a process
cluster  servers and VMs that belong together
tap      reads the output of guest programs
"""
