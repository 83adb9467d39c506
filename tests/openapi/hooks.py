"""Half of what is generated is about what is there: of a random code or cursor nobody has anything to tell."""

import schemathesis

CODES = ["PL-LIVE", "PL-WAIT", "PL-FROZEN", "PL-OVER", "PL-DRIFT"]


def half(value):
    """The same half for the same value, so that a seed repeats a run."""
    return isinstance(value, str) and sum(value.encode(errors="replace")) % 2 == 0


def known(value):
    return CODES[len(value) % len(CODES)]


@schemathesis.hook
def map_path_parameters(_, parameters):
    code = (parameters or {}).get("code")
    # What is too long or empty is meant to be refused.
    if half(code) and 0 < len(code) <= 64:
        parameters["code"] = known(code)
    return parameters


@schemathesis.hook
def map_query(_, query):
    if query and half(query.get("cursor")):
        del query["cursor"]
    return query


@schemathesis.hook
def map_body(_, body):
    if isinstance(body, dict) and half(body.get("code")) and 0 < len(body["code"]) <= 64:
        body["code"] = known(body["code"])
    return body
