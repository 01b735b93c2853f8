//! Effects of microvm-dev on the host.
//!
//! Where things are: [`realm`] says which directories a realm uses, [`store`] owns the files of VMs, [`keeper`] holds
//! the realm's namespaces and running VMs, [`client`] talks to it. Each effect on the outside world stands behind one
//! module; what is planned (arguments, rules, file trees) is a value that tests compare, and applying it is dull.

pub mod boot;
pub mod client;
pub mod declared;
pub mod dnsmasq_process;
pub mod error;
pub mod fault;
pub mod fileserver;
pub mod internal;
pub mod keeper;
pub mod keys;
pub mod memory_use;
pub mod net;
pub mod outdated;
pub mod overlay;
pub mod ports;
pub mod realm;
pub mod sandbox;
pub mod store;
pub mod template;
pub mod vmm;
pub mod vmm_process;

pub use error::{Error, Result};
