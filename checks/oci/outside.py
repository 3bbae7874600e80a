"""Everything outside of the pod: a name server, an HTTPS server that says which token it got, and a watcher of every
packet that comes in. Prints a line when ready; one line of JSON per packet and per request goes to the file LOG.

    outside.py INTERFACE CERTIFICATE KEY LOG
"""

import http.server
import json
import socket
import ssl
import sys
import threading

NAME_SERVER, WEB_SERVER = "10.99.0.1", "93.184.216.34"
KNOWN = b"\x03api\x03pod\x04test\x00"
A, IN = b"\x00\x01", b"\x00\x01"
ETH_P_ALL, ARP, IPV4, IPV6 = 3, 0x0806, 0x0800, 0x86DD
OUTGOING = 4

interface, certificate, key, log_path = sys.argv[1:]
log_file = open(log_path, "a", buffering=1)


def log(**what: object) -> None:
    print(json.dumps(what), file=log_file)


def watch(packets: socket.socket) -> None:
    while True:
        frame, (_, kind, direction, *_) = packets.recvfrom(2048)
        if direction == OUTGOING or kind == ARP:
            continue
        packet = frame[14:]
        if kind == IPV4:
            protocol, payload = packet[9], packet[(packet[0] & 15) * 4 :]
            source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
        elif kind == IPV6:
            protocol, payload = packet[6], packet[40:]
            source, target = (socket.inet_ntop(socket.AF_INET6, packet[i : i + 16]) for i in (8, 24))
        else:
            protocol, payload, source, target = None, b"", None, None
        ports = [int.from_bytes(payload[i : i + 2]) for i in (0, 2)] if protocol in (6, 17) else [None, payload[:1].hex()]
        log(packet=[kind, protocol, source, target, *ports])


def serve_names(names: socket.socket) -> None:
    while True:
        query, client = names.recvfrom(512)
        end = query.index(b"\x00", 12) + 1
        log(asked=query[12:end].hex())
        known = query[12:end].lower() == KNOWN
        count = 1 if known and query[end : end + 2] == A else 0
        head = query[:2] + bytes([0x81, 0x80 | (0 if known else 3), 0, 1, 0, count, 0, 0, 0, 0])
        record = b"\xc0\x0c" + A + IN + bytes([0, 0, 0, 60, 0, 4]) + socket.inet_aton(WEB_SERVER)
        names.sendto(head + query[12 : end + 4] + record * count, client)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        log(request=self.headers["host"], authorization=self.headers["authorization"])
        body = f"you sent {self.headers['authorization']}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
packets.bind((interface, ETH_P_ALL))
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind((NAME_SERVER, 53))
pages = http.server.ThreadingHTTPServer((WEB_SERVER, 443), Page)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
pages.socket = context.wrap_socket(pages.socket, server_side=True)
for work in [(watch, packets), (serve_names, names)]:
    threading.Thread(target=work[0], args=[work[1]], daemon=True).start()
print("ready", flush=True)
pages.serve_forever()
