"""Says which folders have to be watched so that no change of a tree goes by.

- The tree's folder and the folders in it, down to its depth, through symlinks too, but hidden ones.
- The folder above it, for the one name that leads to the tree, so that the tree may be removed,
  made again or renamed. If that is missing as well, the nearest one that is there.
- The same for each symlink on the way: of `models -> current -> v2` both names may be turned.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LINKS_MAX = 40


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder to watch, and how many levels of folders in it."""

    folder: Path
    depth: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder under its real path; another one of that path, or with other rights, is another."""

    path: Path
    device: int
    inode: int
    mode: int


@dataclass(frozen=True, slots=True)
class Interest:
    """Why a folder is watched: for a tree, and of that only for one name in it if there is one."""

    tree: Tree
    name: str | None


def find_folders(trees: Sequence[Tree]) -> dict[Folder, set[Interest]]:
    """The folders that have to be watched now, and why. Looks at the disk."""
    interests: dict[Folder, set[Interest]] = {}
    for tree in trees:
        wanted = [(path, Interest(tree, None)) for path in _levels(tree.folder, tree.depth)]
        wanted += [_anchor(path, tree) for path in _links(tree.folder)]
        for path, interest in wanted:
            # What vanishes meanwhile was changed, and is looked for again.
            with suppress(OSError):
                real = path.resolve(strict=True)
                found = real.stat()
                folder = Folder(real, found.st_dev, found.st_ino, found.st_mode)
                interests.setdefault(folder, set()).add(interest)
    return interests


def _levels(path: Path, depth: int) -> Iterator[Path]:
    if not _is_folder(path):
        return
    yield path
    if depth:
        with suppress(OSError):
            for child in path.iterdir():
                if not child.name.startswith("."):
                    yield from _levels(child, depth - 1)


def _links(path: Path) -> Iterator[Path]:
    """A path, and while it is a symlink where that leads."""
    for _ in range(LINKS_MAX):
        yield path
        try:
            path = path.parent / path.readlink()
        except OSError:
            return


def _anchor(path: Path, tree: Tree) -> tuple[Path, Interest]:
    """The nearest folder there is above a path, and the name in it that leads to the path."""
    parent, name = path.parent, path.name
    while not _is_folder(parent):
        parent, name = parent.parent, parent.name
    return parent, Interest(tree, name)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
