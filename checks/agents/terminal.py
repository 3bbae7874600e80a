"""A program in a pseudo-terminal, and what its screen shows."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

import pyte

# Sequences that the emulator would take for others (`CSI > 1 u` for `CSI u`), and strings that it would print.
IGNORED = re.compile(
    rb"\x1b\[[<=>][0-9;:]*[@-~]|\x1b\[\?[0-9;:]*(?:[un]|\$p)|\x1b\[[0-9;:]*(?: q|t)|\x1b[PX^_][^\x1b\x07]*(?:\x1b\\|\x07)"
    rb"|\x1b\[[0-9;]*:[0-9;:]*m|\x1b\][^\x1b\x07]*(?:\x1b\\|\x07)"
)
UNFINISHED = re.compile(rb"\x1b(?:[\[][0-?]*[ -/]*|[P\]X^_][^\x1b\x07]*\x1b?)?\Z")


class Terminal:
    """Starts `argv` in a terminal of its own. Every wait has an end: `AssertionError` shows the screen."""

    def __init__(self, argv, environment, directory, columns=110, rows=40):
        self.screen = pyte.Screen(columns, rows)
        self.screen.write_process_input = lambda text: os.write(self.file, text.encode())
        self.stream = pyte.ByteStream(self.screen)
        self.rest = b""
        # Everything that was written, for what a full-screen program has removed from its screen since.
        self.written = b""
        self.status = None
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(directory)
                os.execvpe(argv[0], argv, environment)
            finally:
                os._exit(127)
        self.resize(columns, rows)

    def resize(self, columns, rows):
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.file, text.encode())

    def paste(self, text):
        self.type(f"\x1b[200~{text}\x1b[201~")

    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display if line.strip())

    def wait_for(self, pattern, seconds=60):
        """Waits until the screen matches the pattern. The limit is for a machine with much other work."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text(), re.IGNORECASE):
            if not self.read(end):
                raise AssertionError(f"the screen does not show {pattern!r}:\n{self.text()}")
        return self

    def settle(self, quiet=0.6, seconds=10):
        """Waits until nothing has been written for a while: an agent that still draws its screen loses what is typed."""
        end = time.monotonic() + seconds
        while self.read(min(end, time.monotonic() + quiet)) and time.monotonic() < end:
            pass
        return self

    def read(self, end):
        """Reads once. Returns False at the time `end`, or when the program has ended."""
        ready, _, _ = select.select([self.file], [], [], max(0, end - time.monotonic()))
        if not ready:
            return False
        try:
            read = os.read(self.file, 65536)
        except OSError:
            read = b""
        if not read:
            return False
        self.written += read
        self.answer(read)
        text = self.rest + read
        unfinished = UNFINISHED.search(text)
        cut = unfinished.start() if unfinished and len(text) - unfinished.start() < 4096 else len(text)
        self.rest = text[cut:]
        self.stream.feed(IGNORED.sub(b"", text[:cut]))
        return True

    def answer(self, read):
        """Answers the questions that terminals answer and the emulator does not: colours, and the keyboard's protocol."""
        for question, answer in ((b"\x1b]10;?", "\x1b]10;rgb:dddd/dddd/dddd\x1b\\"), (b"\x1b]11;?", "\x1b]11;rgb:0000/0000/0000\x1b\\")):
            if question in read:
                self.type(answer)

    def end(self, seconds=15):
        """Waits for the end of the program and returns its exit code."""
        end = time.monotonic() + seconds
        while self.read(end):
            pass
        while self.status is None and time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.02)
        if self.status is None:
            raise AssertionError(f"the program does not end:\n{self.text()}")
        return self.status

    def close(self):
        if self.status is None:
            try:
                os.killpg(os.tcgetpgrp(self.file), signal.SIGKILL)
            except OSError:
                pass
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except OSError:
                pass
        os.close(self.file)
