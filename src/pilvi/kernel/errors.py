"""The one tree of errors: what can go wrong, in words for the person who asked.

Domain code raises these and catches none of them; `kernel/http/answers.py` holds the one table from
errors to HTTP, and each dialect phrases them in its service's own form.
"""

from __future__ import annotations


class PilviError(Exception):
    """An error whose sentence may be shown to the caller.

    `message` is written for the person who made the request; `field` names the input at fault, if one is.
    """

    message = "Something went wrong."

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        self.message = message or type(self).message
        self.field = field
        super().__init__(self.message)


# -- what the caller did --------------------------------------------------------------------------


class Invalid(PilviError):
    """The request is malformed or asks for something that cannot be."""

    message = "The request is not valid."


class Unauthenticated(PilviError):
    """The caller has not shown who they are."""

    message = "The request you have made requires authentication."


class Forbidden(PilviError):
    """The caller may not do this."""

    message = "You are not authorized to perform the requested action."


class NotFound(PilviError):
    """The thing is not there, or the caller may not see it."""

    message = "The resource could not be found."

    def __init__(self, message: str | None = None, *, kind: str = "", ref: str = "", field: str | None = None) -> None:
        if message is None and kind:
            message = f"{kind} {ref} could not be found."
        super().__init__(message, field=field)
        self.kind, self.ref = kind, ref


class MethodNotAllowed(PilviError):
    """The path exists, the verb does not."""

    message = "The method is not allowed for this resource."

    def __init__(self, message: str | None = None, *, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allowed = allowed


class NotAcceptable(PilviError):
    """A microversion, or a form of answer, that this service does not speak."""


class Conflict(PilviError):
    """The thing is in a state in which this cannot be done, or would clash with another."""

    message = "The request conflicts with the current state of the resource."


class Gone(PilviError):
    """The thing was here and is not any more."""


class PreconditionFailed(PilviError):
    """A condition of the request does not hold."""


class TooLarge(PilviError):
    """The body is larger than this service accepts."""

    message = "The request is too large."


class UnsupportedMedia(PilviError):
    """The body is of a kind that this route does not take."""

    message = "The media type of the request is not supported."


class RangeNotSatisfiable(PilviError):
    """The byte range lies outside the data."""


class QuotaExceeded(PilviError):
    """The project has used up what it was given; each dialect has its own status for this."""

    def __init__(self, message: str | None = None, *, resource: str = "", limit: int = 0, used: int = 0, asked: int = 0) -> None:
        if message is None:
            message = f"Quota exceeded for {resource}: requested {asked}, but already used {used} of {limit} {resource}."
        super().__init__(message)
        self.resource, self.limit, self.used, self.asked = resource, limit, used, asked


class TooManyRequests(PilviError):
    """The caller must slow down."""

    def __init__(self, message: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(message or "Too many requests; try again later.")
        self.retry_after = retry_after


class NotSupported(PilviError):
    """A valid request for something that this deployment does not offer."""

    message = "This is not supported by this deployment."


# -- what the cloud could not do -------------------------------------------------------------------


class Unavailable(PilviError):
    """A part of the cloud that this needs does not answer."""

    message = "The service is temporarily unavailable."


class HostError(PilviError):
    """A host could not do what a workflow asked of it; the sentence says what an operator can do.

    `elsewhere` tells that another host may succeed where this one failed.
    """

    message = "The host failed."

    def __init__(self, message: str | None = None, *, elsewhere: bool = True) -> None:
        super().__init__(message)
        self.elsewhere = elsewhere


class NoValidHost(PilviError):
    """No host fits; the message explains host by host."""

    message = "No valid host was found."
