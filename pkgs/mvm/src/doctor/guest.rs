//! What guests are made of.

use super::Check;
use crate::context::Context;
use crate::units;
use mvm_host::boot;
use mvm_host::template::cache;

/// A kernel for guests, with the modules they need.
pub fn kernel(context: &Context) -> Check {
    const NAME: &str = "guest kernel";
    let realm = &context.realm;
    match boot::kernel::find(realm.config.kernel.as_deref(), &realm.cache_dir) {
        Ok(kernel) => Check::ok(NAME, kernel.image.display().to_string()),
        Err(error) => Check::fail(
            NAME,
            error.to_string(),
            "apt install linux-image-cloud-amd64, or scripts/fetch-kernel without root; MVM_KERNEL names another",
        ),
    }
}

/// The guest's init, which is also its SSH server.
pub fn init(_: &Context) -> Check {
    const NAME: &str = "mvm-guest";
    match boot::initramfs::find_guest() {
        Ok(path) => Check::ok(NAME, path.display().to_string()),
        Err(error) => Check::fail(NAME, error.to_string(), "scripts/build makes it; MVM_GUEST names another"),
    }
}

/// The templates that VMs are made from, and why some VMs are booted instead.
pub fn templates(context: &Context) -> Check {
    const NAME: &str = "warm start";
    let dir = &context.realm.cache_dir;
    if let Some(failure) = cache::failures(dir).first() {
        let advice = "VMs like that one boot, which takes longer; `mvm cache prune --all` makes the next start try again";
        return Check::warn(NAME, format!("no template could be used: {}", failure.reason), advice);
    }
    let templates = cache::list(dir);
    let bytes = templates.iter().map(|template| template.bytes).sum();
    Check::ok(
        NAME,
        match templates.len() as u64 {
            0 => "no template yet: the next start makes one".to_owned(),
            count => format!("{}, {}", units::count(count, "template"), units::bytes(bytes)),
        },
    )
}
