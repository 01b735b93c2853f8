//! What every attempt to start a VM uses: kernel, initramfs, accelerator, VMM.

use crate::boot::accel::Accelerator;
use crate::boot::{accel, initramfs, kernel, tsc, vmlinux};
use crate::realm::Realm;
use crate::vmm::qemu::Qemu;
use crate::{Error, Result};
use mvm_spec::latest::Guest;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a guest may take from its launch to readiness.
const BOOT_DEADLINE_KVM: Duration = Duration::from_secs(20);
/// The same under emulation, on a host that may be busy with other guests.
const BOOT_DEADLINE_TCG: Duration = Duration::from_secs(60);
/// How long a restored guest may take until it is ready: after this it is quicker to boot one.
const RESTORE_DEADLINE_KVM: Duration = Duration::from_secs(5);
/// The same under emulation, on a host that may be busy with other guests.
const RESTORE_DEADLINE_TCG: Duration = Duration::from_secs(30);

/// What every attempt to start the VM uses.
pub struct Prepared {
    /// The VMM.
    pub qemu: Arc<Qemu>,
    /// The kernel's own image: boots everywhere.
    pub kernel: PathBuf,
    /// The image that boots quickest on the microvm platform.
    pub quick_kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The kernel's release.
    pub release: String,
    /// How the guest is run.
    pub accelerator: Accelerator,
    /// Rate of the host's time stamp counter, in kHz.
    pub tsc_khz: Option<u64>,
    /// How long the guest may take to come up.
    pub boot_deadline: Duration,
    /// The same for one that is restored.
    pub restore_deadline: Duration,
}

/// Finds what a start needs. The work is the file system's, so it has a thread.
pub async fn prepare(realm: Realm, guest: Guest) -> Result<Prepared> {
    let work = move || {
        let calibration = tsc::Calibration::start();
        let Guest::Embedded { kernel: explicit } = &guest else {
            return Err(Error::Failed(
                "a declared NixOS guest is run by systemd: `systemctl start microvm@NAME` starts it"
                    .to_owned(),
            ));
        };
        let explicit = explicit.as_deref().or(realm.config.kernel.as_deref());
        let qemu = Qemu::find_cached(&realm.cache_dir)?;
        let kernel = kernel::find(explicit, &realm.cache_dir)?;
        let init = initramfs::find_guest()?;
        let initramfs = initramfs::ensure(&realm.cache_dir, &kernel, &init)?;
        let detected = accel::detect(realm.config.accel, &realm.cache_dir, &kernel, &initramfs, &qemu)?;
        Ok(Prepared {
            quick_kernel: vmlinux::boot_image(&realm.cache_dir, &kernel, detected.accelerator, &qemu)?,
            kernel: kernel.image,
            release: kernel.release,
            initramfs,
            boot_deadline: match detected.accelerator {
                Accelerator::Kvm => BOOT_DEADLINE_KVM,
                Accelerator::Tcg => BOOT_DEADLINE_TCG,
            },
            restore_deadline: match detected.accelerator {
                Accelerator::Kvm => RESTORE_DEADLINE_KVM,
                Accelerator::Tcg => RESTORE_DEADLINE_TCG,
            },
            accelerator: detected.accelerator,
            qemu: Arc::new(qemu),
            // Last: the longer it is since the start, the less this has to wait.
            tsc_khz: calibration.khz(),
        })
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Failed(format!("the preparation of a start broke off: {error}")))?
}
