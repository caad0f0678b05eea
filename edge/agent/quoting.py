"""Text from outside, fit for a log: one line, of bounded length, without control characters."""


def quoted(text: object, most: int = 200) -> str:
    """A text as it may stand in an error.

    Args:
        text: Whatever came.
        most: Characters that are kept.
    """
    return "".join(letter if letter.isprintable() else "?" for letter in str(text)[:most])
