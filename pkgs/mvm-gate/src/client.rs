//! Asks at the gate.

use crate::protocol::{Answer, Call};
use mvm_host::client::{read_frame, write_frame};
use mvm_host::{Error, Result};
use std::io::ErrorKind;
use std::path::Path;
use tokio::net::UnixStream;

/// The gate's answer at `socket`; what it refuses is an error with its words.
pub async fn ask(socket: &Path, call: &Call) -> Result<Answer> {
    Ok(open(socket, call).await?.0)
}

/// As [`ask`], with the stream, on which text follows some answers.
pub async fn open(socket: &Path, call: &Call) -> Result<(Answer, UnixStream)> {
    let mut stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Error::Failed(format!(
            "only members of the group `{group}` may use VM `{}`, which this host declares; somebody with root can add you: \
             `services.microvm-dev.users`, or `usermod -aG {group} NAME`, then log in again",
            call.vm(),
            group = crate::GROUP,
        )),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::Failed(format!(
            "nothing listens at {}; `systemctl start microvm-dev-gate.socket` mends that",
            socket.display()
        )),
        _ => Error::io("connect to", socket)(error),
    })?;
    let asked = async {
        write_frame(&mut stream, call).await?;
        read_frame(&mut stream).await
    };
    match asked.await.map_err(Error::system("talk to the gate"))? {
        Some(Answer::Refused { message }) => Err(Error::Failed(message)),
        Some(answer) => Ok((answer, stream)),
        None => Err(Error::Failed(
            "the gate broke off; its log says why: journalctl -u microvm-dev-gate".to_owned(),
        )),
    }
}
