use std::fs;

use crate::support::{Jail, ORDINARY, User, users};

#[test]
fn no_namespace_is_the_hosts() {
    for user in users() {
        for namespace in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            let host = fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap();
            let inside =
                Jail::of(user).run(["readlink", &format!("/proc/self/ns/{namespace}")]).exits(0).stdout();
            assert!(inside.starts_with(&format!("{namespace}:[")), "{inside}");
            assert_ne!(inside, host.to_str().unwrap(), "{user:?}");
        }
    }
}

#[test]
fn an_ordinary_users_job_keeps_its_ids_and_roots_job_is_never_root() {
    for user in users() {
        let id = match user {
            User::Root => 1000,
            User::Ordinary if nix::unistd::geteuid().is_root() => ORDINARY,
            User::Ordinary => nix::unistd::getuid().as_raw(),
        };
        let ran = Jail::of(user).sh("id -u; cat /proc/self/uid_map").exits(0).stdout();
        let words: Vec<&str> = ran.split_whitespace().collect();
        assert_eq!(words[..2], [id.to_string(), id.to_string()], "{user:?}");
        assert_ne!(words[2], "0", "{user:?}: the job's kernel uid");
        assert_eq!(words[3], "1", "{user:?}: one id is mapped");
    }
}

#[test]
fn the_job_has_no_capability_in_any_set_and_cannot_gain_one() {
    for user in users() {
        let ran = Jail::of(user).run(["grep", "-E", "^(Cap|NoNewPrivs|Seccomp:)", "/proc/self/status"]);
        for line in ran.exits(0).stdout().lines() {
            let (name, value) = line.split_once(':').unwrap();
            let expected = match name {
                "NoNewPrivs" => "1",
                "Seccomp" => "2",
                _ => "0000000000000000",
            };
            assert_eq!(value.trim(), expected, "{user:?}: {name}");
        }
    }
}

#[test]
fn the_hosts_levers_in_proc_are_out_of_reach() {
    for user in users() {
        let script = "
import os
def tried(path, flags):
    try: os.close(os.open(path, flags)); return 'opened'
    except OSError as error: return type(error).__name__
print(tried('/proc/self/comm', os.O_WRONLY))
for path in ['/proc/sys/kernel/hostname', '/proc/sys/net/ipv4/ip_forward', '/proc/sys/kernel/core_pattern']:
    assert tried(path, os.O_WRONLY) != 'opened', path
for path in ['/proc/sysrq-trigger', '/proc/irq/default_smp_affinity']:
    assert not os.path.exists(path) or tried(path, os.O_WRONLY) != 'opened', path
for path in ['/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/kallsyms']:
    if os.path.exists(path):
        assert open(path, 'rb').read(1) == b'', path
";
        Jail::of(user).python(script).exits(0).prints("opened");
    }
}

#[test]
fn the_jails_init_is_closed_to_the_job() {
    for user in users() {
        let script = "
import os
opened = []
for name in ['environ', 'mem', 'maps', 'exe', 'root', 'cwd', 'fd', 'auxv', 'io', 'stack', 'syscall']:
    for pid in ['1', 'self']:
        path = f'/proc/{pid}/{name}'
        try:
            if os.path.islink(path): os.readlink(path)
            elif os.path.isdir(path): os.listdir(path)
            else: open(path, 'rb').read(0) if name == 'mem' else open(path, 'rb').read(1)
            opened.append(pid + name)
        except OSError: pass
print('selfenviron' in opened, 'selffd' in opened, [name for name in opened if name.startswith('1')])
";
        Jail::of(user).python(script).exits(0).prints("True True []");
    }
}

#[test]
fn only_the_jails_processes_are_seen() {
    for user in users() {
        let script = "import os; print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit())[0], \
                      len([name for name in os.listdir('/proc') if name.isdigit()]))";
        Jail::of(user).python(script).exits(0).prints("1 2");
    }
}

#[test]
fn no_descriptor_of_the_launcher_is_inherited() {
    for user in users() {
        let jail = Jail::of(user).wrapped(["bash", "-c", "exec 7</usr 9</dev/null; exec \"$@\"", "bash"]);
        // The fourth is the directory that is being listed.
        jail.python("import os; print(sorted(os.listdir('/proc/self/fd')))")
            .exits(0)
            .prints("['0', '1', '2', '3']");
    }
}

#[test]
fn a_host_directory_as_a_standard_stream_is_refused() {
    for user in users() {
        let jail_with_file = Jail::of(user).wrapped(["bash", "-c", "exec \"$@\" </etc/hostname", "bash"]);
        Jail::of(user)
            .wrapped(["bash", "-c", "exec 0</usr; exec \"$@\"", "bash"])
            .run(["true"])
            .exits(125)
            .complains("is a directory of the host");
        jail_with_file.run(["cat"]).exits(0);
    }
}
