"""Imported by matplotlib in the image (see bake.py): plots find their glyphs, whatever they ask for.

What a font lacks is taken from the fonts of FALLBACK. What even these lack, or a font that is not there, is told once,
and not at each of a plot's texts.
"""

import logging
import unicodedata

from matplotlib import _text_helpers

FALLBACK = ("DejaVu Sans", "WenQuanYi Micro Hei", "Symbola")


def extend(font_manager):
    manager = font_manager.FontManager
    manager._find_fonts_by_props = with_fallback(manager._find_fonts_by_props, font_manager.FontProperties)
    _text_helpers.warn_on_missing_glyph = once(_text_helpers.warn_on_missing_glyph)
    logging.getLogger(font_manager.__name__).addFilter(FirstOfEach())


def extend_math(mathtext):
    """A text with two dollar signs, a price list's too, is mathtext as a whole, which looks in its own fonts only."""
    fonts = mathtext.UnicodeFonts
    fonts._get_glyph = with_wide_glyphs(fonts._get_glyph, mathtext.findfont, mathtext.get_font)
    logging.getLogger("matplotlib.mathtext").addFilter(FirstOfEach())


def with_wide_glyphs(get_glyph, findfont, get_font):
    def _get_glyph(self, fontname, font_class, sym):
        if len(sym) == 1 and unicodedata.east_asian_width(sym) in "WF":  # Chinese, Japanese, Korean, emoji
            for family in FALLBACK:
                font = get_font(findfont(family))
                if font.get_char_index(ord(sym)):
                    return font, ord(sym), False
        return get_glyph(self, fontname, font_class, sym)

    return _get_glyph


def with_fallback(find, properties):
    """matplotlib itself falls back among the families that are asked for, and only where `font.family` lists them."""

    def _find_fonts_by_props(self, prop, fontext="ttf", *arguments, **options):
        found = find(self, prop, fontext, *arguments, **options)
        for family in FALLBACK if fontext == "ttf" else ():
            more = properties._from_any(prop).copy()
            more.set_file(None)
            more.set_family(family)
            if family != "DejaVu Sans":  # there is but one of the others, and matplotlib tells of each that is missing
                more.set_weight("normal")
            try:
                path = self.findfont(more, fontext, fallback_to_default=False)
            except ValueError:  # on a base of the user's, without it
                continue
            if path not in found:
                found.append(path)
        return found

    return _find_fonts_by_props


def once(warn):
    warned = set()

    def warn_on_missing_glyph(codepoint, fontnames):
        if codepoint >> 8 not in warned:  # one of a script is enough
            warned.add(codepoint >> 8)
            warn(codepoint, fontnames)

    return warn_on_missing_glyph


class FirstOfEach(logging.Filter):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def filter(self, record):
        text = record.getMessage()
        return text not in self.seen and not self.seen.add(text)
