"""An AWS client in small, written from the public documentation of Signature Version 4: it signs requests (in the jail,
with dummies) and says what the signatures of a request must be (outside, with the real keys)."""

import hashlib
import hmac
import json
import os
import ssl
import sys
import urllib.parse
from http.client import HTTPSConnection

SCOPE = "20260102/eu-central-1/s3/aws4_request"
DATE = "20260102T030405Z"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def signing_key(secret, scope):
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def signature(key, *lines):
    return hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).hexdigest()


def head_signature(key, date, scope, method, path, query, headers, names, payload):
    pairs = [pair for pair in urllib.parse.parse_qsl(query, True) if pair[0] != "X-Amz-Signature"]
    quoted = sorted((urllib.parse.quote(name, "~"), urllib.parse.quote(value, "~")) for name, value in pairs)
    canonical = "\n".join(
        [method, path, "&".join(f"{name}={value}" for name, value in quoted)]
        + [f"{name}:{' '.join(headers[name].split())}" for name in names]
        + ["", ";".join(names), payload]
    )
    return signature(key, "AWS4-HMAC-SHA256", date, scope, sha256(canonical.encode()))


def chunked(key, before, chunks, trailer):
    """The body of signed chunks, and its last line's signature."""
    body = b""
    for data in [*chunks, b""]:
        before = signature(key, "AWS4-HMAC-SHA256-PAYLOAD", DATE, SCOPE, before, sha256(b""), sha256(data))
        body += f"{len(data):x};chunk-signature={before}\r\n".encode() + data + (b"\r\n" if data else b"")
    if trailer:
        before = signature(key, "AWS4-HMAC-SHA256-TRAILER", DATE, SCOPE, before, sha256(f"{trailer}\n".encode()))
        body += f"{trailer}\r\nx-amz-trailer-signature:{before}\r\n".encode()
    return body + b"\r\n"


def send(kind):
    key_id, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    key = signing_key(secret, SCOPE)
    headers = {"host": "api.test", "x-amz-date": DATE, "x-amz-security-token": os.environ["AWS_SESSION_TOKEN"]}
    method, target, query, chunks, trailer = "PUT", "/echo", "", [], None
    if kind in ("chunks", "trailer"):
        chunks, trailer = [b"a" * 65536, b"b" * 65536, b"c" * 100], "x-amz-checksum-crc32c:sOO8/Q==" if kind == "trailer" else None
        word = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailer else "")
        headers |= {"x-amz-content-sha256": word, "content-encoding": "aws-chunked"}
        headers |= {"x-amz-trailer": "x-amz-checksum-crc32c"} if trailer else {}
    elif kind == "unsigned":
        headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    elif kind == "unsigned-trailer":
        headers["x-amz-content-sha256"] = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    names = sorted(headers)
    if kind == "presigned":
        method, names = "GET", ["host"]
        query = urllib.parse.urlencode(
            {
                "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                "X-Amz-Credential": f"{key_id}/{SCOPE}",
                "X-Amz-Date": DATE,
                "X-Amz-Expires": "60",
                "X-Amz-Security-Token": headers.pop("x-amz-security-token"),
                "X-Amz-SignedHeaders": "host",
                "response-content-type": "text/plain; a b",
            },
            quote_via=urllib.parse.quote,
        )
        headers = {"host": "api.test"}
        mine = head_signature(key, DATE, SCOPE, method, target, query, headers, names, "UNSIGNED-PAYLOAD")
        query += f"&X-Amz-Signature={mine}"
    else:
        payload = headers["x-amz-content-sha256"]
        mine = head_signature(key, DATE, SCOPE, method, target, query, headers, names, payload)
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={key_id}/{SCOPE}, SignedHeaders={';'.join(names)}, Signature={mine}"
        )
    body = chunked(key, mine, chunks, trailer) if chunks else b"" if method == "GET" else b"any body"
    connection = HTTPSConnection("api.test", context=ssl.create_default_context())
    connection.request(method, target + (f"?{query}" if query else ""), body or None, headers)
    answer = connection.getresponse()
    answer.read()
    print(f"{kind}={answer.status}")


def check():
    """Reads a request as JSON; says whether it is signed by the key of the environment."""
    seen = json.load(sys.stdin)
    headers, query = dict(seen["headers"]) | {"host": seen["host"]}, urllib.parse.parse_qs(seen["query"])
    if "authorization" in headers:
        _, _, rest = headers["authorization"].partition(" ")
        fields = dict(part.strip().split("=", 1) for part in rest.split(","))
        credential, names, given = fields["Credential"], fields["SignedHeaders"], fields["Signature"]
        date = headers["x-amz-date"]
    else:
        of = lambda name: query[f"X-Amz-{name}"][0]
        credential, names, given, date = of("Credential"), of("SignedHeaders"), of("Signature"), of("Date")
    key_id, scope = credential.split("/", 1)
    body = bytes.fromhex(seen["body"])
    said = headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD" if "X-Amz-Signature" in query else sha256(body))
    key = signing_key(os.environ["REAL_SECRET"], scope)
    expected = head_signature(
        key, date, scope, seen["method"], seen["path"], seen["query"], headers, names.split(";"), said
    )
    if said.startswith("STREAMING-AWS4"):
        # Without its signatures, the body is signed anew: it must be what came.
        chunks, rest = [], body
        while True:
            line, rest = rest.split(b"\r\n", 1)
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            chunks.append(rest[:size])
            rest = rest[size + 2 :]
        trailer = rest.split(b"\r\n")[0].decode() if said.endswith("TRAILER") else None
        if chunked(key, given, chunks, trailer) != body:
            print("wrong chunks")
            return
    print(f"signed by {key_id}" if expected == given else f"wrong signature: {given}, expected {expected}")


if sys.argv[1] == "check":
    check()
else:
    for kind in sys.argv[1:]:
        send(kind)
