"""Drives the fake gateway with Stripe's own client: what that understands, it says as Stripe does."""

import json
import sys
import urllib.error
import urllib.request

import stripe

BASE, KEY = sys.argv[1:3]
client = stripe.StripeClient(KEY, base_addresses={"api": BASE}, max_network_retries=0)
intents = client.v1.payment_intents


def create(key, token="pm_card_visa", amount=500, **more):
    params = {
        "amount": amount,
        "currency": "usd",
        "capture_method": "manual",
        "confirm": True,
        "payment_method": token,
        "payment_method_types": ["card"],
        "metadata": {"payment": key},
        **more,
    }
    return intents.create(params, {"idempotency_key": key})


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}")


def admin(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{BASE}/admin/{path}", data=data, headers=headers)
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
        return json.loads(text) if text else None


# Reserved, captured, refunded.
intent = create("a")
assert (intent.status, intent.amount_capturable) == ("requires_capture", 500), intent
assert create("a").id == intent.id, "the same key is the same intent"
assert create("a").last_response.headers["Idempotent-Replayed"] == "true"
captured = intents.capture(intent.id, {"amount_to_capture": 400})
assert (captured.status, captured.amount_received) == ("succeeded", 400), captured
again = refused(stripe.InvalidRequestError, lambda: intents.capture(intent.id))
assert again.code == "payment_intent_unexpected_state", again
refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
assert refund.status == "succeeded", refund
too_much = lambda: client.v1.refunds.create({"payment_intent": intent.id, "amount": 301})
refused(stripe.InvalidRequestError, too_much)
assert [r.amount for r in client.v1.refunds.list({"payment_intent": intent.id})] == [100]

# Another body under a known key.
refused(stripe.IdempotencyError, lambda: create("a", amount=501))

# Declined, and what the card's owner is told.
declined = refused(
    stripe.CardError, lambda: create("b", "pm_card_visa_chargeDeclinedInsufficientFunds")
)
assert declined.error.decline_code == "insufficient_funds", declined
assert declined.error.payment_intent.status == "requires_payment_method"
missing = refused(stripe.InvalidRequestError, lambda: create("c", "4242424242424242"))
assert (missing.code, missing.param) == ("resource_missing", "payment_method"), missing

# Given back before it was taken.
intent = create("d")
assert intents.cancel(intent.id).status == "canceled"
refused(stripe.InvalidRequestError, lambda: intents.capture(intent.id))

# A challenge.
intent = create("e", "pm_card_threeDSecure2Required")
assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk"), intent
admin(f"intents/{intent.id}/authenticate", {"is_passed": True})
assert intents.retrieve(intent.id).status == "requires_capture"

# A challenge on a page of the bank's: there by an address, and back to the shop.
back = "https://tickets.example.org/orders/1"
redirected = create("r", "pm_card_threeDSecure2Required", return_url=back)
assert redirected.next_action.type == "redirect_to_url", redirected
assert redirected.next_action.redirect_to_url.return_url == back, redirected


class Still(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


try:
    bank = redirected.next_action.redirect_to_url.url
    urllib.request.build_opener(Still).open(bank, data=b"is_passed=true")
    raise AssertionError("expected a redirect")
except urllib.error.HTTPError as answer:
    assert answer.code == 303, answer
    assert answer.headers["Location"].startswith(f"{back}?payment_intent={redirected.id}"), answer
assert intents.retrieve(redirected.id).status == "requires_capture"
intents.cancel(redirected.id)

# Found by what the shop keeps with it.
found = intents.search({"query": "metadata['payment']:'e'"})
assert [i.id for i in found.data] == [intent.id]
listed = intents.list({"limit": 2})
assert listed.has_more and listed.data[0].id == redirected.id
everything = [i.id for i in intents.list({"limit": 2}).auto_paging_iter()]
assert len(everything) == len(set(everything)) == 5, everything

# A 500 is kept for its key; 429 is not.
admin("scripts", {"on": "create", "status": 500, "effect": "happens", "times": 1})
refused(stripe.APIError, lambda: create("f"))
refused(stripe.APIError, lambda: create("f"))
admin("scripts", {"on": "create", "status": 429, "times": 1})
refused(stripe.RateLimitError, lambda: create("g"))
assert create("g").status == "requires_capture"

# Signed as Stripe signs.
wrong = stripe.StripeClient("sk_test_wrong", base_addresses={"api": BASE}, max_network_retries=0)
refused(stripe.AuthenticationError, lambda: wrong.v1.payment_intents.retrieve(intent.id))

totals = admin("ledger")["totals"]
assert totals == {
    "authorised": 6,
    "reserved": 3,
    "captured": 1,
    "voided": 2,
    "refunded": 1,
    "captured_amount": 400,
    "refunded_amount": 100,
}, totals
