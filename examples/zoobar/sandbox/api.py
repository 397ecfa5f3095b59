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


def call(method, **arguments):
    """Asks one thing and returns its answer."""
    name = "bank.give" if method == "xfer" else "profile." + method
    return cofferdam.call_json(name, arguments)
