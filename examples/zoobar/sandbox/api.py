"""What a profile can ask of zoobar: api.call(method, **arguments).

    get_self()                  the owner of this profile
    get_visitor()               who is looking at it
    get_xfers(username)         the transfers of a user, oldest first
    get_user_info(username)     {username, profile, zoobars}, or None
    xfer(target, zoobars)       gives the owner's zoobars away
    get_visits()                who has looked at the owner's profile, and at those of
                                these who share it: [{from, to, times, last}]
    share_visits(on)            lets those whom the owner visits see who visits the owner

On whose behalf it asks is not an argument: the monitor knows what this sandbox
was started for. A call that is refused raises an exception.

Trusted: no.
"""

import cofferdam


ELSEWHERE = {"xfer": "bank.give", "get_visits": "visits.get", "share_visits": "visits.share"}


def call(method, **arguments):
    """Asks one thing and returns its answer."""
    return cofferdam.call_json(ELSEWHERE.get(method, "profile." + method), arguments)
