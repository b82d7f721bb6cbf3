"""Which folders are watched for a tree, and for which name in them."""

from pathlib import Path

from rkllmd.watch.folders import Tree, find_folders


def found(root: Path, *trees: Tree) -> dict[str, set[str | None]]:
    """The names that count in each folder, below the root."""
    return {
        str(folder.path.relative_to(root)): {interest.name for interest in interests}
        for folder, interests in find_folders(trees).items()
    }


def test_a_tree_is_watched_to_its_depth_but_for_hidden_folders(tmp_path: Path) -> None:
    for folder in ["models/m/deeper", "models/n", "models/.git"]:
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "models" / "file").write_text("x")
    assert found(tmp_path, Tree(tmp_path / "models", 1)) == {
        ".": {"models"},
        "models": {None},
        "models/m": {None},
        "models/n": {None},
    }


def test_of_a_missing_folder_the_nearest_one_above_is_watched(tmp_path: Path) -> None:
    assert found(tmp_path, Tree(tmp_path / "a" / "b" / "c", 1)) == {".": {"a"}}
    (tmp_path / "a").mkdir()
    assert found(tmp_path, Tree(tmp_path / "a" / "b" / "c", 1)) == {"a": {"b"}}


def test_every_link_of_a_chain_is_watched(tmp_path: Path) -> None:
    (tmp_path / "versions" / "v1" / "m").mkdir(parents=True)
    (tmp_path / "links").mkdir()
    (tmp_path / "models").symlink_to("links/current")
    (tmp_path / "links" / "current").symlink_to("../versions/v1")
    assert found(tmp_path, Tree(tmp_path / "models", 1)) == {
        ".": {"models"},
        "links": {"current"},
        "versions": {"v1"},
        "versions/v1": {None},
        "versions/v1/m": {None},
    }


def test_a_circle_of_links_is_watched_where_it_can_be_broken(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert found(tmp_path, Tree(tmp_path / "a", 1)) == {".": {"a", "b"}}


def test_two_trees_share_a_folder(tmp_path: Path) -> None:
    trees = [Tree(tmp_path / "models", 0), Tree(tmp_path / "config", 0)]
    assert found(tmp_path, *trees) == {".": {"models", "config"}}


def test_a_folder_that_is_made_again_or_opened_up_is_another(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "models", 0)
    tree.folder.mkdir(mode=0o700)
    before = find_folders([tree]).keys()
    assert find_folders([tree]).keys() == before
    tree.folder.chmod(0o755)
    assert find_folders([tree]).keys() != before
