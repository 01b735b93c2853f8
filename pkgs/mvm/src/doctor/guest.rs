//! What guests are made of.

use super::Check;
use crate::context::Context;
use mvm_host::boot;

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
