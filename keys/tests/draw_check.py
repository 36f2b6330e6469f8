"""Does another implementation, written from the description alone, compute the same positions?

Reads draw_vectors.json (the argument) and recomputes every position with Python's own hmac and
hashlib. Ends with 1 at the first difference.
"""

import base64
import hashlib
import hmac
import json
import sys

DOMAIN = b"waiting-room draw v1"
ROUNDS = 10


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def text(data):
    return len(data).to_bytes(4, "big") + data


def derive(secret, beacon, event, line, lane, count):
    message = text(DOMAIN) + text(beacon) + text(event.encode()) + line.to_bytes(8, "big")
    message += text(lane.encode()) + count.to_bytes(8, "big")
    return hmac.new(secret, message, hashlib.sha256).digest()


def permute(seed, count, number):
    if number >= count:
        return number
    half = max(1, -(-(count - 1).bit_length() // 2))
    mask = (1 << half) - 1
    while True:
        left, right = number >> half, number & mask
        for turn in range(ROUNDS):
            digest = hmac.new(seed, bytes([turn]) + right.to_bytes(8, "big"), hashlib.sha256)
            left, right = right, left ^ (int.from_bytes(digest.digest()[:8], "big") & mask)
        number = left << half | right
        if number < count:
            return number


with open(sys.argv[1], encoding="utf-8") as file:
    vectors = json.load(file)["vectors"]
checked = 0
for vector in vectors:
    secret, beacon = decode(vector["secret"]), decode(vector["beacon"])
    committed = base64.urlsafe_b64encode(hashlib.sha256(secret).digest()).rstrip(b"=").decode()
    assert committed == vector["commitment"], vector
    count = vector["count"]
    seed = derive(secret, beacon, vector["event"], vector["line"], vector["lane"], count)
    for num, position in vector["positions"]:
        assert permute(seed, count, num - 1) + 1 == position, (vector, num)
        checked += 1
assert checked > 50, checked
print(f"{checked} positions agree")
