//! The proxy as a process of its own, between a "host" and a "guest" network namespace that each test makes: as root and
//! as an ordinary user.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod control;
mod dns;
mod limits;
mod rig;
#[path = "../net_namespaces/support.rs"]
#[expect(clippy::expect_used, dead_code, reason = "shared with tests that need more of it")]
mod support;
mod tcp;
mod udp;

/// Not a test: what the tests start. The library has no program of its own to run `mvm internal proxy` with.
#[test]
#[ignore = "the process that the other tests start"]
fn process() {
    let config = std::env::var(rig::CONFIG).unwrap();
    let code = mvm_host::internal::main(["proxy".into(), config.into()]);
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}
