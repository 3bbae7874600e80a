use crate::support::{Jail, users};

/// `call(number, arguments…)` is the name of the error, or `ok`.
const CALL: &str = "
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    ctypes.set_errno(0)
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(argument) for argument in arguments]) != -1: return 'ok'
    return errno.errorcode[ctypes.get_errno()]
";

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_that_reach_past_the_jail_are_refused() {
    for user in users() {
        let script = format!(
            "{CALL}
assert call(39) == 'ok', 'getpid'
refused = {{
    'mount': call(165, 0, 0, 0, 0, 0), 'umount2': call(166, 0, 0), 'pivot_root': call(155, 0, 0), 'chroot': call(161, 0),
    'open_tree': call(428, -100, 0, 0), 'move_mount': call(429, 0, 0, 0, 0, 0), 'fsopen': call(430, 0, 0),
    'mount_setattr': call(442, 0, 0, 0, 0, 0), 'open_by_handle_at': call(304, 0, 0, 0), 'setns': call(308, 0, 0),
    'unshare user': call(272, 0x10000000), 'unshare net': call(272, 0x40000000), 'unshare mnt': call(272, 0x20000),
    'unshare time': call(272, 0x80),
    'clone user': call(56, 0x10000000 | 17, 0, 0, 0, 0), 'clone net': call(56, 0x40000000 | 17, 0, 0, 0, 0),
    'bpf': call(321, 0, 0, 0), 'perf_event_open': call(298, 0, 0, -1, -1, 0), 'userfaultfd': call(323, 0),
    'add_key': call(248, 0, 0, 0, 0, 0), 'request_key': call(249, 0, 0, 0, 0), 'keyctl': call(250, 0, 0, 0, 0, 0),
    'io_uring_setup': call(425, 1, 0), 'init_module': call(175, 0, 0, 0), 'kexec_load': call(246, 0, 0, 0, 0),
    'process_vm_readv': call(310, os.getpid(), 0, 0, 0, 0, 0), 'pidfd_getfd': call(438, 0, 0, 0), 'kcmp': call(312, 1, 1, 0, 0, 0),
    'iopl': call(172, 3), 'modify_ldt': call(154, 0, 0, 0), 'reboot': call(169, 0, 0, 0, 0), 'syslog': call(103, 3, 0, 0),
    'personality': call(135, 0x0400000),
}}
print([name for name, result in refused.items() if result != 'EPERM'])
print(call(435, 0, 0), call(0x40000000 + 39), call(272, 0x200), call(135, 0xffffffff))"
        );
        // clone3 is not there, x32 neither; unshare of what is not a namespace and asking for the personality are.
        Jail::of(user).python(&script).exits(0).prints("[]\nENOSYS ENOSYS ok ok");
    }
}

#[test]
fn the_limits_of_init_are_not_the_jobs_to_set() {
    for user in users() {
        let script = "
import os, resource
def tried(pid):
    try: resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64)); return 'ok'
    except OSError as error: return type(error).__name__
print(tried(1), tried(0), tried(os.getpid()))";
        Jail::of(user).python(script).exits(0).prints("PermissionError ok ok");
    }
}

#[test]
fn sockets_are_of_domains_that_the_network_namespace_holds() {
    for user in users() {
        let script = "
import socket
def tried(*arguments):
    try: socket.socket(*arguments).close(); return 'ok'
    except OSError as error: return type(error).__name__
print(tried(socket.AF_UNIX), tried(socket.AF_INET), tried(socket.AF_INET6), tried(socket.AF_NETLINK, socket.SOCK_RAW, 0))
vsock, bluetooth, alg, netlink_audit = (40, 1), (31, 3), (38, 5), (16, 3, 9)
packet, xdp, can = (17, 3), (44, 3), (29, 3)
print({tried(*arguments) for arguments in (vsock, bluetooth, alg, netlink_audit, packet, xdp, can)})
sctp, dccp, l2tp, udplite = (1, 132), (6, 33), (2, 115), (2, 136)
print({tried(domain, *arguments) for domain in (2, 10) for arguments in (sctp, dccp, l2tp, udplite)})
kinds = (4, 5, 6, 10, 0x80805)
assert {tried(domain, kind, 0) for domain in (2, 10) for kind in kinds} == {'PermissionError'}
print(tried(socket.AF_INET, socket.SOCK_RAW, 1))
print({tried(domain, *arguments) for domain in (2, 10) for arguments in ((1, 6), (2, 17), (0x80801, 0))})
";
        Jail::of(user)
            .python(script)
            .exits(0)
            .prints("ok ok ok ok\n{'PermissionError'}\n{'PermissionError'}\nPermissionError\n{'ok'}");
    }
}

#[test]
fn nothing_can_be_typed_into_a_terminal() {
    for user in users() {
        let script = "
import errno, fcntl, os, termios
master, slave = os.openpty()
def tried(request, argument):
    try: fcntl.ioctl(slave, request, argument); return 'ok'
    except OSError as error: return errno.errorcode[error.errno]
print(tried(termios.TIOCGWINSZ, b' ' * 8), tried(termios.TIOCSTI, b'x'), tried(0x541C, b'\\x02'), tried(termios.TIOCSETD if hasattr(termios, 'TIOCSETD') else 0x5423, b'\\x00' * 4))
print(os.ttyname(slave).startswith('/dev/pts/'))
";
        Jail::of(user).python(script).exits(0).prints("ok EPERM EPERM EPERM\nTrue");
    }
}

#[test]
fn no_setuid_file_can_be_made() {
    for user in users() {
        let workspace = user.directory();
        let script = format!(
            "{CALL}
os.chdir('{}')
open('file', 'w').close()
def tried(what):
    try: what(); return 'ok'
    except OSError as error: return errno.errorcode[error.errno]
print(tried(lambda: os.chmod('file', 0o755)), tried(lambda: os.close(os.open('new', os.O_CREAT | os.O_WRONLY, 0o755))))
print(tried(lambda: os.mknod('node', 0o100644)), tried(lambda: os.close(os.open('file', os.O_RDONLY, 0o4755))))
for bit in (0o4000, 0o2000):
    print(tried(lambda: os.chmod('file', bit | 0o755)), tried(lambda: os.close(os.open('made', os.O_CREAT | os.O_WRONLY, bit | 0o755))), end=' ')
    print(tried(lambda: os.mknod('node2', bit | 0o100755)), tried(lambda: os.close(os.open('.', os.O_TMPFILE | os.O_RDWR, bit | 0o755))), end=' ')
    print(call(452, -100, 0, bit, 0), call(437, -100, 0, 0, 24))",
            workspace.path().display()
        );
        Jail::of(user).rw(workspace.path()).python(&script).exits(0).prints(
            "ok ok\nok ok\nEPERM EPERM EPERM EPERM EPERM ENOSYS\nEPERM EPERM EPERM EPERM EPERM ENOSYS",
        );
    }
}

#[test]
fn debugging_ones_own_processes_works() {
    for user in users() {
        let script = format!(
            "{CALL}
child = os.fork()
if child == 0:
    libc.ptrace(0, 0, 0, 0)
    os.kill(os.getpid(), 19)
    os._exit(0)
_, status = os.waitpid(child, 0)
print(os.WIFSTOPPED(status))
os.kill(child, 9)"
        );
        Jail::of(user).python(&script).exits(0).prints("True");
    }
}
