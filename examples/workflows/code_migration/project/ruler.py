"""Text that is put into its place; widths are known only when it is."""

CELL = "%*s"
PART = "%s=%r"


def cell(text, width):
    return CELL % (width, text)


def parts(values):
    return "; ".join(PART % pair for pair in sorted(values.items()))
