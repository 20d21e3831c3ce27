"""Files that a run may replace or remove: those that it wrote itself, in its own folder."""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, NamedTuple


class RunFiles(NamedTuple):
    """Folder and names of a run's checkpoints, and the files that it reads.

    Attributes:
        folder (Path): Folder of the checkpoints.
        template (str): Template of their names, such as ``epoch_{}.pth``.
        resume_file (Path, optional): Checkpoint from which the run resumes.
        user_file (Path, optional): File that the user named, to resume from or to start from;
            never replaced or removed.
    """

    folder: Path
    template: str
    resume_file: Path | None = None
    user_file: Path | None = None

    @property
    def continues_here(self) -> bool:
        """Whether the run resumes a run of this folder, which may have been moved or copied."""
        return self.resume_file is not None and same_path(self.resume_file.parent, self.folder)

    def is_user_file(self, path: str | Path) -> bool:
        """Return whether a path is the file that the user named."""
        return self.user_file is not None and same_path(path, self.user_file)

    def has_name_of_checkpoint(self, path: str | Path) -> bool:
        """Return whether a path has the name of one of the run's checkpoints."""
        pattern = self.template.format('*')
        return any(Path(path).match(name) for name in (pattern, f'best_*_{pattern}'))

    def could_replace(self, path: Path) -> bool:
        """Return whether the run may write a checkpoint over a path."""
        return same_path(path.parent, self.folder) and self.has_name_of_checkpoint(path)

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints in the folder, of any run."""
        if not self.folder.is_dir():
            return []
        return sorted(filter(self.has_name_of_checkpoint, self.folder.iterdir()))

    def own_file(self, recorded: str | Path) -> Path | None:
        """Return the file of this run that a path in its state refers to.

        The path may be in the folder from which this one was moved or copied. Files that a run of
        another folder wrote do not belong to this run, nor do files of the same name in this
        folder.

        Args:
            recorded (str | Path): A path in the message hub of a checkpoint.

        Returns:
            Path | None: None if there is no such file, or the user named it.
        """
        path = Path(str(recorded))
        here = self.folder / path.name
        is_own = self.continues_here or same_path(path.parent, self.folder)
        return here if is_own and here.is_file() and not self.is_user_file(here) else None

    def own_steps(self, steps: list[int]) -> list[int]:
        """Return those steps of which this run has a checkpoint in the folder."""
        return [step for step in steps if self.own_file(self.folder / self.template.format(step))]


def same_path(first: str | Path, second: str | Path) -> bool:
    """Return whether two paths are the same once links are resolved."""
    return Path(first).resolve() == Path(second).resolve()


def rebase_paths(info: MutableMapping[str, Any], files: RunFiles) -> list[str]:
    """Replace paths in a run's state by those of its own folder and drop all others.

    Best scores are kept: a run that resumes in another folder saves a best checkpoint only if it
    exceeds them.

    Args:
        info (MutableMapping): ``runtime_info`` of the message hub, which holds values of any type;
            changed in place.
        files (RunFiles): Files of this run.

    Returns:
        list[str]: A note about every best checkpoint that does not belong to the run.
    """
    notes = []
    for entry in [name for name in info if name.startswith(('best_ckpt', 'last_ckpt'))]:
        own_file = files.own_file(info[entry])
        if own_file is not None:
            info[entry] = str(own_file)
            continue
        path = info.pop(entry)
        score = info.get(entry.replace('best_ckpt', 'best_score'))
        if entry.startswith('best_ckpt') and score is not None:
            notes.append(
                f'The best score so far, {score:.4f} of {path}, remains the one to exceed; that '
                f'file is not a checkpoint of this run in {files.folder} and is kept.'
            )
    if 'keep_ckpt_ids' in info:
        steps = list(info['keep_ckpt_ids']) if files.continues_here else []
        info['keep_ckpt_ids'] = files.own_steps(steps)
    return notes
