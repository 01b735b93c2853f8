//! The realm's network in namespaces that each test makes, as root and as an ordinary user, with the real kernel, `nft`
//! and `pasta`. Guests are raw frames through the tap's file: what a VMM would pass on.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod guest;
mod isolation;
mod links;
mod support;
mod uplink;
