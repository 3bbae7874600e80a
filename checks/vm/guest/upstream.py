"""An HTTPS server of the scenarios: upstream.py ADDRESS PORT CERTIFICATE KEY

It answers with the Authorization header that it got. What it has heard, a line per request, is at /.heard; a DELETE there
begins anew.
"""

import http.server
import ssl
import sys

address, port, certificate, key = sys.argv[1:]
heard = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/.heard":
            self.answer("".join(heard))
            return
        got = self.headers.get("Authorization", "")
        heard.append(f"{self.headers.get('Host')} {self.path} {got}\n")
        self.answer(f"upstream got {got}\n")

    def do_DELETE(self):
        heard.clear()
        self.answer("")

    def answer(self, text):
        body = text.encode()
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
