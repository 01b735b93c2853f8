//! The verbs: one file each, with its `Args` (whose comments are the help) and its `run`.

pub mod cache;
pub mod completions;
pub mod cp;
pub mod create;
pub mod delete;
pub mod doctor;
pub mod envrc;
pub mod exec;
pub mod list;
pub mod logs;
pub mod man;
pub mod port;
pub mod project;
pub mod restart;
pub mod run;
pub mod shell;
pub mod shell_init;
pub mod ssh_config;
pub mod ssh_proxy;
pub mod start;
pub mod status;
pub mod stop;
pub mod workload;
