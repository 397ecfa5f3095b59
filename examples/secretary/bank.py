"""Pays. What it is asked to is alice's will, or the monitor would not have let it in; above a
limit it wants her approval of just this payment all the same.
"""
import json

import cofferdam

LIMIT = 100
LEDGER = "/data/ledger"


def pay(caller, order):
    to, amount = order["to"], order["amount"]
    if not isinstance(to, str) or type(amount) is not int or amount <= 0:
        raise cofferdam.Malformed("want to, a name, and amount, a number")
    nonce = approval(caller, to, amount) if amount > LIMIT else ""
    with open(LEDGER, "a") as ledger:
        print(json.dumps({"to": to, "amount": amount, "approval": nonce}), file=ledger)
    print("paid", to, amount)
    return "paid"


def approval(caller, to, amount):
    """The nonce of the capsule that came with the order, if alice has approved of it and it has not been used."""
    if not caller.handles:
        raise cofferdam.Failed("more than %d takes an approval" % LIMIT)
    unsealer, = client.call_with("page.unsealer").handles
    try:
        approved = json.loads(unsealer.unsealer().unseal(caller.handles[0].capsule()))
    except cofferdam.Denied:
        raise cofferdam.Failed("not an approval of alice's") from None
    finally:
        unsealer.drop()
    nonce = approved.pop("nonce")
    if approved != {"by": caller.instance, "to": to, "amount": amount}:
        raise cofferdam.Failed("approved is something else: %s" % json.dumps(approved))
    with open(LEDGER) as ledger:
        if any(json.loads(line)["approval"] == nonce for line in ledger):
            raise cofferdam.Failed("that approval is used up")
    return nonce


open(LEDGER, "a").close()
with cofferdam.connect() as client:
    client.serve({"pay": cofferdam.json_handler(pay)})
