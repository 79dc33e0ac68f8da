#!/usr/bin/env python3
"""A service of demo/compose.yaml: it says its name, and registers itself in Consul.

SERVICE is its name there, CONSUL_HTTP_ADDR where Consul is. Python is in the demo image
anyway, as supervisor is written in it.
"""

import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SERVICE = os.environ["SERVICE"]
AGENT = "http://" + os.environ["CONSUL_HTTP_ADDR"] + "/v1/agent/service/"
HOST = socket.gethostname()
ADDRESS = socket.gethostbyname(HOST)
ID = f"{SERVICE}-{HOST}"
PORT = 8000
EVERY = 2  # seconds
GRACE = 1  # seconds: a change of the registry reaches the gateway well within it


class Handler(BaseHTTPRequestHandler):
    """Answers every request with the name of this instance."""

    def do_GET(self):
        text = f"hello from {ID}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """The gateway's access log has it."""


def call(method, path, body=None):
    """Asks the agent, and reports whether it knows what it was asked about."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(AGENT + path, data, method=method)
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError as e:
        if e.code != 404:
            raise
        return False
    return True


def register():
    """Registers this instance where Consul does not know it: at the start, and after Consul lost it."""
    if call("GET", ID):
        return
    check = {"HTTP": f"http://{ADDRESS}:{PORT}/", "Interval": "1s", "DeregisterCriticalServiceAfter": "1m"}
    call("PUT", "register", {"ID": ID, "Name": SERVICE, "Address": ADDRESS, "Port": PORT, "Check": check})
    print(f"{ID} is registered at {ADDRESS}:{PORT}", flush=True)


def main():
    server = ThreadingHTTPServer(("", PORT), Handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())

    while True:
        try:
            register()
        except OSError as e:
            print(f"Consul: {e}: again in {EVERY} s", flush=True)
        if stopped.wait(EVERY):
            break

    # First no new requests come, then this ends.
    try:
        call("PUT", "deregister/" + ID)
        time.sleep(GRACE)
    except OSError as e:
        print(f"Consul: {e}: it will find out by its check", flush=True)
    server.shutdown()
    serving.join()


if __name__ == "__main__":
    main()
