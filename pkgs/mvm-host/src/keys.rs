//! SSH keys of a VM.

use crate::{Error, Result};
use ssh_key::{Algorithm, LineEnding, PrivateKey, getrandom::SysRng, rand_core::UnwrapErr};

/// A new key pair, in OpenSSH's text formats.
pub struct KeyPair {
    /// The private key (PEM, unencrypted).
    pub private: String,
    /// The public key, one line with the comment.
    pub public: String,
}

/// Makes an Ed25519 key pair with `comment`.
pub fn generate(comment: &str) -> Result<KeyPair> {
    let failed = |error| Error::Failed(format!("can't make an SSH key: {error}"));
    let mut key = PrivateKey::random(&mut UnwrapErr(SysRng), Algorithm::Ed25519).map_err(failed)?;
    key.set_comment(comment);
    Ok(KeyPair {
        private: key.to_openssh(LineEnding::LF).map_err(failed)?.to_string(),
        public: key.public_key().to_openssh().map_err(failed)?,
    })
}
