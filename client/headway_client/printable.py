"""Text from elsewhere, such as labels and file names, as it may be shown on a terminal."""


def printable(text: str) -> str:
    """The text with every character escaped that a terminal would obey instead of showing it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
