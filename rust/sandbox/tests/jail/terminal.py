# A terminal of 33 by 101, and at it a small shell whose one job is the command given, in the foreground unless
# BACKGROUND is set. The driver below is the user: it types, looks at the screen, and watches the job as the shell sees it.
import ctypes, fcntl, os, pty, select, signal, struct, sys, termios, time

PATIENCE = 60
BACKGROUND = "BACKGROUND" in os.environ
master, slave = pty.openpty()
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
report_reader, report_writer = os.pipe()
command_reader, command_writer = os.pipe()

shell = os.fork()
if shell == 0:
    os.close(master)
    os.setsid()
    # Gone with the driver, however it ends.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if BACKGROUND:
            # The shell's line editor has the terminal.
            edited = termios.tcgetattr(slave)
            edited[0] &= ~termios.ICRNL
            edited[3] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(slave, termios.TCSANOW, edited)
        else:
            os.tcsetpgrp(slave, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        for stream in range(3):
            os.dup2(slave, stream)
        os.execvp(sys.argv[1], sys.argv[1:])
    os.close(report_reader)
    # As a shell's `fg` for a job that has not been stopped, and `kill` for one that has.
    def bring_to_foreground(*_):
        settings = termios.tcgetattr(slave)
        settings[0] |= termios.ICRNL
        settings[3] |= termios.ICANON | termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        os.tcsetpgrp(slave, job)
        os.write(report_writer, b"foreground\n")

    signal.signal(signal.SIGUSR1, bring_to_foreground)
    signal.signal(signal.SIGUSR2, lambda *_: os.kill(job, signal.SIGTERM))
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            os.tcsetpgrp(slave, os.getpid())
            os.write(report_writer, b"stopped\n")
            ended = 0
            while not ended and not select.select([command_reader], [], [], 0.02)[0]:
                ended, status = os.waitpid(job, os.WNOHANG)
            if not ended:
                os.read(command_reader, 1)
                os.tcsetpgrp(slave, job)
                os.killpg(job, signal.SIGCONT)
                continue
        os.write(report_writer, b"ended %d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)

os.close(report_writer)
screen = bytearray()
seen = 0


def look(report=False):
    """Waits for more on the screen, or for a report of the shell."""
    watched = [fd for fd in (master, report_reader if report else -1) if fd >= 0]
    ready, _, _ = select.select(watched, [], [], PATIENCE)
    assert ready, f"nothing more comes after {bytes(screen)!r}"
    if master in ready:
        try:
            screen.extend(os.read(master, 65536))
        except OSError:
            pass
    return report_reader in ready


def output():
    return bytes(screen)


def shows(text):
    global seen
    while (at := screen.find(text.encode(), seen)) < 0:
        look()
    seen = at + len(text)


def types(text):
    os.write(master, text.encode())


def resize(rows, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def cooked():
    return bool(termios.tcgetattr(slave)[3] & termios.ICANON)


def reported():
    while not look(report=True):
        pass
    while select.select([master] if master >= 0 else [], [], [], 0)[0]:
        look()
    return os.read(report_reader, 100).decode().strip()


def stops():
    assert (report := reported()) == "stopped", report


def continues():
    os.write(command_writer, b"+")
    # The launcher has the keyboard again as soon as it is raw.
    deadline = time.monotonic() + PATIENCE
    while cooked():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def hang_up():
    global master
    os.close(master)
    master = -1


def to_foreground():
    os.kill(shell, signal.SIGUSR1)
    assert (report := reported()) == "foreground", report


def terminate():
    os.kill(shell, signal.SIGUSR2)


def ends_with(code):
    assert (report := reported()) == f"ended {code}", report


def ends_unread_with(code):
    """The same, while nobody reads the screen."""
    ready, _, _ = select.select([report_reader], [], [], PATIENCE)
    assert ready, "it does not end while nobody reads the screen"
    assert (report := os.read(report_reader, 100).decode().strip()) == f"ended {code}", report


def stalls():
    """Waits until the terminal takes no more, while nobody reads the screen."""
    deadline = time.monotonic() + PATIENCE
    while select.select([], [slave], [], 0)[1]:
        assert time.monotonic() < deadline, "the job does not fill the terminal"
        time.sleep(0.01)


def make_nonblocking():
    """As a program of the host does that shares the terminal."""
    fcntl.fcntl(slave, fcntl.F_SETFL, fcntl.fcntl(slave, fcntl.F_GETFL) | os.O_NONBLOCK)


def is_nonblocking():
    return bool(fcntl.fcntl(slave, fcntl.F_GETFL) & os.O_NONBLOCK)
