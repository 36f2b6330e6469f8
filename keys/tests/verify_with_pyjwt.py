"""Can somebody who has only our JWK Set and a JOSE library check our statements?

Reads vectors.json (the argument). Accepts each text with PyJWT, compares its claims, and sees to it
that PyJWT refuses the text once anything about it is changed. Ends with 1 at the first surprise.
"""

import base64
import json
import sys

import jwt


def decode(text, key, claims, **changed):
    expected = {"audience": claims["aud"], "issuer": claims["iss"], **changed}
    required = ["iss", "aud", "iat", "exp"]
    return jwt.decode(
        text, key, algorithms=["EdDSA"], options={"require": required}, **expected
    )


def b64decode(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def b64encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def changed_texts(text):
    """The text with the lowest bit of one byte of one decoded part flipped, for every byte."""
    parts = [b64decode(part) for part in text.split(".")]
    for at, part in enumerate(parts):
        for byte in range(len(part)):
            flipped = bytearray(part)
            flipped[byte] ^= 1
            changed = [*parts[:at], bytes(flipped), *parts[at + 1 :]]
            yield ".".join(b64encode(part) for part in changed)


def without_signature(text):
    header, payload, _ = text.split(".")
    header = {**json.loads(b64decode(header)), "alg": "none"}
    return f"{b64encode(json.dumps(header).encode())}.{payload}."


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        vectors = json.load(file)
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(vectors["jwks"]).keys}
    accepted = refused = 0

    for vector in vectors["statements"]:
        text, claims, key = vector["text"], vector["claims"], keys[vector["kid"]]

        header = jwt.get_unverified_header(text)
        wanted = {"alg": "EdDSA", "kid": vector["kid"], "typ": vector["typ"]}
        assert header == wanted, f"header is {header}, not {wanted}"
        found = decode(text, key, claims)
        assert found == claims, f"claims are {found}, not {claims}"
        accepted += 1

        others = [other for other in keys.values() if other.key_id != key.key_id]
        attempts = [(changed, key, {}) for changed in changed_texts(text)]
        attempts += [(text, other, {}) for other in others]
        attempts += [
            (text, key, {"audience": "closing-night"}),
            (text, key, {"issuer": "somebody-else"}),
            (without_signature(text), key, {}),
        ]
        for attempt, with_key, expected in attempts:
            try:
                decode(attempt, with_key, claims, **expected)
            except jwt.InvalidTokenError:
                refused += 1
            else:
                sys.exit(f"accepted a changed {vector['typ']}: {attempt} {expected}")

    print(f"accepted {accepted}, refused {refused}")


main()
