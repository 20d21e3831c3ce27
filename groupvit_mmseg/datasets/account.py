"""The account of a conversion: numbers of things read, kept and dropped, with reasons."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TypedDict

EXAMPLES, LONGEST_LOCATION = 3, 120


@dataclass
class Tally:
    """Count of one reason, with the first locations.

    Attributes:
        count (int): Number of things.
        locations (list[str]): The first of them, such as ``pairs.csv, line 3``.
    """

    count: int = 0
    locations: list[str] = field(default_factory=list)

    def add(self, location: str, count: int = 1) -> None:
        """Add to the count; only the first locations are stored."""
        self.count += count
        if location and len(self.locations) < EXAMPLES:
            self.locations.append(shortened(location))


class AccountRecord(TypedDict):
    """An account as JSON: its numbers, and count and locations by reason."""

    read: int
    kept: int
    drops: dict[str, tuple[int, list[str]]]
    notes: dict[str, tuple[int, list[str]]]


class Account:
    """Numbers of things read, kept and dropped; each dropped thing has a reason and a location.

    Args:
        things (str): Name of the things that are counted, such as ``'rows'``.

    Attributes:
        num_read (int): Things that were read.
        num_kept (int): Those that are used.
        drops (dict[str, Tally]): Those that are not, by reason.
        notes (dict[str, Tally]): Those that are used but have a remark, by remark.
    """

    def __init__(self, things: str) -> None:
        self.things = things
        self.num_read = 0
        self.num_kept = 0
        self.drops: dict[str, Tally] = defaultdict(Tally)
        self.notes: dict[str, Tally] = defaultdict(Tally)

    def drop(self, reason: str, location: str, count: int = 1) -> None:
        """Count something that is not used."""
        self.drops[reason].add(location, count)

    def note(self, remark: str, location: str = '', count: int = 1) -> None:
        """Count something that is used and has a remark."""
        self.notes[remark].add(location, count)

    @property
    def num_dropped(self) -> int:
        """Number of things that are not used."""
        return sum(tally.count for tally in self.drops.values())

    def record(self) -> AccountRecord:
        """Return the account as JSON has it."""
        drops, notes = (
            {reason: (tally.count, tally.locations) for reason, tally in tallies.items()}
            for tallies in (self.drops, self.notes)
        )
        return {'read': self.num_read, 'kept': self.num_kept, 'drops': drops, 'notes': notes}

    def add(self, record: AccountRecord) -> None:
        """Add the account of further things of the same kind."""
        self.num_read += record['read']
        self.num_kept += record['kept']
        for tallies, added in ((self.drops, record['drops']), (self.notes, record['notes'])):
            for reason, (count, locations) in added.items():
                tally = tallies[reason]
                tally.count += count
                tally.locations += locations[: EXAMPLES - len(tally.locations)]

    def lines(self) -> list[str]:
        """Describe the account: totals, then every reason and remark with the first locations."""
        first = (
            f'{self.things}: {self.num_read:,} read, {self.num_kept:,} kept, '
            f'{self.num_dropped:,} dropped'
        )
        drops = (f'    {tally.count:,}: {_describe(r, tally)}' for r, tally in self.drops.items())
        notes = (
            f'    note: {tally.count:,} {_describe(r, tally)}' for r, tally in self.notes.items()
        )
        return [first, *drops, *notes]


def shortened(text: str) -> str:
    """Shorten a location so that it fits a line."""
    text = text.encode('utf-8', 'backslashreplace').decode().replace('\n', ' ')
    return text if len(text) <= LONGEST_LOCATION else f'{text[: LONGEST_LOCATION - 4]} ...'


def _describe(reason: str, tally: Tally) -> str:
    """Join a reason and its first locations."""
    return f'{reason} ({"; ".join(tally.locations)})' if tally.locations else reason
