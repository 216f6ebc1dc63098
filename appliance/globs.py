r"""The glob grammar of PFS: patterns over paths, with capture groups. Pure.

    /                     the root alone
    *   ?                 any characters, one character; never a slash
    **                    any characters, slashes too
    [a-z] [!a] [^a]       a class, also [[:digit:]]; never a slash
    {a,b}                 alternatives
    (a|b)  @(a|b)         one of them, captured
    ?(a) *(a) +(a) !(a)   none or one, any number, at least one, anything but; captured
    \x                    x itself

Rules are those of the library Pachyderm compiles globs with (`pachyderm/ohmyglob`), but a class never matches a slash, so
that the depth of a match is known, and a bracket left open is an error. A pattern becomes one regular expression, which could
take exponential time; `_Parser.repeat` and `_render` close the ways into that which people write. A long row of `?(a)` or of
captured stars is still slow.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile

from appliance.errors import InvalidRequest
from appliance.names import clean_path

_PATTERN_BYTES = 1024
_NESTING = 32

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}

# Stand in a regular expression until the whole pattern is known (`_settle_negations`). A pattern holds no NUL.
_NEGATION_END = "\0!"
_BOUNDARY = "\0|"


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled pattern. `literal_prefix` begins every matching path; `depth` is the number of segments each of them has,
    None where they differ. The root has none."""

    pattern: str
    literal_prefix: str
    depth: int | None
    _regex: re.Pattern[str]

    def match(self, path: str) -> tuple[str, ...] | None:
        """Return what the capture groups took, `""` for one that took no part; None if `path` does not match.

        `path` is clean: `/a/b`, a directory without trailing slash, `/` for the root.
        """
        found = self._regex.fullmatch("" if path == "/" else path)
        return found.groups("") if found else None


def compile_glob(pattern: str) -> Glob:
    """Compile a pattern; a missing leading slash is added, a trailing one dropped.

    Raises InvalidRequest for one that is longer than 1 KiB or breaks the grammar.
    """
    _check_text(pattern)
    cleaned = clean_path(pattern)
    pieces = _Parser(cleaned).parse() if cleaned != "/" else []
    regex = re.compile(_settle_negations(_render(pieces)), re.DOTALL)
    return Glob(cleaned, _literal_prefix(pieces), _count_slashes(pieces), regex)


def escape_glob(path: str) -> str:
    """Return the pattern that matches `path` alone."""
    return re.sub(r"[*?\\\[\]{}()@+^!]", r"\\\g<0>", path)


def expand_groups(template: str, captures: Sequence[str], *, whole: str = "") -> str:
    """Replace `$1` or `${1}` by a capture and `$0` by `whole`; `$$` is a dollar sign, a group that is not there is empty."""
    if "$" not in template:  # as nearly always, and for every file
        return template

    def value(found: re.Match[str]) -> str:
        if found.group() == "$$":
            return "$"
        number = int(found[1] or found[2])
        return ((whole, *captures)[number : number + 1] or ("",))[0]

    return re.sub(r"\$(?:\$|([0-9]{1,9})|\{([0-9]{1,9})\})", value, template)


def _check_text(pattern: str) -> None:
    if len(pattern.encode(errors="surrogatepass")) > _PATTERN_BYTES:
        raise InvalidRequest(f"glob {pattern[:40]}… invalid: longer than {_PATTERN_BYTES} bytes")
    if "\0" in pattern:
        raise InvalidRequest(f"glob {pattern!a} invalid: NUL is not allowed")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Part of a pattern.

    `slashes` and `width` count slashes and characters in what it matches, None where that varies. `single` is for one
    character, `literal` for one that stands for itself; `wild` is what `*` or `**` repeats.
    """

    regex: str
    slashes: int | None = 0
    width: int | None = None
    literal: str = ""
    single: bool = False
    wild: str = ""


_STAR = _Piece(f"[^/]*{_BOUNDARY}", wild="[^/]")
_SUPER = _Piece(f".*{_BOUNDARY}", slashes=None, wild=".")
_SINGLE = _Piece("[^/]", width=1, single=True)


def _text(char: str) -> _Piece:
    return _Piece(re.escape(char) + _BOUNDARY, slashes=int(char == "/"), width=1, literal=char, single=True)


class _Parser:
    """Reads one pattern from left to right; `at` is the character that comes next."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.nesting = 0

    def parse(self) -> list[_Piece]:
        return self.sequence("")

    def sequence(self, stops: str) -> list[_Piece]:
        """Read up to one of `stops`, or to the end."""
        pieces: list[_Piece] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in stops:
            piece = self.piece()
            if piece.wild and pieces and pieces[-1].wild:
                # Two stars in a row match what the wider one matches, in many more ways.
                piece = max(pieces.pop(), piece, key=lambda star: star is _SUPER)
            pieces.append(piece)
        return pieces

    def piece(self) -> _Piece:
        char, ahead = self.take(), self.pattern[self.at : self.at + 2]
        if char == "(":
            return self.group("@")
        if char in "@?*+!^" and ahead[:1] == "(":
            self.take()
            return self.group(char)
        if char == "*":
            return self.star(ahead)
        match char:
            case "?":
                return _SINGLE
            case "[":
                return self.character_class()
            case "{":
                return _alternatives(self.alternatives(",", "}"), capture=False)
            case "\\":
                return _text(self.take())
        return _text(char)

    def star(self, ahead: str) -> _Piece:
        # `**(a)` is `*` and `*(a)`.
        if ahead[:1] != "*" or ahead == "*(":
            return _STAR
        self.take()
        return _SUPER

    def group(self, quantifier: str) -> _Piece:
        choices = self.alternatives("|", ")")
        match quantifier:
            case "@":
                return _alternatives(choices, capture=True)
            case "?":
                inner = _alternatives(choices, capture=False)
                return _Piece(f"({inner.regex}?)", slashes=_none_unless_zero(inner.slashes))
            case "!":
                inner = _alternatives(choices, capture=False)
                return _Piece(f"((?!{inner.regex}{_NEGATION_END})[^/]*)")
            case "^":
                raise self.invalid("`^(` is no group, `!(` is")
        return self.repeat(choices, quantifier)

    def repeat(self, choices: list[list[_Piece]], quantifier: str) -> _Piece:
        """Refuse a repetition in which a text could be divided in many ways, all of which would be tried in vain.

        What remains has alternatives of one length, of which none ever needs to be taken back, or the next character alone
        says which one it is.
        """
        widths = {_sum(piece.width for piece in choice) for choice in choices}
        if None in widths:
            raise self.invalid("a repeated group holds plain characters, `?` and classes only")
        if len(widths) > 1 and any(_begin_alike(one, other) for one, other in combinations(choices, 2)):
            raise self.invalid("alternatives of different length in a repeated group must begin differently")
        inner = _alternatives(choices, capture=False)
        body = f"(?>{inner.regex})" if len(widths) == 1 else inner.regex
        return _Piece(f"({body}{quantifier})", slashes=_none_unless_zero(inner.slashes))

    def alternatives(self, separator: str, close: str) -> list[list[_Piece]]:
        """Read what stands between an opening that was taken and `close`."""
        self.nesting += 1
        if self.nesting > _NESTING:
            raise self.invalid(f"groups are nested more than {_NESTING} deep")
        choices = [self.sequence(separator + close)]
        while self.take(f"`{close}` is missing") == separator:
            choices.append(self.sequence(separator + close))
        self.nesting -= 1
        return choices

    def character_class(self) -> _Piece:
        negation = "^" if self.pattern[self.at : self.at + 1] in ("!", "^") else ""
        self.at += len(negation)
        items: list[str] = []
        while self.pattern[self.at : self.at + 1] != "]":
            items.append(self.class_item())
        self.take()
        if not items:
            raise self.invalid("a class is empty")
        return _Piece(f"(?!/)[{negation}{''.join(items)}]", width=1, single=True)

    def class_item(self) -> str:
        if found := re.compile(r"\[:(\w+):\]").match(self.pattern, self.at):
            self.at = found.end()
            if found[1] not in _POSIX:
                raise self.invalid(f"there is no class [:{found[1]}:]")
            return _POSIX[found[1]]
        low = self.class_character()
        following = self.pattern[self.at : self.at + 2]
        if following[:1] != "-" or following == "-]":
            return re.escape(low)
        self.take()
        high = self.class_character()
        if high < low:
            raise self.invalid(f"the range {low}-{high} is empty")
        return f"{re.escape(low)}-{re.escape(high)}"

    def class_character(self) -> str:
        char = self.take("`]` is missing")
        return self.take() if char == "\\" else char

    def take(self, problem: str = "nothing follows the last `\\`") -> str:
        if self.at >= len(self.pattern):
            raise self.invalid(problem)
        self.at += 1
        return self.pattern[self.at - 1]

    def invalid(self, problem: str) -> InvalidRequest:
        return InvalidRequest(f"glob {self.pattern} invalid: {problem}")


def _alternatives(choices: list[list[_Piece]], *, capture: bool) -> _Piece:
    regex = "|".join(_render(choice) for choice in choices)
    return _Piece(
        f"({regex})" if capture else f"(?:{regex})",
        slashes=_common([_count_slashes(choice) for choice in choices]),
        width=_common([_sum(piece.width for piece in choice) for choice in choices]),
    )


def _begin_alike(one: list[_Piece], other: list[_Piece]) -> bool:
    """Whether one character can begin both; true where that is not plain to see."""
    if not one or not other or not (one[0].single and other[0].single):
        return True
    if one[0].literal and other[0].literal:
        return one[0].literal == other[0].literal
    plain, wider = (one[0], other[0]) if one[0].literal else (other[0], one[0])
    return not plain.literal or re.fullmatch(wider.regex, plain.literal) is not None


def _render(pieces: list[_Piece]) -> str:
    """Return the regular expression of pieces in a row.

    In `*ab*`, the first `ab` is as good as any later one, because the second star takes whatever follows. Saying so (an
    atomic group) keeps a row of stars from trying every division of the text among them.
    """
    parts: list[str] = []
    at = 0
    while at < len(pieces):
        end = _next_wild(pieces, at) if pieces[at].wild else None
        if end is None:
            parts.append(pieces[at].regex)
            at += 1
        else:
            between = "".join(piece.regex for piece in pieces[at + 1 : end])
            parts.append(f"(?>{pieces[at].wild}*?{between})")
            at = end
    return "".join(parts)


def _next_wild(pieces: list[_Piece], start: int) -> int | None:
    """Return where the next star stands, if it matches all that the one at `start` does and only single characters that
    this one may skip stand between."""
    for at in range(start + 1, len(pieces)):
        piece = pieces[at]
        if piece.wild:
            return at if pieces[start] is _STAR or piece is _SUPER else None
        if not piece.single or (piece.literal == "/" and pieces[start] is _STAR):
            return None
    return None


def _settle_negations(regex: str) -> str:
    """Decide what ends the text that a negation looks at: the end of the path if only negations, `?` and classes follow,
    else anything, so that `!(a)*` is "does not begin with a". This is ohmyglob's rule, not that of a shell."""
    first = regex.find(_NEGATION_END)
    bounded = first >= 0 and _BOUNDARY in regex[first:]
    return regex.replace(_NEGATION_END, "" if bounded else r"\Z").replace(_BOUNDARY, "")


def _literal_prefix(pieces: list[_Piece]) -> str:
    return "".join(piece.literal for piece in takewhile(lambda piece: piece.literal, pieces)) or "/"


def _count_slashes(pieces: list[_Piece]) -> int | None:
    return _sum(piece.slashes for piece in pieces)


def _sum(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _common(counts: list[int | None]) -> int | None:
    return counts[0] if len(set(counts)) == 1 else None


def _none_unless_zero(count: int | None) -> int | None:
    return 0 if count == 0 else None
