//! SSH keys of a VM.

use crate::{Error, Result};
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey, getrandom::SysRng, rand_core::UnwrapErr};
use std::path::Path;

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

/// The private key in the file at `path`, as a guest is given it ([`mvm_spec::control::GuestSsh::host_key`]).
pub fn private_for_guest(path: &Path) -> Result<String> {
    let key = PrivateKey::from_openssh(read(path)?).map_err(unusable(path))?;
    if key.is_encrypted() {
        return Err(unusable(path)(ssh_key::Error::Encrypted));
    }
    Ok(hex::encode(key.to_bytes().map_err(unusable(path))?))
}

/// The public key in the file at `path`, as a guest is given it ([`mvm_spec::control::GuestSsh::authorized_keys`]).
pub fn public_for_guest(path: &Path) -> Result<String> {
    let key = PublicKey::from_openssh(&read(path)?).map_err(unusable(path))?;
    Ok(hex::encode(key.to_bytes().map_err(unusable(path))?))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::io("read", path))
}

fn unusable(path: &Path) -> impl Fn(ssh_key::Error) -> Error {
    move |error| {
        Error::Failed(format!(
            "the SSH key {} can't be used: {error}; bring the file back, or delete the VM and make it anew",
            path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_given_the_key_that_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = (dir.path().join("key"), dir.path().join("key.pub"));
        let pair = generate("of a test").unwrap();
        std::fs::write(&private, &pair.private).unwrap();
        std::fs::write(&public, &pair.public).unwrap();
        let given =
            PrivateKey::from_bytes(&hex::decode(private_for_guest(&private).unwrap()).unwrap()).unwrap();
        let given_public = hex::decode(public_for_guest(&public).unwrap()).unwrap();
        assert_eq!(given.public_key().to_bytes().unwrap(), given_public);
        assert_eq!(given.public_key().to_openssh().unwrap(), pair.public);
    }

    #[test]
    fn a_damaged_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host_key");
        assert!(private_for_guest(&path).unwrap_err().to_string().contains("host_key"));
        let whole = generate("x").unwrap().private;
        for damaged in ["", "nonsense", &whole[..whole.len() / 2]] {
            std::fs::write(&path, damaged).unwrap();
            let error = private_for_guest(&path).unwrap_err().to_string();
            assert!(error.contains("host_key") && error.contains("anew"), "{error}");
            assert!(public_for_guest(&path).unwrap_err().to_string().contains("host_key"));
        }
    }
}
