"""Believes one webhook with Stripe's own client, or not: exits with 1 if the signature is wrong."""

import sys

import stripe

secret, header = sys.argv[1:3]
try:
    event = stripe.Webhook.construct_event(sys.stdin.read(), header, secret)
except stripe.SignatureVerificationError as error:
    sys.exit(f"{error}")
print(event.type, event.data.object.id)
