//! What the host can give.

use anyhow::{Context as _, bail};
use mvm_spec::latest::Resources;

/// The host's size.
#[derive(Clone, Copy, Debug)]
pub struct HostLimits {
    /// Processors online.
    pub cpus: u32,
    /// Memory, in MiB.
    pub mem_mib: u64,
}

impl HostLimits {
    /// Asks the host.
    pub fn read() -> anyhow::Result<Self> {
        let meminfo = std::fs::read_to_string("/proc/meminfo").context("can't read /proc/meminfo")?;
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            mem_mib: mem_total(&meminfo).context("/proc/meminfo has no MemTotal")?,
        })
    }

    /// Refuses what this host can't give, or only by standing still.
    pub fn check(&self, resources: &Resources) -> anyhow::Result<()> {
        let Resources { vcpu, mem_mib } = *resources;
        if mem_mib > self.mem_mib {
            bail!("--mem {mem_mib}: this host has {} MiB of memory; give the VM less", self.mem_mib);
        }
        let most = self.cpus.saturating_mul(4).max(8);
        if vcpu > most {
            bail!(
                "--vcpu {vcpu}: this host has {}; at most {most} virtual CPUs make sense",
                crate::units::count(u64::from(self.cpus), "processor")
            );
        }
        Ok(())
    }
}

/// MemTotal of proc_meminfo(5), in MiB.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_host_has_is_refused() {
        let host = HostLimits { cpus: 2, mem_mib: 4096 };
        assert!(host.check(&Resources { vcpu: 8, mem_mib: 4096 }).is_ok());
        assert!(host.check(&Resources { vcpu: 9, mem_mib: 512 }).is_err());
        let error = host.check(&Resources { vcpu: 1, mem_mib: 4097 }).unwrap_err().to_string();
        assert!(error.contains("4096 MiB"), "{error}");
    }

    #[test]
    fn memory_is_read_in_mib() {
        assert_eq!(mem_total("MemFree: 1 kB\nMemTotal:       24659364 kB\n"), Some(24081));
        assert_eq!(mem_total("MemFree: 1 kB\n"), None);
        assert!(HostLimits::read().unwrap().mem_mib > 0);
    }
}
