//! The workload: what runs in the guest by itself.
//!
//! ```text
//! Supervisor    one a guest: has the workload, starts and ends what it says
//!   Life        one a process: waits for others, prepares, runs, watches, starts again
//!     start     a command of the process: its user, variables, directories
//!     group     the processes of a command, ended together
//!     ready     when a process answers
//!     pause     how long it rests before it is started again
//!   board       how all processes are, for each other and for the host
//!   output      what they print, on its way to the host
//!   order       who is ended before whom
//!   places      directories of a process
//!   dotenv      files of variables
//! ```

mod board;
mod dotenv;
mod group;
mod life;
mod order;
mod output;
mod pause;
mod places;
mod ready;
mod start;
mod supervisor;

pub use places::Places;
pub use start::Settings;
pub use supervisor::Supervisor;
