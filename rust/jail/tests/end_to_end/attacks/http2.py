"""Enough of HTTP/2 (RFC 9113, RFC 7541) to say what no library would."""

import re
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACKNOWLEDGED = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def number(value, prefix, first=0):
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([first | value])
    encoded, value = bytes([first | limit]), value - limit
    while value >= 128:
        encoded, value = encoded + bytes([value & 127 | 128]), value >> 7
    return encoded + bytes([value])


def text(value):
    value = value if isinstance(value, bytes) else value.encode("latin-1")
    return number(len(value), 7) + value


def field(name, value):
    """A field that is kept in no table."""
    return b"\0" + text(name) + text(value)


def remembered(name, value):
    """A field that the other side keeps in its table."""
    return b"\x40" + text(name) + text(value)


def fields(host, path="/echo", method="GET", more=(), scheme="https"):
    pseudo = [(":method", method), (":scheme", scheme), (":authority", host), (":path", path)]
    return b"".join(field(name, value) for name, value in [*pseudo, *more])


class Http2:
    """One connection."""

    def __init__(self, stream):
        self.stream = stream
        self.next = 1
        self.buffer = b""
        # Without a table of ours every status comes in a form that can be read without keeping one.
        self.send(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0)))

    def send(self, data):
        try:
            self.stream.sendall(data)
            return True
        except OSError:
            return False

    def ask(self, head, body=None):
        """One request; status and reason, or how the stream ended."""
        number, self.next = self.next, self.next + 2
        self.send(frame(HEADERS, END_HEADERS | (0 if body is not None else END_STREAM), number, head))
        if body is not None:
            self.send(frame(DATA, END_STREAM, number, body))
        return self.answer(number)

    def answer(self, number):
        status, body = None, b""
        while True:
            try:
                kind, flags, stream, payload = self.frame()
            except TimeoutError:
                return "no end in time"
            except (OSError, EOFError):
                return "closed"
            if kind == SETTINGS and not flags & ACKNOWLEDGED:
                self.send(frame(SETTINGS, ACKNOWLEDGED, 0))
            elif kind == PING and not flags & ACKNOWLEDGED:
                self.send(frame(PING, ACKNOWLEDGED, 0, payload))
            elif kind == GOAWAY and int.from_bytes(payload[4:8], "big"):
                return f"connection refused with {int.from_bytes(payload[4:8], 'big')}"
            elif kind == RST_STREAM and stream == number:
                return f"stream refused with {int.from_bytes(payload, 'big')}"
            elif stream == number and kind in (HEADERS, DATA):
                if kind == HEADERS and status is None:
                    status = read_status(payload)
                elif kind == DATA:
                    body += payload
                if flags & END_STREAM:
                    reason = re.search(rb'"error":"denied".*"reason":"([^"]+)"', body)
                    return status + (f" {reason[1].decode()}" if reason else "")

    def frame(self):
        head = self.read(9)
        length = int.from_bytes(head[:3], "big")
        return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, self.read(length)

    def read(self, length):
        while len(self.buffer) < length:
            part = self.stream.recv(65536)
            if not part:
                raise EOFError
            self.buffer += part
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken


def read_status(block):
    while block[0] & 0xE0 == 0x20:
        # The other side takes note that we keep no table.
        block = block[1:]
    if block[0] & 0x80:
        return {8: "200", 9: "204", 10: "206", 11: "304", 12: "400", 13: "404", 14: "500"}[block[0] & 0x7F]
    length, coded = block[1] & 0x7F, block[1] & 0x80
    value = block[2 : 2 + length]
    if not coded:
        return value.decode()
    bits, digits = "".join(f"{byte:08b}" for byte in value), ""
    codes = {f"{digit:05b}": str(digit) for digit in range(3)} | {f"{22 + digit:06b}": str(digit) for digit in range(3, 10)}
    while len(digits) < 3:
        code = next(code for code in codes if bits.startswith(code))
        digits, bits = digits + codes[code], bits[len(code) :]
    return digits
