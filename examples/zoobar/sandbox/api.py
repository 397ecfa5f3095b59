"""What a profile can ask of zoobar: api.call(method, **arguments).

    get_self()                  the owner of this profile
    get_visitor()               who is looking at it
    get_xfers(username)         the transfers of a user, oldest first
    get_user_info(username)     {username, profile, zoobars}, or None
    xfer(target, zoobars)       gives the owner's zoobars away

On whose behalf it asks is not an argument: the monitor knows what this sandbox
was started for. A call that is refused raises an exception.

Trusted: no.
"""

import cofferdam

_client = None


def call(method, **arguments):
    """Asks one thing and returns its answer."""
    global _client
    if _client is None:
        _client = cofferdam.connect()
    name = "bank.give" if method == "xfer" else "profile." + method
    return _client.call_json(name, arguments)
