//! The files by which an instance knows a VM.
//!
//! dnsmasq 2.90 follows `hosts/` by inotify(7), removals included. Of `dhcp/` it follows new files only: what a removed
//! or changed one said before stays until a SIGHUP.

use super::layout::{Change, Layout};
use super::{DOMAIN, VmHost};
use crate::{Error, Result};
use mvm_spec::VmName;

/// Writes the files of a VM. Says whether dnsmasq has to be told by SIGHUP.
pub fn add(layout: &Layout, host: &VmHost) -> Result<bool> {
    let VmHost { name, mac, address } = host;
    // In this order: who can resolve the name can count on DHCP as well.
    let dhcp = layout.put(&layout.dhcp().join(name.as_str()), &format!("{mac},{address}\n"))?;
    // The full name first: it is the one that the address leads back to.
    layout.put(&layout.hosts().join(name.as_str()), &format!("{address} {name}.{DOMAIN} {name}\n"))?;
    Ok(dhcp == Change::Changed)
}

/// Removes the files of a VM; none there is success. dnsmasq has to be told by SIGHUP.
pub fn remove(layout: &Layout, name: &VmName) -> Result<()> {
    let dhcp = layout.take(&layout.dhcp().join(name.as_str()));
    let hosts = layout.take(&layout.hosts().join(name.as_str()));
    dhcp.and(hosts).map(drop)
}

/// The VMs that there are files of, in order.
pub fn list(layout: &Layout) -> Result<Vec<VmName>> {
    let dir = layout.hosts();
    let failed = |error| Error::io("read", &dir)(error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().and_then(|name| VmName::new(name).ok()));
    }
    names.sort();
    Ok(names)
}

/// The address and MAC address, as DHCP's file of the VM has them.
pub fn dhcp_entry(layout: &Layout, name: &VmName) -> Option<(String, String)> {
    let text = std::fs::read_to_string(layout.dhcp().join(name.as_str())).ok()?;
    let (mac, address) = text.trim_end().split_once(',')?;
    Some((mac.to_owned(), address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_is_two_files() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.create().unwrap();
        let name = VmName::new("shop").unwrap();
        let mut host = VmHost {
            name: name.clone(),
            mac: "02:00:00:00:00:0a".parse().unwrap(),
            address: [192, 168, 100, 10].into(),
        };
        assert!(!add(&layout, &host).unwrap());
        let read = |file: &str| std::fs::read_to_string(dir.path().join("conf").join(file)).unwrap();
        assert_eq!(read("hosts/shop"), "192.168.100.10 shop.mvm shop\n");
        assert_eq!(read("dhcp/shop"), "02:00:00:00:00:0a,192.168.100.10\n");
        assert!(!add(&layout, &host).unwrap(), "already so");
        host.address = [192, 168, 100, 11].into();
        assert!(add(&layout, &host).unwrap(), "DHCP's old entry has to be forgotten");
        let entry = dhcp_entry(&layout, &name);
        assert_eq!(entry, Some(("02:00:00:00:00:0a".to_owned(), "192.168.100.11".to_owned())));
        assert_eq!(list(&layout).unwrap(), std::slice::from_ref(&name));
        remove(&layout, &name).unwrap();
        remove(&layout, &name).unwrap();
        assert_eq!(list(&layout).unwrap(), []);
    }
}
