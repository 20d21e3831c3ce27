"""Files that a run may replace or remove: those in its own folder that the run itself wrote."""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, NamedTuple


class RunFiles(NamedTuple):
    """Where a run's checkpoints lie, and what it was given to read.

    Attributes:
        folder (Path): Of the checkpoints.
        template (str): Of their names, ``epoch_{}.pth``.
        resumed (Path, optional): The checkpoint that the run goes on from.
        named (Path, optional): The file that the run was told to read, whether to resume or to
            start from; never replaced or removed.
    """

    folder: Path
    template: str
    resumed: Path | None = None
    named: Path | None = None

    @property
    def goes_on(self) -> bool:
        """Whether the run continues one of this folder, which may have been moved or copied."""
        return self.resumed is not None and same_place(self.resumed.parent, self.folder)

    def is_named(self, path: str | Path) -> bool:
        """Whether a path is the file that the run was told to read."""
        return self.named is not None and same_place(path, self.named)

    def has_name_of_checkpoint(self, path: str | Path) -> bool:
        """Whether a run gives its checkpoints such names."""
        pattern = self.template.format('*')
        return any(Path(path).match(name) for name in (pattern, f'best_*_{pattern}'))

    def could_replace(self, path: Path) -> bool:
        """Whether a run may write its checkpoints over a path."""
        return same_place(path.parent, self.folder) and self.has_name_of_checkpoint(path)

    def checkpoints(self) -> list[Path]:
        """Checkpoints in the folder, of whichever run."""
        if not self.folder.is_dir():
            return []
        return sorted(filter(self.has_name_of_checkpoint, self.folder.iterdir()))

    def own(self, recorded: Any) -> Path | None:
        """The file of this run that a path in its state means.

        A path may be of the place from which the folder was moved or copied. What a run of another
        folder wrote is not this run's, nor is a file of the same name that lies here.

        Args:
            recorded (Any): A path, as the message hub of a checkpoint has it.

        Returns:
            Path | None: None where there is no such file, or it is not to be touched.
        """
        path = Path(str(recorded))
        here = self.folder / path.name
        is_own = self.goes_on or same_place(path.parent, self.folder)
        return here if is_own and here.is_file() and not self.is_named(here) else None

    def own_steps(self, steps: list[int]) -> list[int]:
        """Those of the kept steps of which this run has a checkpoint here."""
        return [step for step in steps if self.own(self.folder / self.template.format(step))]


def same_place(first: str | Path, second: str | Path) -> bool:
    """Whether two paths lead to one place, through links or not."""
    return Path(first).resolve() == Path(second).resolve()


def take_over(info: MutableMapping[str, Any], files: RunFiles) -> list[str]:
    """Make the paths in the state of a run those of its own folder, and forget all others.

    Best scores stay: a run that goes on elsewhere keeps a checkpoint as best only if it is better.

    Args:
        info (MutableMapping): ``runtime_info`` of the message hub; changed in place.
        files (RunFiles): Of this run.

    Returns:
        list[str]: A sentence on every best checkpoint that is left alone.
    """
    notes = []
    for entry in [name for name in info if name.startswith(('best_ckpt', 'last_ckpt'))]:
        here = files.own(info[entry])
        if here is not None:
            info[entry] = str(here)
            continue
        path = info.pop(entry)
        score = info.get(entry.replace('best_ckpt', 'best_score'))
        if entry.startswith('best_ckpt') and score is not None:
            notes.append(
                f'The best score so far, {score:.4f} of {path}, stays the one to exceed; that file '
                f'is not one of {files.folder} and stays as it is.'
            )
    if 'keep_ckpt_ids' in info:
        info['keep_ckpt_ids'] = files.own_steps(
            list(info['keep_ckpt_ids']) if files.goes_on else []
        )
    return notes
