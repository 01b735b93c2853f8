// TEMPORARY stand-in so that the crate compiles; replace the whole file.
//! x
use crate::Result;
use std::ffi::OsString;
use std::path::PathBuf;
pub struct Share {
    pub tag: String,
    pub fd: i32,
}
pub struct Tap {
    pub fd: i32,
    pub mac: mvm_spec::net::MacAddr,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Platform {
    Microvm,
    Q35,
}
pub struct Machine {
    pub name: String,
    pub vcpu: u32,
    pub mem_mib: u64,
    pub accelerator: crate::boot::accel::Accelerator,
    pub platform: Platform,
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub tsc_khz: Option<u64>,
    pub extra_cmdline: Vec<String>,
    pub shares: Vec<Share>,
    pub tap: Option<Tap>,
    pub home: Option<i32>,
    pub mux: i32,
    pub qmp: Option<i32>,
}
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}
pub trait Vmm {
    fn launch(&self, m: &Machine) -> Result<Launch>;
}
pub mod qemu {
    use super::*;
    pub struct Qemu;
    impl Qemu {
        pub fn find() -> Result<Self> {
            Ok(Self)
        }
    }
    impl Vmm for Qemu {
        fn launch(&self, _m: &Machine) -> Result<Launch> {
            Ok(Launch { program: "/".into(), args: vec![] })
        }
    }
}
