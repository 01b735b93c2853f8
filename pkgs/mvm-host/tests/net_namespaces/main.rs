//! The realm's network in namespaces that each test makes, as root and as an ordinary user, with the real kernel, `nft`
//! and `pasta`. Guests are raw frames through the tap's file: what a VMM would pass on.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod dns;
mod foreign;
mod guest;
mod isolation;
mod lan;
mod links;
mod peers;
mod policy;
mod support;
mod uplink;
