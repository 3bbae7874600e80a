"""A world of its own for a launcher: a network with one name server and one web server, which write down who came.

    unshare --mount --net [--map-root-user] python3 outside.py ANSWERS DIARY LAUNCHER ARGUMENTS…

ANSWERS is JSON: the addresses of each name; a list of lists is one after the other.
93.184.216.0/24 and 2606:2800:220::/48 are the addresses of another machine (a network namespace behind a veth pair), which
a route of type local makes it answer on; 93.184.217.7 is this machine's own.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

answers, diary = json.loads(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
asked = {}


def note(line):
    os.write(diary, (line + "\n").encode())


def netlink(kind, payload, *attributes):
    for number, value in attributes:
        payload += attribute(number, value)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        # A request to be acknowledged, that makes something new.
        kernel.send(struct.pack("IHHII", 16 + len(payload), kind, 0x605, 1, 0) + payload)
        code = struct.unpack_from("i", kernel.recv(4096), 16)[0]
        if code:
            raise OSError(-code, os.strerror(-code))


libc = ctypes.CDLL(None, use_errno=True)


def called(result, what):
    if result:
        raise OSError(ctypes.get_errno(), what)


def set_up(interface):
    with socket.socket() as any_socket:
        # Up and running.
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", interface.encode(), 0x41))


def give_address(interface, address, length):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    binary = socket.inet_pton(family, address)
    # IFA_F_NODAD: usable at once.
    head = struct.pack("BBBBI", family, length, 0x02, 0, socket.if_nametoindex(interface))
    netlink(20, head, (2, binary), (1, binary))


def add_route(network, length, interface, gateway=None):
    family = socket.AF_INET6 if ":" in network else socket.AF_INET
    attributes = [(1, socket.inet_pton(family, network)), (4, struct.pack("I", socket.if_nametoindex(interface)))]
    if gateway:
        attributes.append((5, socket.inet_pton(family, gateway)))
    # Without a gateway: of type local, in the table local.
    table, scope, kind = (254, 0, 1) if gateway else (255, 254, 2)
    netlink(24, struct.pack("BBBBBBBBI", family, length, 0, 0, table, 3, scope, kind, 0), *attributes)


def attribute(number, value):
    return struct.pack("HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def make_network():
    """Returns the web servers of the other machine and of this one."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    called(libc.unshare(0x40000000), "no network namespace can be made")
    there = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    called(libc.setns(here, 0x40000000), "cannot return to the network namespace")
    set_up("lo")
    # struct ifinfomsg; IFLA_IFNAME, IFLA_LINKINFO { IFLA_INFO_KIND, IFLA_INFO_DATA { VETH_INFO_PEER { IFLA_NET_NS_FD } } }
    interface = bytes(16)
    peer = interface + attribute(3, b"world\0") + attribute(28, struct.pack("I", there))
    netlink(16, interface, (3, b"uplink\0\0"), (18, attribute(1, b"veth") + attribute(2, attribute(1, peer))))
    give_address("uplink", "93.184.217.7", 24)
    give_address("uplink", "fd00::7", 64)
    set_up("uplink")
    called(libc.setns(there, 0x40000000), "cannot enter the network namespace")
    set_up("lo")
    give_address("world", "93.184.217.8", 24)
    give_address("world", "fd00::8", 64)
    set_up("world")
    add_route("93.184.216.0", 24, "lo")
    add_route("2606:2800:220::", 48, "lo")
    servers = [web_server()]
    called(libc.setns(here, 0x40000000), "cannot return to the network namespace")
    add_route("93.184.216.0", 24, "uplink", "93.184.217.8")
    add_route("2606:2800:220::", 48, "uplink", "fd00::8")
    return servers + [web_server()]


def web_server():
    return socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)


def make_settings():
    for path, text in [
        ("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n"),
        ("/etc/nsswitch.conf", "hosts: dns\n"),
        ("/etc/hosts", "127.0.0.1 localhost\n"),
    ]:
        if not os.path.exists(path):
            continue
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        if libc.mount(file.name.encode(), os.path.realpath(path).encode(), None, 0x1000, None):
            raise OSError(ctypes.get_errno(), f"cannot replace {path}")
        os.unlink(file.name)


def serve_names(server):
    while True:
        question, client = server.recvfrom(4096)
        labels, position = [], 12
        while question[position]:
            labels.append(question[position + 1 : position + 1 + question[position]].decode())
            position += 1 + question[position]
        name, (kind,) = ".".join(labels).lower(), struct.unpack_from(">H", question, position + 1)
        note(f"asked for {name}")
        addresses = answers.get(name, [])
        if addresses and isinstance(addresses[0], list):
            turn = asked[name, kind] = asked.get((name, kind), -1) + 1
            addresses = addresses[min(turn, len(addresses) - 1)]
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        records = [socket.inet_pton(family, each) for each in addresses if (":" in each) == (kind == 28)] if family else []
        answer = question[:2] + struct.pack(">HHHHH", 0x8580 | (0 if name in answers else 3), 1, len(records), 0, 0)
        answer += question[12 : position + 5]
        for record in records:
            answer += struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(record)) + record
        server.sendto(answer, client)


def serve_web(server):
    while True:
        stream, _ = server.accept()
        address = stream.getsockname()[0].removeprefix("::ffff:")
        note(f"dialled {address}")
        with stream:
            stream.settimeout(10)
            head = b""
            while b"\r\n\r\n" not in head and (part := stream.recv(4096)):
                head += part
            stream.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")


webs = make_network()
make_settings()
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 53))
for serve, server in [(serve_names, names)] + [(serve_web, web) for web in webs]:
    threading.Thread(target=serve, args=(server,), daemon=True).start()
code = subprocess.run(sys.argv[3:]).returncode
sys.exit(code if code >= 0 else 128 - code)
