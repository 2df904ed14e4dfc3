# SPDX-License-Identifier: MIT
"""Compares the ways of mapping BAR2: ours, and those that the kernel offers.

Each maps 1 GiB and reads one byte of each page, in one VM, one after another; of
five times the best counts. A second run, in which the guest's clock counts
instructions, gives numbers that do not depend on the machine. Writes a table to
the terminal, and mapping.json and mapping.svg below build/bench.
"""

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))

# pylint: disable=wrong-import-position
from lab import entries, guestmod, kernels  # noqa: E402
from lab.cluster import Cluster, Lab, guest  # noqa: E402
from lab.vm import Plain, VMError  # noqa: E402

GB = 1 << 30
MODULES = ["uio", "vfio-pci", "vfio_iommu_type1"]
PCI = "/sys/bus/pci"
RUNS = 5
ICOUNT = ("-icount", "shift=0,sleep=off")


class Bench:
    """One VM, whose device goes from driver to driver."""

    def __init__(self, lab, kernel, machine, instructions):
        options = {}
        if machine == "q35":
            # Among the devices it has to come before those that it serves.
            options = {"qemu": ["-device", "intel-iommu"]}
        if instructions:
            options["qemu"] = [*options.get("qemu", ()), *ICOUNT]
        self.lab = lab
        self.runs = 1 if instructions else RUNS
        self.cluster = Cluster(lab, kernel, [guest(
            [Plain("1G")], machine=machine, modules=MODULES, memory="768M",
            append="intel_iommu=on iommu=nopt", **options)])
        self.vm = self.cluster[0]
        self.address = self.vm.check(
            f"basename {PCI}/drivers/ivshmem/0000:*").strip()
        self.device = f"{PCI}/devices/{self.address}"
        for name in ("pagewalk", "uiophys"):
            guestmod.load(lab, self.vm, name)

    def bind(self, driver):
        """Gives the device to a driver, or to none."""
        self.vm.check(f"[ ! -e {self.device}/driver ] || "
                      f"echo {self.address} > {self.device}/driver/unbind")
        if driver:
            self.vm.check(f"echo {driver} > {self.device}/driver_override")
            self.vm.check(f"echo {self.address} > {PCI}/drivers_probe")

    def run(self, *args):
        """The best of some runs, or one where nothing differs between them."""
        command = "/tests/map_bench " + " ".join(map(str, args))
        return min((json.loads(self.vm.check(command, timeout=300))
                    for _ in range(self.runs)), key=spent)

    def measure(self):
        """All ways; yields a name and what came out."""
        def file(path, offset=0):
            return self.run("file", path, offset, GB)

        # The host's memory is there before the first one is measured.
        file("/dev/ivshmem0")
        yield "ivshmem: /dev/ivshmem0", file("/dev/ivshmem0")
        yield "ivshmem: /dev/uio0", file("/dev/uio0", 4096)
        if entries.can_be_huge(self.vm.kernel):
            other = int(not entries.mbind_is_safe(self.vm.kernel))
            entries.with_huge(self.vm, other)
            yield f"ivshmem, huge={other}", file("/dev/ivshmem0")
        self.bind("uiophys")
        yield "a fault for each page", file("/dev/faultphys")
        yield "UIO_MEM_PHYS", file("/dev/uio0")
        if self.vm.run(f"[ -e {self.device}/iommu_group ]").rc == 0:
            self.vm.check("modprobe vfio_iommu_type1; modprobe vfio-pci")
            self.bind("vfio-pci")
            yield "vfio-pci", self.run("vfio", self.address, GB)
        self.bind(None)
        yield "sysfs resource2", file(f"{self.device}/resource2")
        yield "sysfs resource2_wc", file(f"{self.device}/resource2_wc")

    def close(self):
        self.cluster.stop()


def measure(lab, kernel, machine):
    """The table's rows: name, results of the timed run and of the counted."""
    rows = {}
    for instructions in (False, True):
        bench = Bench(lab, kernel, machine, instructions)
        for name, result in bench.measure():
            if not instructions:
                rows[name] = result
            else:
                rows[name]["instructions"] = spent(result)
        bench.close()
    return rows


def entry_text(size):
    return {4096: "4 KiB", 2 << 20: "2 MiB", GB: "1 GiB"}.get(size, str(size))


def table(rows):
    lines = [f"{'':24}{'cache':>6}{'entry':>8}{'map ms':>10}{'touch ms':>10}"
             f"{'again ms':>10}{'faults':>9}{'Minstr':>9}"]
    for name, r in rows.items():
        lines.append(f"{name:24}{r['cache']:>6}{entry_text(r['entry']):>8}"
                     f"{r['map_ns'] / 1e6:>10.2f}{r['touch_ns'] / 1e6:>10.1f}"
                     f"{r['again_ns'] / 1e6:>10.1f}{r['faults']:>9}"
                     f"{r['instructions'] / 1e6:>9.1f}")
    ours, slow = (rows[n] for n in ("ivshmem: /dev/ivshmem0",
                                    "a fault for each page"))
    lines.append(
        f"against a fault for each page: {slow['faults'] / ours['faults']:.0f} "
        f"times fewer faults, {spent(slow) / spent(ours):.1f} times faster "
        f"({extra(slow) / extra(ours):.1f} times without what touching takes "
        f"again), {slow['instructions'] / ours['instructions']:.1f} times fewer "
        "instructions")
    return "\n".join(lines)


def complaints(rows):
    """What is not as it should be, of all that does not depend on time."""
    slow = rows["a fault for each page"]
    for name, r in rows.items():
        if name.startswith("ivshmem"):
            if r["cache"] != "WB":
                yield f"{name}: {r['cache']}, not WB"
            if r["faults"] * 500 > slow["faults"]:
                yield f"{name}: {r['faults']} faults, of {slow['faults']}"
            if r["instructions"] * 15 > slow["instructions"]:
                yield (f"{name}: {r['instructions']} instructions, of "
                       f"{slow['instructions']}")
        elif r["cache"] == "WB":
            yield f"{name}: WB, which the driver is for"


def spent(result):
    return result["map_ns"] + result["touch_ns"]


def extra(result):
    """What mapping takes beyond the touch of what is mapped already, which an
    emulated processor's TLB makes slow."""
    return max(spent(result) - result["again_ns"], 1)


def svg(results):
    """Bars of guest instructions, on a logarithmic scale; one block a VM."""
    low, high, width, left, step = 5.5, 9.5, 460, 190, 22
    colours = {"WB": ("#2a7", "write-back"), "WC": ("#e90", "write-combining")}
    uncached = ("#c33", "uncached")
    out, y = [], 36

    def place(count):
        share = (math.log10(count) - low) / (high - low)
        return left + max(0, min(1, share)) * width

    for n, (colour, text) in enumerate([*colours.values(), uncached]):
        x = left + 150 * n
        out.append(f'<rect x="{x}" y="{y}" width="12" height="12" '
                   f'fill="{colour}"/><text x="{x + 18}" y="{y + 11}">{text}'
                   '</text>')
    y += 46
    for title, rows in results.items():
        out.append(f'<text x="10" y="{y}" font-weight="bold">{title}</text>')
        y += 12
        end = y + step * len(rows)
        for name, r in rows.items():
            bar = place(r["instructions"])
            out.append(
                f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{name}'
                f'</text><rect x="{left}" y="{y + 2}" '
                f'width="{bar - left:.0f}" height="16" '
                f'fill="{colours.get(r["cache"], uncached)[0]}"/>'
                f'<text x="{bar + 6:.0f}" y="{y + 14}">'
                f'{r["instructions"] / 1e6:.0f} M, {r["faults"]} faults, '
                f'{r["cache"]}, {entry_text(r["entry"])}</text>')
            y += step
        for millions in (1, 10, 100, 1000):
            x = place(millions * 1e6)
            out.append(f'<path d="M{x:.0f} {end}v5" stroke="#888"/>'
                       f'<text x="{x:.0f}" y="{end + 17}" fill="#666" '
                       f'font-size="10" text-anchor="middle">{millions} M'
                       '</text>')
        y += 48
    head = ('<svg xmlns="http://www.w3.org/2000/svg" '
            f'width="{left + width + 260}" height="{y - 20}" '
            'font-family="sans-serif" font-size="12">'
            '<rect width="100%" height="100%" fill="white"/>'
            '<text x="10" y="20" font-size="15">Guest instructions to map and '
            'read every page of 1 GiB (logarithmic)</text>')
    return head + "\n".join(out) + "</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", default="6.1,6.12,newest")
    parser.add_argument("--machines", default="q35,pc")
    args = parser.parse_args()
    lab, results, wrong = Lab(), {}, []
    try:
        for name in args.kernels.split(","):
            for machine in args.machines.split(","):
                kernel = kernels.get(name)
                place = ("above 4 GiB" if machine == "q35"
                         else "in the 32-bit hole")
                title = f"{kernel.release}, BAR2 {place} ({machine})"
                rows = results[title] = measure(lab, kernel, machine)
                print(f"{title}\n{table(rows)}\n", flush=True)
                wrong += [f"{title}: {text}" for text in complaints(rows)]
    except (VMError, kernels.Unavailable) as err:
        sys.exit(str(err))
    finally:
        lab.destroy()
    out = lab.builder.out / "bench"
    out.mkdir(exist_ok=True)
    (out / "mapping.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "mapping.svg").write_text(svg(results))
    print(f"{out}/mapping.json\n{out}/mapping.svg")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
