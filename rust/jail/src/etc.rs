//! The `/etc` of a jail: what programs look up about themselves and the network, nothing of the host's.

use std::path::{Path, PathBuf};

use sandbox::plan::{Access, Entry};

/// The files of `/etc`; the job is `uid`, which is never root's.
pub(crate) fn entries(uid: u32, gid: u32, user_name: &str, home: &str, hostname: &str) -> Vec<Entry> {
    let passwd = format!(
        "root:x:0:0:root:/nonexistent:/bin/false\n\
         {user_name}:x:{uid}:{gid}:{user_name}:{home}:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    );
    let group = format!("root:x:0:\n{user_name}:x:{gid}:\nnogroup:x:65534:\n");
    let hosts = format!("127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost ip6-loopback\n");
    vec![
        file("/etc/passwd", passwd),
        file("/etc/group", group),
        file("/etc/hosts", hosts),
        file("/etc/hostname", format!("{hostname}\n")),
        file("/etc/host.conf", "multi on\n".to_owned()),
        file("/etc/resolv.conf", RESOLV.to_owned()),
        file("/etc/nsswitch.conf", NSSWITCH.to_owned()),
        file("/etc/services", SERVICES.to_owned()),
        file("/etc/protocols", PROTOCOLS.to_owned()),
        file("/etc/shells", "/bin/sh\n/bin/bash\n/usr/bin/bash\n".to_owned()),
        file("/etc/os-release", OS_RELEASE.to_owned()),
    ]
}

/// The host's time zone, with the data of all. On macOS every jail reads the system's own.
pub(crate) fn time_zone() -> Vec<Entry> {
    if cfg!(target_os = "macos") { Vec::new() } else { zone_at(Path::new("/etc/localtime")) }
}

/// The job's own responder. One try with a short wait: it answers at once or the job has no network at all.
const RESOLV: &str = "nameserver 127.0.0.1\noptions timeout:2 attempts:1 edns0\n";

/// Files and our responder only: no daemon's socket, no bus, no network directory.
const NSSWITCH: &str = "\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
";

const SERVICES: &str = "\
ssh 22/tcp
domain 53/tcp
domain 53/udp
http 80/tcp
https 443/tcp
https 443/udp
git 9418/tcp
";

const PROTOCOLS: &str = "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n";

const OS_RELEASE: &str = "NAME=\"nix-jail\"\nID=nix-jail\nPRETTY_NAME=\"nix-jail\"\n";

fn file(target: &str, contents: String) -> Entry {
    Entry::File { target: PathBuf::from(target), contents: contents.into_bytes(), mode: 0o444 }
}

/// The host's zone: the link keeps its name, which is what most programs read.
fn zone_at(link: &Path) -> Vec<Entry> {
    let Ok(zone) = link.canonicalize() else { return Vec::new() };
    let Some(database) = zone.ancestors().find(|path| path.ends_with("zoneinfo")) else { return Vec::new() };
    // In the usual place, whatever the host's is: programs have it built in.
    let usual = Path::new("/usr/share/zoneinfo");
    let Ok(name) = zone.strip_prefix(database) else { return Vec::new() };
    vec![
        Entry::Bind { source: database.to_owned(), target: usual.to_owned(), access: Access::ReadOnly },
        Entry::Symlink { target: PathBuf::from("/etc/localtime"), to: usual.join(name) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(entries: &[Entry], path: &str) -> String {
        let contents = entries.iter().find_map(|entry| match entry {
            Entry::File { target, contents, .. } if target == Path::new(path) => Some(contents.clone()),
            _ => None,
        });
        String::from_utf8(contents.unwrap_or_else(|| panic!("there is no {path}"))).unwrap()
    }

    #[test]
    fn the_job_finds_itself_and_its_resolver() {
        let entries = entries(1234, 100, "me", "/home/me", "box");
        assert!(text(&entries, "/etc/passwd").contains("me:x:1234:100:me:/home/me:/bin/sh\n"));
        assert!(text(&entries, "/etc/group").contains("me:x:100:\n"));
        assert!(text(&entries, "/etc/hosts").starts_with("127.0.0.1 localhost box\n"));
        let resolv = text(&entries, "/etc/resolv.conf");
        let servers: Vec<&str> = resolv.lines().filter(|line| line.starts_with("nameserver")).collect();
        assert_eq!(servers, ["nameserver 127.0.0.1"]);
    }

    #[test]
    fn the_zone_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("share/zoneinfo");
        std::fs::create_dir_all(database.join("Europe")).unwrap();
        std::fs::write(database.join("Europe/Berlin"), "TZif").unwrap();
        let link = folder.path().join("localtime");
        std::os::unix::fs::symlink(database.join("Europe/Berlin"), &link).unwrap();
        let entries = zone_at(&link);
        let to = PathBuf::from("/usr/share/zoneinfo/Europe/Berlin");
        assert_eq!(entries[1], Entry::Symlink { target: PathBuf::from("/etc/localtime"), to });
        assert_eq!(zone_at(&folder.path().join("none")), []);
    }
}
