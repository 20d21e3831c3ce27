"""The account of a conversion: how much was read, kept and dropped, and why."""

from collections import defaultdict
from dataclasses import dataclass, field

EXAMPLES, LONGEST_PLACE = 3, 120


@dataclass
class Tally:
    """One reason: how often it came up, and the first places.

    Attributes:
        count (int): How often.
        places (list[str]): The first of them, such as ``pairs.csv, line 3``.
    """

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: str, count: int = 1) -> None:
        """Count once more; the first places are kept."""
        self.count += count
        if place and len(self.places) < EXAMPLES:
            self.places.append(shortened(place))


class Account:
    """Counts of what was read, kept and dropped; every dropped thing has a reason and a place.

    Args:
        things (str): What is counted, such as ``'rows'``.
    """

    def __init__(self, things: str) -> None:
        self.things = things
        self.read = 0
        self.kept = 0
        self.dropped: dict[str, Tally] = defaultdict(Tally)
        self.notes: dict[str, Tally] = defaultdict(Tally)

    def drop(self, reason: str, place: str, count: int = 1) -> None:
        """Count something that is not used."""
        self.dropped[reason].add(place, count)

    def note(self, remark: str, place: str = '', count: int = 1) -> None:
        """Count something that is used, and worth a remark."""
        self.notes[remark].add(place, count)

    @property
    def num_dropped(self) -> int:
        """All that is not used."""
        return sum(tally.count for tally in self.dropped.values())

    def lines(self) -> list[str]:
        """Describe the account: totals, then every reason and remark with the first places."""
        first = (
            f'{self.things}: {self.read:,} read, {self.kept:,} kept, {self.num_dropped:,} dropped'
        )
        dropped = (
            f'    {tally.count:,}: {_with_places(r, tally)}' for r, tally in self.dropped.items()
        )
        notes = (
            f'    note: {tally.count:,} {_with_places(r, tally)}' for r, tally in self.notes.items()
        )
        return [first, *dropped, *notes]


def shortened(text: str) -> str:
    """A place that fits a line."""
    text = text.encode('utf-8', 'backslashreplace').decode().replace('\n', ' ')
    return text if len(text) <= LONGEST_PLACE else f'{text[: LONGEST_PLACE - 4]} ...'


def _with_places(reason: str, tally: Tally) -> str:
    """A reason with its first places."""
    return f'{reason} ({"; ".join(tally.places)})' if tally.places else reason
