//! One buffer for all datagrams: each is read and written on within one turn.

use std::cell::RefCell;

/// Size of the largest datagram that IP can carry, headers included.
pub const DATAGRAM: usize = 65_535;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; DATAGRAM]);
}

/// Lends the buffer to `work`, which must not ask for it again.
pub fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|buffer| work(buffer))
}
