//! Devices that are added to a machine while it runs.

use anyhow::Context;

/// Looking for new devices on every PCI bus (Linux, Documentation/ABI/testing/sysfs-bus-pci).
const RESCAN: &str = "/sys/bus/pci/rescan";

/// Finds the devices that the host has added, and returns when their drivers have them. Not left to the kernel's own
/// hot-plug: its ACPI way takes an emulated guest a third of a second, most of it for the routing of interrupts that
/// these devices don't use, and its PCI Express way waits for links and buttons.
pub fn rescan() -> anyhow::Result<()> {
    std::fs::write(RESCAN, "1").with_context(|| format!("can't look for devices by {RESCAN}"))
}
