//! `mvm ssh-proxy`, the `ProxyCommand` of `mvm ssh-config`.

use crate::context::{Context, block_on};
use crate::declared;
use crate::exit::{Exit, Outcome};
use anyhow::Context as _;
use mvm_spec::VmName;
use rustix::fs::OFlags;
use rustix::net::Shutdown;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// What fails if the connection's socket can't be used as a file.
const TAKE_OVER: &str = "can't take the connection over";

/// Connects standard input and output to a VM's SSH server.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  ssh -o ProxyCommand='mvm ssh-proxy web' dev@web")]
pub struct Args {
    /// The VM.
    #[arg(value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    name: VmName,
}

impl Args {
    /// Passes bytes on until the VM has no more.
    pub fn run(self, context: &Context) -> Outcome {
        let stream: OwnedFd = block_on(async {
            let name = &self.name;
            let stream: OwnedFd = if declared::is_declared(context, name) {
                let access = declared::access(name).await?;
                declared::connect(name, &access).await?.into_std().context(TAKE_OVER)?.into()
            } else {
                mvm_host::client::ssh(&context.realm, name).await?.into_std().context(TAKE_OVER)?.into()
            };
            Ok(stream)
        })?;
        let blocking = OFlags::from_bits_retain(0);
        rustix::fs::fcntl_setfl(&stream, blocking).context(TAKE_OVER)?;
        // Plain file handles: no buffers of our own between ssh and the VM.
        let own = |fd: std::os::fd::BorrowedFd| fd.try_clone_to_owned().map(File::from);
        let mut stdin = own(std::io::stdin().as_fd()).context("standard input is closed")?;
        let mut stdout = own(std::io::stdout().as_fd()).context("standard output is closed")?;
        let mut reader = File::from(stream.try_clone().context(TAKE_OVER)?);
        let mut writer = File::from(stream);
        std::thread::spawn(move || {
            // An error here ends the connection, which the other direction notices.
            let _ = pass(&mut stdin, &mut writer);
            let _ = rustix::net::shutdown(&writer, Shutdown::Write);
        });
        match pass(&mut reader, &mut stdout) {
            Ok(()) => Ok(Exit::SUCCESS),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::SUCCESS),
            Err(error) => {
                Err(error).with_context(|| format!("the connection to VM `{}` broke off", self.name))
            }
        }
    }
}

/// Copies until the end of `from`.
///
/// Not `std::io::copy`, which uses splice(2) here: while that waits for a socket it holds the lock of the pipe it writes
/// to, and the pipe's reader can't get at what is in it already.
fn pass(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(buffer.get(..length).unwrap_or_default())?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
