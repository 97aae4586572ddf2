# A token for a user of one's own site (JWT, HS256), with nothing but Python.
import base64, hashlib, hmac, json, os, time


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_token(secret: str, claims: dict, ttl_s: int = 3600) -> str:
    header = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = part(json.dumps({**claims, "exp": int(time.time()) + ttl_s}).encode())
    signature = hmac.new(secret.encode(), f"{header}.{body}".encode(), hashlib.sha256).digest()
    return f"{header}.{body}.{part(signature)}"


if __name__ == "__main__":
    claims = {"sub": "alice", "name": "Alice", "level": "vip", "rooms": ["show"]}
    print(sign_token(os.environ["BARRAGE__AUTH__HMAC_SECRET"], claims))
