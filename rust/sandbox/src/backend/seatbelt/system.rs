//! What of macOS itself every job may use: the least that a program needs to start and to run, each with its reason.
//!
//! Whatever is missing here is denied. Left out on purpose: `com.apple.SecurityServer`, `com.apple.securityd` and
//! `com.apple.secd` (the Keychain), `com.apple.trustd` (it fetches URLs that a certificate names, on the job's behalf
//! and past its proxy), `com.apple.dnssd.service` (DNS), `com.apple.pasteboard.1`, launch services and Apple events
//! (they start programs outside of the sandbox), `com.apple.cfprefsd` (other programs' settings), the window server.

/// Services of other processes.
pub(super) const SERVICES: &[(&str, &str)] = &[
    ("com.apple.system.opendirectoryd.libinfo", "getpwuid(3): who am I"),
    ("com.apple.system.notification_center", "notify(3): the C library watches the time zone by it"),
    (
        "com.apple.SystemConfiguration.configd",
        "the state of the network, to read: HTTP libraries of Rust and Swift end the program without it",
    ),
];

/// The kernel's values. Not `kern.procargs2`: it shows the environment of every process of this user.
pub(super) const KERNEL_VALUES: &[&str] = &[
    "kern.argmax",
    "kern.boottime",
    "kern.hostname",
    "kern.iossupportversion",
    "kern.maxfilesperproc",
    "kern.maxproc",
    "kern.ngroups",
    "kern.osproductversion",
    "kern.osproductversioncompat",
    "kern.osrelease",
    "kern.ostype",
    "kern.osvariant_status",
    "kern.osversion",
    "kern.secure_kernel",
    "kern.tcsm_available",
    "kern.tcsm_enable",
    "kern.usrstack64",
    "kern.version",
    "kern.willshutdown",
    "security.mac.lockdown_mode_state",
    "sysctl.proc_cputype",
    "sysctl.proc_native",
    "sysctl.proc_translated",
    "vm.loadavg",
    "vm.pagesize",
];

/// What the hardware is.
pub(super) const KERNEL_VALUE_PREFIXES: &[&str] = &["hw.", "machdep.cpu."];

/// Directories of the sealed system volume and the like: the same on every Mac of a version, nobody's data.
pub(super) const LIBRARIES: &[(&str, &str)] = &[
    ("/System/Cryptexes/OS", "the shared cache of libraries"),
    ("/System/Library/Apple/usr/libexec/oah", "Rosetta, for programs of the other architecture"),
    ("/System/Library/CoreServices/SystemVersion.bundle", "the system's version"),
    ("/System/Library/Frameworks", "libraries that are not in the cache, and their data"),
    ("/System/Library/PrivateFrameworks", "the same"),
    ("/System/Library/dyld", "the shared cache of libraries, where older versions have it"),
    ("/System/Volumes/Preboot/Cryptexes/OS", "the shared cache of libraries, by its other name"),
    ("/Library/Apple/usr/libexec/oah", "Rosetta"),
    ("/usr/lib", "the loader, libSystem, and what Apple's own programs load"),
];

/// Directories to read.
pub(super) const DATA: &[(&str, &str)] = &[
    ("/private/var/db/timezone", "time zones"),
    ("/usr/share/icu", "tables of characters"),
    ("/usr/share/locale", "languages"),
    ("/usr/share/terminfo", "terminals"),
    ("/usr/share/zoneinfo", "time zones"),
];

/// Single files and directories to read; of a directory its list of names.
pub(super) const FILES: &[(&str, &str)] = &[
    ("/", "the loader looks at the root; the names in it are those of every Mac"),
    ("/System/Library/CoreServices/SystemVersion.plist", "the system's version"),
    ("/System/Library/CoreServices/SystemVersionCompat.plist", "the system's version"),
    ("/private/etc/localtime", "the time zone"),
    ("/private/var/select/sh", "which shell /bin/sh is"),
];

/// Names on the way to what may be read, of which a program may learn that they exist.
pub(super) const WAYS: &[&str] = &[
    "/System",
    "/System/Library",
    "/System/Volumes",
    "/System/Volumes/Preboot",
    "/bin",
    "/dev",
    "/etc",
    "/private",
    "/private/etc",
    "/private/tmp",
    "/private/var",
    "/private/var/db",
    "/private/var/select",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/share",
    "/var",
];

/// Devices that hold nothing, to read and write.
pub(super) const DEVICES: &[&str] = &[
    "/dev/dtracehelper",
    "/dev/null",
    "/dev/random",
    "/dev/stderr",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

/// Programs that scripts and system(3) name by their paths: the system's own stand in for the jail's.
pub(super) const SHELL: &[&str] = &["/bin/sh", "/bin/bash", "/bin/dash"];
/// The same for `env`.
pub(super) const ENV: &[&str] = &["/usr/bin/env"];
