"""An HTTPS server of the scenarios: upstream.py ADDRESS PORT CERTIFICATE KEY LOG

It answers with the Authorization header that it got, and writes one line per request to LOG.
"""

import http.server
import ssl
import sys

address, port, certificate, key, log = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        got = self.headers.get("Authorization", "")
        with open(log, "a") as file:
            print(self.headers.get("Host"), self.path, got, file=file)
        body = f"upstream got {got}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
