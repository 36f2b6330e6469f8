"""Does a scanner that has only our public keys and a JOSE library let the right people in?

Arguments: JWK Set, event, issuer, barcode. Ends with 1 unless PyJWT accepts the barcode for its
event, and refuses it for another one and with any one byte of it changed.
"""

import base64
import json
import sys

import jwt


def main():
    jwks, event, issuer, barcode = sys.argv[1:5]
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(json.loads(jwks)).keys}
    key = keys[jwt.get_unverified_header(barcode)["kid"]]

    def read(text, audience):
        return jwt.decode(text, key, algorithms=["EdDSA"], audience=audience, issuer=issuer)

    print(json.dumps(read(barcode, event)))
    attempts = [(barcode, "another-event")]
    parts = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in barcode.split(".")]
    for at, part in enumerate(parts):
        for byte in range(len(part)):
            changed = bytearray(part)
            changed[byte] ^= 1
            texts = [bytes(changed) if n == at else other for n, other in enumerate(parts)]
            encoded = [base64.urlsafe_b64encode(text).rstrip(b"=").decode() for text in texts]
            attempts.append((".".join(encoded), event))
    for text, audience in attempts:
        try:
            read(text, audience)
        except jwt.InvalidTokenError:
            continue
        sys.exit(f"accepted {text} for {audience}")


main()
