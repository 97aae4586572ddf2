"""Receives webhooks and the moderation hook of Barrage: verifies the signature, refuses what is older than five minutes.

    SECRET=whsec_… python3 receiver.py      # listens on 127.0.0.1:9000, or on PORT
"""

import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = os.environ["SECRET"]
KEY = base64.b64decode(SECRET[6:]) if SECRET.startswith("whsec_") else SECRET.encode()


def is_genuine(headers, body):
    """Whether one of the signatures is ours, and the call is not replayed."""
    message_id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not at.isdigit() or abs(time.time() - int(at)) > 300:
        return False
    signed = f"{message_id}.{at}.".encode() + body
    ours = "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(ours, given) for given in headers.get("webhook-signature", "").split(" "))


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not is_genuine(self.headers, body):
            self.send_response(401)
            self.end_headers()
            return
        call = json.loads(body)
        answer = {}
        if "items" in call:  # the moderation hook
            # Links wait for a moderator, and so does what the room said a moment ago.
            def verdict(item):
                return "hold" if "http" in item["text"] or item["text"] in item.get("context", []) else "allow"

            answer = {"items": [{"id": item["id"], "verdict": verdict(item)} for item in call["items"]]}
        else:  # a webhook: the same id may come again
            print(self.headers["webhook-id"], call["type"], call["data"], flush=True)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver).serve_forever()
