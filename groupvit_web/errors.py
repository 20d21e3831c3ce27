"""The errors that a visitor of the page reads."""


class PageError(ValueError):
    """A request that cannot be answered; its message is the sentence that the page shows."""


class RequestCancelled(PageError):
    """The visitor has left, or has asked for something else."""
