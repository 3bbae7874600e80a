//! Why a host refuses namespaces, and the exact cure.

use std::fs;

use nix::errno::Errno;

use crate::backend::Error;

/// Why user namespaces are refused; the text is the cure.
pub(crate) fn user_namespace(os: Errno) -> Error {
    let cure = hindrance().unwrap_or_else(|| match os {
        Errno::ENOSPC | Errno::EUSERS => {
            "The limit on user namespaces is reached; as root: sysctl user.max_user_namespaces=65536"
                .to_owned()
        }
        Errno::EACCES => {
            "A security module keeps them from this program; as root, `journalctl --dmesg --grep DENIED` \
                          names the profile or policy to change"
                .to_owned()
        }
        _ => UNKNOWN.to_owned(),
    });
    Error::UserNamespace { os: os.into(), cure }
}

/// Why the ids cannot be mapped; the text is the cure.
pub(crate) fn map_ids(os: Errno) -> Error {
    Error::MapIds { os: os.into(), cure: hindrance().unwrap_or_else(|| UNKNOWN.to_owned()) }
}

/// Why the other namespaces are refused: AppArmor lets the user namespace pass and takes what it is for.
pub(crate) fn namespaces(os: Errno) -> Error {
    let cure = hindrance().unwrap_or_else(|| match os {
        Errno::ENOSPC => {
            "A limit on namespaces is reached; compare `sysctl user` (max_net_namespaces and the like)"
                .to_owned()
        }
        _ => UNKNOWN.to_owned(),
    });
    Error::Namespaces { os: os.into(), cure }
}

/// The setting of this host that forbids user namespaces to ordinary users, as its cure.
pub(crate) fn hindrance() -> Option<String> {
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok();
    let is = |name: &str, value: &str| setting(name).is_some_and(|text| text.trim() == value);
    if is("user/max_user_namespaces", "0") {
        return Some(
            "They are switched off; as root: sysctl user.max_user_namespaces=65536 (and the same line in /etc/sysctl.d/jail.conf)"
                .to_owned(),
        );
    }
    // The rest is for ordinary users only.
    if nix::unistd::geteuid().is_root() {
        return None;
    }
    if is("kernel/unprivileged_userns_clone", "0") {
        return Some(
            "They are switched off for ordinary users; as root: sysctl kernel.unprivileged_userns_clone=1 (and the same line in /etc/sysctl.d/jail.conf)"
                .to_owned(),
        );
    }
    is("kernel/apparmor_restrict_unprivileged_userns", "1").then(apparmor_profile)
}

/// The cure where no setting explains it.
pub(crate) const UNKNOWN: &str = "`jail doctor` says what this host offers; inside a container, start it so that it may make \
                       namespaces (docker: `--security-opt seccomp=unconfined`), or run on its host";

/// A command of one line, so that it can be copied from an error message whatever stands in front of the line.
fn apparmor_profile() -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "/usr/local/bin/jail".to_owned(), |path| path.to_string_lossy().into_owned());
    let profile =
        format!("profile jail \"{program}\" flags=(unconfined) {{ userns, }}").replace('\'', r"'\''");
    format!(
        "AppArmor on this host keeps them from programs without a profile. As root: \
         printf '%s\\n' 'abi <abi/4.0>,' 'include <tunables/global>' '{profile}' >/etc/apparmor.d/jail && \
         apparmor_parser -r /etc/apparmor.d/jail"
    )
}
