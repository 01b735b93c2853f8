//! Copying between host and guest: which paths are meant, and the tar stream that carries them.

pub mod pack;
pub mod paths;
pub mod unpack;
