"""What the attack programs share. They try something, and print what came of it as `name: result`."""

import ctypes
import errno
import os
import re
import socket
import ssl
import struct
import sys

PATIENCE = 20
PROXY = ("127.0.0.1", 3128)
# Made by an engine (its pid 1 is our program, which lies there).
CONTAINER = os.path.exists("/.jail")


def fact(name, result):
    print(f"{name}: {result}", flush=True)


def tried(action, *arguments):
    """`ok`, or the name of the error."""
    try:
        action(*arguments)
        return "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)


def dial(host, port):
    return socket.create_connection((host, port), PATIENCE)


def tunnel(target):
    """A connection to the explicit proxy after `CONNECT target`, and the answer's head."""
    stream = dial(*PROXY)
    target = target if isinstance(target, bytes) else target.encode()
    stream.sendall(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte:
            break
        head += byte
    return stream, head


def shake_hands(stream, name, protocol="http/1.1"):
    """TLS as every program in the jail speaks it: the certificate must be one that the jail trusts."""
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    context.set_alpn_protocols([protocol])
    return context.wrap_socket(stream, server_hostname=name)


def https(host, protocol="http/1.1"):
    """Captured: to the address that the jail's resolver gives for the name."""
    return shake_hands(dial(host, 443), host, protocol)


def request(host, path="/echo", method="GET", more=""):
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n".encode()


def everything(stream):
    """What comes until the other side closes."""
    parts = []
    try:
        while part := stream.recv(65536):
            parts.append(part)
    except TimeoutError:
        parts.append(b"\r\n<nothing more in time>")
    except OSError:
        pass
    return b"".join(parts)


def answers(said):
    """The answers in these bytes: status, and the reason if the jail refused."""
    if b"<nothing more in time>" in said:
        return "no end in time"
    found = []
    for status, fields in re.findall(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n", said):
        reason = re.search(rb"(?im)^x-jail-deny: (\S+)", fields)
        found.append(status.decode() + (f" {reason[1].decode()}" if reason else ""))
    return ", ".join(found) or ("closed" if not said else "garbage")


def ask(stream, data, end=False):
    """Sends; the answers until the other side closes. `end`: says that nothing more will come."""
    try:
        stream.sendall(data)
        if end:
            stream.shutdown(socket.SHUT_WR)
    except OSError:
        # It may have had enough of us; what it said is what counts.
        pass
    return answers(everything(stream))


libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(number, *arguments):
    """A system call by its number."""

    def value(argument):
        return argument if isinstance(argument, (bytes, ctypes.Array, ctypes.Structure)) else ctypes.c_long(argument)

    ctypes.set_errno(0)
    if libc.syscall(ctypes.c_long(number), *map(value, arguments)) == -1:
        return errno.errorcode[ctypes.get_errno()]
    return "ok"
