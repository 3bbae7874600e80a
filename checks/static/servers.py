"""A name server that knows by-server.test, and a web server that says who it was asked as; prints a line when ready."""

import http.server
import socket
import threading

KNOWN = b"\x09by-server\x04test\x00"
A, IN = b"\x00\x01", b"\x00\x01"
NO_SUCH_NAME = 3


def answer(query: bytes) -> bytes:
    end = query.index(b"\x00", 12) + 1
    name, kind = query[12:end].lower(), query[end : end + 2]
    code = 0 if name == KNOWN else NO_SUCH_NAME
    count = 1 if name == KNOWN and kind == A else 0
    head = query[:2] + bytes([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0])
    record = b"\xc0\x0c" + A + IN + bytes([0, 0, 0, 60, 0, 4, 127, 0, 0, 1])
    return head + query[12 : end + 4] + record * count


def serve_names(names: socket.socket) -> None:
    while True:
        query, client = names.recvfrom(512)
        names.sendto(answer(query), client)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"this is {self.headers['host']}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 53))
pages = http.server.HTTPServer(("127.0.0.1", 8080), Page)
threading.Thread(target=serve_names, args=[names], daemon=True).start()
print("ready", flush=True)
pages.serve_forever()
