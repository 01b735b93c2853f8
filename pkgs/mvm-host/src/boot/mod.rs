// TEMPORARY stand-in so that the crate compiles; replace the whole file.
//! x
pub mod accel {
    //! x
    use super::kernel::Kernel;
    use crate::{Result, realm};
    use std::path::Path;
    /// x
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Accelerator {
        Kvm,
        Tcg,
    }
    /// x
    pub struct Detected {
        pub accelerator: Accelerator,
        pub reason: String,
    }
    /// x
    pub fn detect(
        _w: realm::Accel,
        _c: &Path,
        _k: &Kernel,
        _i: &Path,
        _q: &crate::vmm::qemu::Qemu,
    ) -> Result<Detected> {
        Ok(Detected { accelerator: Accelerator::Tcg, reason: String::new() })
    }
}
pub mod kernel {
    use crate::Result;
    use std::path::*;
    pub struct Kernel {
        pub image: PathBuf,
    }
    pub fn find(_e: Option<&Path>, _c: &Path) -> Result<Kernel> {
        Ok(Kernel { image: "/".into() })
    }
}
pub mod initramfs {
    use super::kernel::Kernel;
    use crate::Result;
    use std::path::*;
    pub fn find_guest() -> Result<PathBuf> {
        Ok("/".into())
    }
    pub fn ensure(_c: &Path, _k: &Kernel, _g: &Path) -> Result<PathBuf> {
        Ok("/".into())
    }
}
pub mod tsc {
    pub struct Calibration;
    impl Calibration {
        pub fn start() -> Self {
            Self
        }
        pub fn khz(self) -> Option<u64> {
            None
        }
    }
}
