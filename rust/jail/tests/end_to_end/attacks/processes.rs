//! The launcher's process, the kernel's levers and its riskier calls (attacks 19, 21).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::unistd::Pid;

use super::{armed, observed, program};
use crate::support::backend::is_container;
use crate::support::{Server, descendants, is_root, random, skip};

#[test]
fn the_first_process_of_the_jail_gives_nothing_away() {
    needs!("python3");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let script = r#"
import signal
def read(path):
    with open(path, "rb") as file:
        file.read(1)

# Behind a relay the job's parent is beneath the first process, and the one with the job's user.
first = os.getppid()
for name in ("environ", "mem", "maps", "smaps", "auxv", "stack", "syscall", "io", "personality", "fdinfo", "pagemap", "map_files", "fd", "task/1/fd", "task/1/mem"):
    path = f"/proc/{first}/{name}".replace("task/1", f"task/{first}")
    fact(f"/proc/1/{name}", tried(os.listdir if os.path.basename(name) in ("fd", "fdinfo", "map_files") else read, path))
for name in ("exe", "root", "cwd", "ns/net", "ns/mnt", "ns/user"):
    fact(f"/proc/1/{name}", tried(os.readlink, f"/proc/{first}/{name}"))
fact("/proc/1/root/etc/passwd", tried(read, f"/proc/{first}/root/etc/passwd"))
fact("attach", call(101, 16, first, 0, 0))
fact("seize", call(101, 0x4206, first, 0, 0))
vector = (ctypes.c_ulong * 2)(ctypes.addressof(ctypes.create_string_buffer(16)), 16)
fact("process_vm_readv", call(310, first, vector, 1, vector, 1, 0))
fact("process_vm_writev", call(311, first, vector, 1, vector, 1, 0))
pidfd = os.pidfd_open(first)
for number in range(4):
    fact(f"pidfd_getfd {number}", call(438, pidfd, number, 0))
fact("setns", call(308, pidfd, 0x40000000))
fact("kcmp", call(312, first, os.getpid(), 0, 0, 0))
# Refused where it is another user's, else without effect: all that comes after still works.
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    tried(os.kill, 1, number)
# The parent of the jail's first process is nobody that the job could name.
fact("the parent of 1", re.search(r"PPid:\s+(\d+)", open("/proc/1/status").read())[1])
fact("processes", sorted(int(name) for name in os.listdir("/proc") if name.isdigit()) == sorted({1, first, os.getpid()}))
# The controls: of itself and of its children the job sees and changes all of this.
child = os.fork()
if child == 0:
    signal.pause()
for name in ("environ", "mem", "maps"):
    fact(f"own {name}", tried(read if name != "mem" else lambda path: open(path, "rb").close(), f"/proc/{child}/{name}"))
fact("own exe", tried(os.readlink, f"/proc/{child}/exe"))
fact("attach to one's own", call(101, 0x4206, child, 0, 0))
os.kill(child, signal.SIGKILL)
fact("the token goes on", ask(https("api.test"), request("api.test", more=f"Authorization: Bearer {os.environ['T']}\r\n")))
"#;
    let jail =
        armed().allow("api.test").upstream(&server).secret("REAL", &token).credential("T=env:REAL@api.test");
    let ended = jail.run(program(script, &[]));
    let files = [
        "environ",
        "mem",
        "maps",
        "smaps",
        "auxv",
        "stack",
        "syscall",
        "io",
        "personality",
        "fdinfo",
        "pagemap",
        "map_files",
        "fd",
        "task/1/fd",
        "task/1/mem",
        "exe",
        "root",
        "cwd",
        "ns/net",
        "ns/mnt",
        "ns/user",
        "root/etc/passwd",
    ];
    let files = files.map(|name| format!("/proc/1/{name}"));
    let mut expected: Vec<(&str, &str)> = files.iter().map(|name| (name.as_str(), "EACCES")).collect();
    let calls = [
        "attach",
        "seize",
        "process_vm_readv",
        "process_vm_writev",
        "pidfd_getfd 0",
        "pidfd_getfd 1",
        "pidfd_getfd 2",
        "pidfd_getfd 3",
        "setns",
        "kcmp",
    ];
    expected.extend(calls.map(|name| (name, "EPERM")));
    expected.extend([("the parent of 1", "0"), ("processes", "True")]);
    expected.extend(
        ["own environ", "own mem", "own maps", "own exe", "attach to one's own"].map(|name| (name, "ok")),
    );
    expected.push(("the token goes on", "200"));
    observed(&ended, &expected);
    ended.swapped("T", "api.test:443");
}

#[test]
fn the_kernel_s_levers_cannot_be_pulled() {
    needs!("python3");
    let script = r#"
def opened(path):
    os.close(os.open(path, os.O_WRONLY))

def refused(action, *arguments):
    # By the mount, by the file's owner, or by Landlock; ENOENT where this kernel lacks it, or nothing can be made there.
    result = tried(action, *arguments)
    return "refused" if result in ("EROFS", "EACCES", "EPERM", "ENOENT") else result

levers = ["kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/ns_last_pid", "kernel/sysrq", "kernel/yama/ptrace_scope", "vm/overcommit_memory",
          "vm/drop_caches", "net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range", "net/ipv4/conf/all/route_localnet", "user/max_user_namespaces",
          "fs/suid_dumpable", "fs/binfmt_misc/register"]
for path in [f"/proc/sys/{lever}" for lever in levers] + ["/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/proc/1/setgroups", "/proc/1/uid_map"]:
    fact(path, refused(opened, path))
for path in ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/scsi", "/proc/acpi"):
    fact(path, refused(os.mkdir, path + "/x"))

def contents(path):
    try:
        with open(path, "rb") as file:
            return "nothing" if not file.read(64) else "READ"
    except OSError as error:
        return "nothing" if error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENXIO) else errno.errorcode[error.errno]

for path in ("/proc/kcore", "/proc/keys", "/proc/kallsyms", "/proc/timer_list", "/proc/sched_debug", "/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/proc/interrupts",
             "/dev/mem", "/dev/kmsg", "/dev/port", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/sda", "/dev/vda", "/dev/vsock", "/dev/userfaultfd", "/dev/console"):
    fact(path, contents(path))
for path in ("/sys", "/boot", "/lib/modules", "/proc/acpi", "/proc/scsi", "/proc/asound"):
    fact(path, len(os.listdir(path)) if os.path.isdir(path) else 0)
# The controls: these are the job's own.
fact("read", contents("/proc/sys/kernel/hostname"))
fact("own oom score", tried(lambda: open("/proc/self/oom_score_adj", "w").write("500")))
fact("own device", tried(lambda: open("/dev/null", "w").write("x")))
"#;
    let hostname = fs::read("/proc/sys/kernel/hostname").unwrap();
    let ended = armed().run(program(script, &[]));
    let text = ended.succeeds().text();
    let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_once(": ").unwrap()).collect();
    let (levers, rest) = lines.split_at(24);
    let (hidden, rest) = rest.split_at(20);
    let (empty, controls) = rest.split_at(6);
    assert!(levers.iter().all(|(_, result)| *result == "refused"), "{ended}");
    // What an engine does not hide: addresses are all zero there, and counts of interrupts are the host's.
    let shown = |path: &str| is_container() && ["/proc/kallsyms", "/proc/interrupts"].contains(&path);
    assert!(hidden.iter().all(|(path, result)| *result == "nothing" || shown(path)), "{ended}");
    assert!(empty.iter().all(|(_, result)| *result == "0"), "{ended}");
    assert_eq!(controls, [("read", "READ"), ("own oom score", "ok"), ("own device", "ok")], "{ended}");
    assert_eq!(fs::read("/proc/sys/kernel/hostname").unwrap(), hostname);
}

#[test]
fn neither_the_job_nor_the_launcher_leaves_a_core_file() {
    needs!("python3");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let jail = armed()
        .allow("api.test")
        .upstream(&server)
        .secret("REAL", &token)
        .credential("T=env:REAL@api.test")
        .host("@shell");
    let script = r#"
import resource, signal, subprocess
fact("core limit", resource.getrlimit(resource.RLIMIT_CORE))
child = subprocess.run([sys.executable, "-c", "import os; os.abort()"])
fact("crash", signal.Signals(-child.returncode).name)
fact("files", sorted(name for name in os.listdir(".") if "core" in name))
print("ready", flush=True)
sys.stdin.read()
"#;
    let mut running = jail.start(program(script, &[]));
    running.wait_for("core limit: (1, 1)\ncrash: SIGABRT\nfiles: []\nready\n");
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.launcher())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(
        core.split_whitespace().filter(|word| *word == "1").count() == 2,
        "the launcher would leave a core file: {core}"
    );
    running.closes_input();
    running.ends().succeeds();
}

#[test]
fn the_launcher_s_memory_is_closed_to_its_own_user() {
    needs!("python3");
    let token = random("sk-");
    let jail = armed().allow("api.test").secret("REAL", &token).credential("T=env:REAL@api.test");
    let mut running = jail.start(program("print('ready', flush=True); sys.stdin.read()", &[]));
    running.wait_for("ready\n");
    let refused = |process: Pid, name: &str| {
        let error = fs::File::open(format!("/proc/{process}/{name}")).err();
        error.map(|error| error.kind()) == Some(std::io::ErrorKind::PermissionDenied)
    };
    // The control: what this user may do with its own processes.
    assert!(!refused(Pid::this(), "mem") && !refused(Pid::this(), "maps"));
    if is_root() {
        // To root everything is open; that the kernel counts the process among the closed ones shows in its files' owner
        // only for other users, and those are tested as such.
        skip::report("in part: root may read every process; an ordinary user's run is the one that counts");
    } else {
        for name in ["mem", "environ", "maps", "auxv"] {
            assert!(
                refused(running.launcher(), name),
                "/proc/LAUNCHER/{name} is open to the launcher's user"
            );
        }
        let attached = nix::sys::ptrace::seize(running.launcher(), nix::sys::ptrace::Options::empty());
        assert_eq!(attached, Err(nix::errno::Errno::EPERM), "the launcher can be traced by its user");
    }
    // No process of the jail was given the secret.
    for (process, _) in descendants(running.launcher()).iter().skip(1) {
        for name in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{process}/{name}")).unwrap_or_default();
            assert!(
                !bytes.windows(token.len()).any(|window| window == token.as_bytes()),
                "the token is in {name} of {process}"
            );
        }
    }
    running.closes_input();
    running.ends().succeeds();
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_that_reach_past_the_jail_are_refused() {
    needs!("python3");
    let script = r#"
import mmap, signal
fact("getpid", call(39))
for name, arguments in {
    "unshare user": (272, 0x10000000), "unshare net": (272, 0x40000000), "unshare mnt": (272, 0x20000), "unshare pid": (272, 0x20000000),
    "unshare time": (272, 0x80), "unshare user, garbage above": (272, 0x1_10000000), "clone user": (56, 0x10000000 | 17, 0, 0, 0, 0), "clone net": (56, 0x40000000 | 17, 0, 0, 0, 0),
    "clone user, garbage above": (56, 0x1_10000000 | 17, 0, 0, 0, 0), "clone3": (435, 0, 88), "setns": (308, 0, 0),
    "mount": (165, b"x", b"/tmp", b"tmpfs", 0, 0), "umount2": (166, b"/tmp", 2), "pivot_root": (155, b"/tmp", b"/tmp"), "chroot": (161, b"/tmp"), "open_tree": (428, -100, b"/tmp", 1),
    "move_mount": (429, -1, b"", -100, b"/tmp", 4), "fsopen": (430, b"tmpfs", 0), "fsmount": (432, -1, 0, 0), "fspick": (433, -100, b"/tmp", 0), "mount_setattr": (442, -100, b"/", 0, 0, 0),
    "statmount": (457, 0, 0, 0, 0), "open_tree_attr": (467, -100, b"/tmp", 1, 0, 0), "open_by_handle_at": (304, -100, 0, 0), "name_to_handle_at": (303, -100, b"/", 0, 0, 0),
    "io_uring_setup": (425, 1, 0), "io_uring_enter": (426, 0, 0, 0, 0, 0), "bpf": (321, 5, 0, 0), "perf_event_open": (298, 0, 0, -1, -1, 0), "userfaultfd": (323, 1),
    "keyctl": (250, 0, -3, 0, 0, 0), "add_key": (248, b"user", b"x", b"y", 1, -3), "request_key": (249, b"user", b"x", 0, 0),
    "init_module": (175, 0, 0, b""), "finit_module": (313, 0, b"", 0), "kexec_load": (246, 0, 0, 0, 0), "reboot": (169, 0, 0, 0, 0), "syslog": (103, 3, 0, 0), "acct": (163, b"/tmp/x"),
    "swapon": (167, b"/tmp/x", 0), "quotactl": (179, 0, 0, 0, 0), "fanotify_init": (300, 0, 0), "process_vm_readv": (310, 1, 0, 0, 0, 0, 0), "pidfd_getfd": (438, 0, 0, 0),
    "kcmp": (312, 1, 1, 0, 0, 0), "move_pages": (279, 0, 0, 0, 0, 0, 0), "iopl": (172, 3), "ioperm": (173, 0, 1, 1), "modify_ldt": (154, 0, 0, 0), "personality, i386": (135, 8 << 8 | 0x0400000),
    "settimeofday": (164, 0, 0), "clock_settime": (227, 0, 0), "sethostname": (170, b"x", 1), "vhangup": (153,), "memfd_secret": (447, 0), "lsm_set_self_attr": (460, 0, 0, 0, 0),
    "x32 getpid": (0x40000000 | 39,), "x32 mount": (0x40000000 | 165, b"x", b"/tmp", b"tmpfs", 0, 0), "x32 ptrace": (0x40000000 | 521, 16, 1, 0, 0), "x32 execve": (0x40000000 | 520, b"/bin/sh", 0, 0),
    "no such call": (5000,),
}.items():
    fact(name, call(*arguments))

def in_a_child(action):
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "ok"

def machine_code(code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    return lambda: ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()

# mov eax, 39 (64-bit getpid); syscall; ret. And the same by the gate of 32-bit programs: mov eax, 20; int 0x80; ret.
fact("machine code", in_a_child(machine_code(b"\xb8\x27\0\0\0\x0f\x05\xc3")))
fact("i386 getpid", in_a_child(machine_code(b"\xb8\x14\0\0\0\xcd\x80\xc3")))
# mov eax, 21 (i386 mount); int 0x80; ret.
fact("i386 mount", in_a_child(machine_code(b"\xb8\x15\0\0\0\xcd\x80\xc3")))
import resource
def raised():
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # The jail says that it is done, and keeps its own: at 0 a core handler of the host would be started.
        if resource.getrlimit(resource.RLIMIT_CORE) == (1, 1): raise PermissionError(errno.EPERM, "")
    except ValueError:
        # What Python makes of EPERM.
        raise PermissionError(errno.EPERM, "")
for name, action in {
    "a device": lambda: os.mknod("/tmp/device", 0o20666, os.makedev(1, 3)), "become root": lambda: os.setresuid(4242, 4242, 4242),
    "groups": lambda: os.setgroups([0]), "a core limit": raised, "priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -20) if os.nice(1) else None,
    "a file": lambda: os.mknod("/tmp/file"), "a session": os.setsid if os.getpid() != os.getpgid(0) else lambda: None,
}.items():
    fact(name, tried(action))
"#;
    let ended = armed().run(program(script, &[]));
    let text = ended.succeeds().text();
    let results: Vec<(&str, &str)> = text.lines().map(|line| line.rsplit_once(": ").unwrap()).collect();
    assert_eq!(results.len(), 72, "{ended}");
    for (name, result) in results {
        let expected = match name {
            "getpid" | "machine code" | "a file" | "a session" => "ok",
            // Not there, as on a kernel without it: libraries fall back.
            "clone3" | "statmount" | "open_tree_attr" | "memfd_secret" | "lsm_set_self_attr"
            | "no such call" => "ENOSYS",
            name if name.starts_with("x32") => "ENOSYS",
            name if name.starts_with("i386") => "SIGSYS",
            // The user is not known in the jail.
            "become root" if !is_container() => "EINVAL",
            "priority" => "EACCES",
            _ => "EPERM",
        };
        assert_eq!(result, expected, "{name}{ended}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn setuid_files_have_no_effect_and_are_not_made() {
    needs!("python3");
    let jail = armed().host("id");
    // A real setuid program of the operator's in the workspace.
    let id = jail.project().join("id");
    fs::copy(crate::support::find("id").unwrap(), &id).unwrap();
    fs::set_permissions(&id, fs::Permissions::from_mode(0o6755)).unwrap();
    fs::write(jail.project().join("written"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(jail.project().join("written"), fs::Permissions::from_mode(0o6755)).unwrap();
    let script = r#"
import shutil, subprocess
def ids(program):
    return subprocess.run([program, "-u"], capture_output=True, text=True).stdout.strip()
def mode(path):
    return oct(os.stat(path).st_mode & 0o6000) if os.path.exists(path) else "absent"
fact("the operator's is marked", mode("id"))
fact("and has no effect", ids("./id") == ids(shutil.which("id")))
os.mkdir("made")
shutil.copyfile("id", "made/plain")
descriptor = os.open("made/plain", os.O_RDWR)
# Every call that gives a file its mode; nobody may find a setuid file on the host that a job has written.
for name, result in {
    "chmod": call(90, b"made/plain", 0o4755), "fchmod": call(91, descriptor, 0o2755), "fchmodat": call(268, -100, b"made/plain", 0o6755), "fchmodat2": call(452, -100, b"made/plain", 0o4755, 0),
    "mknod": call(133, b"made/mknod", 0o104755, 0), "mknodat": call(259, -100, b"made/mknodat", 0o102755, 0), "creat": call(85, b"made/creat", 0o4755), "open": call(2, b"made/open", 0o101, 0o4755),
    "openat": call(257, -100, b"made/openat", 0o101, 0o2755), "openat, garbage above": call(257, -100, b"made/openat2", 0o101, 0x1_00000000 | 0o4755),
    "openat, nameless": call(257, -100, b"made", 0o20200001 | 0o2, 0o4755), "openat2": call(437, -100, b"made/openat2", struct.pack("QQQ", 0o101, 0o4755, 0), 24),
    "capabilities": call(188, b"made/plain", b"security.capability", struct.pack("<IIIII", 0x02000001, 1 << 21, 0, 0, 0), 20, 0),
}.items():
    fact(name, "refused" if result in ("EPERM", "ENOSYS") else result)
os.close(descriptor)
fact("an ordinary mode", tried(os.chmod, "made/plain", 0o755))
fact("modes", sorted({mode(f"made/{name}") for name in os.listdir("made")}))
# Landlock refuses it, where there is one, before the read-only mount does.
fact("written into", "refused" if tried(open, "written", "a") in ("EACCES", "EROFS") else "written")
fact("still marked", mode("written"))
fact("setuid programs of the host", [name for path in os.environ["PATH"].split(":") for name in os.listdir(path) if os.stat(f"{path}/{name}").st_mode & 0o6000])
import stat
options = dict(line.split(" ")[1:4:2] for line in open("/proc/mounts"))
heeding = [path for path, set in options.items() if "nosuid" not in set.split(",")]
opening = [path for path, set in options.items() if "nodev" not in set.split(",") and not path.startswith(("/dev", "/proc/"))]
# An engine cannot be told so of what it binds: no_new_privs and its list of devices stand in.
fact("mounts with devices", "no device" if CONTAINER else opening)
fact("mounts that would heed it", [path for path in heeding if not CONTAINER and not stat.S_ISCHR(os.stat(path).st_mode)])
"#;
    let ended = jail.run(program(script, &[]));
    let mut expected = vec![("the operator's is marked", "0o6000"), ("and has no effect", "True")];
    let calls = [
        "chmod",
        "fchmod",
        "fchmodat",
        "fchmodat2",
        "mknod",
        "mknodat",
        "creat",
        "open",
        "openat",
        "openat, garbage above",
        "openat, nameless",
        "openat2",
        "capabilities",
    ];
    expected.extend(calls.map(|name| (name, "refused")));
    expected.extend([
        ("an ordinary mode", "ok"),
        ("modes", "['0o0']"),
        ("written into", "refused"),
        ("still marked", "0o6000"),
        ("setuid programs of the host", "[]"),
        ("mounts with devices", if is_container() { "no device" } else { "[]" }),
        ("mounts that would heed it", "[]"),
    ]);
    observed(&ended, &expected);
}
