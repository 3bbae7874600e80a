//! The macOS backend: Apple's sandbox, by a profile made for the one job.
//!
//! There are no namespaces: a job is a process of the user's whose every file, service and address is asked about in
//! a profile that denies what it does not name. What follows from that is in three rooms that are the same on every
//! platform, and tested on every one: [`layout`] finds each piece of the plan a place among the host's files,
//! [`profile`] writes down what the job may do, `watchdog` judges what it uses up. Only what speaks to the system is
//! macOS's own.

pub mod layout;
pub mod profile;
mod sbpl;
mod system;

#[cfg(target_os = "macos")]
mod doctor;
#[cfg(any(target_os = "macos", test))]
mod jail;
#[cfg(all(test, target_os = "linux"))]
mod on_the_host;
#[cfg(any(target_os = "macos", test))]
mod private;
#[cfg(any(target_os = "macos", test))]
mod run;
#[cfg(any(target_os = "macos", test))]
mod start;
#[cfg(any(target_os = "macos", test))]
pub(crate) mod watchdog;

#[cfg(target_os = "macos")]
pub use doctor::diagnose;
#[cfg(any(target_os = "macos", test))]
pub use jail::Seatbelt;

/// Why Apple's program may refuse, and the way around it.
pub(crate) const FORBIDDEN: &str = "a device management profile may forbid sandbox-exec, and inside of another sandbox \
                                    (a terminal of an app from the App Store, another jail) it cannot make one: start the \
                                    jail outside of it, ask whoever manages this Mac, or run the job on Linux";
