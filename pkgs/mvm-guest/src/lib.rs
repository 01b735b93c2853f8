//! The embedded guest of microvm-dev.
//!
//! One static program with three lives: as `/init` of the initramfs it boots the guest ([`boot`]), as PID 1 it serves
//! the host's control stream and SSH ([`control`], [`ssh`]), and started by a session it is an applet ([`applets`]):
//! the SFTP server, or one end of a copy.
//!
//! Everything runs on one thread: under emulation a thread switch costs more than it gains, and one thread lets
//! [`reaper`] start and register a child without a race.

pub mod applets;
pub mod boot;
pub mod configure;
pub mod console;
pub mod control;
pub mod devices;
pub mod fd;
pub mod home;
pub mod housekeeping;
pub mod identity;
pub mod modules;
pub mod mounts;
pub mod mux;
pub mod network;
pub mod port;
pub mod power;
pub mod reaper;
pub mod seed;
pub mod serve;
pub mod software;
pub mod ssh;
pub mod template;
pub mod workload;
