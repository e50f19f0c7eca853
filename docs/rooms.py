"""Show the rooms of the package: as a tree for a page, and as a picture of their imports.

The order of floors is that of the test which holds it. ``make docs`` draws the picture;
``python docs/rooms.py`` writes the tree into ``architecture.md`` after a room has changed.
"""

import ast
import re
import runpy
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

HERE = Path(__file__).parent
PAGE = HERE / "architecture.md"
PICTURE = HERE / "rooms.svg"
HOUSE = runpy.run_path(str(HERE.parent / "tests/repository/test_architecture.py"))
FLOORS, WORDS, FACES = HOUSE["FLOORS"], HOUSE["WORDS"], HOUSE["FACES"]
TREE = re.compile(r"(?<=```text\nbalans_dask/\n).*?(?=```)", flags=re.DOTALL)
WIDTH = 88
COLOURS = matplotlib.colormaps["tab10"].colors
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "balans_dask", "font.size": 11}
LANE, BAR, FLOOR = 0.22, 0.5, 0.72
"""Inches: from arrow to arrow, height of a room, from floor to floor."""
NAME, SHORT = 2.6, 0.9
"""Inches before the first arrow: at the left, and in the second room of a floor."""


def first_line(path: Path) -> str:
    """Read what a module, or the folder of a room, says that it holds."""
    module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(module.read_text())) or ""
    return text.splitlines()[0].replace("``", "`")


def tree() -> str:
    """Lay out rooms and root modules in lines, the highest floor first."""
    lines = []
    for floor in reversed(FLOORS):
        for name in sorted(floor):
            path = HOUSE["PACKAGE"] / name
            inner = sorted(p.parent for p in path.rglob("*/__init__.py") if p.parent != path)
            for place in (path, *inner):
                depth = len(place.relative_to(path).parts)
                label = f"{'  ' * (depth + 1)}{place.name}{'/' * place.is_dir()}"
                text = textwrap.wrap(first_line(place), WIDTH - 17)
                lines += [f"{label:17}{text[0]}", *(f"{'':17}{more}" for more in text[1:])]
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def box(room: str) -> str:
    """Name the box of a room: words and public faces are drawn as one each."""
    if room in WORDS:
        return "words"
    return "public faces" if room in FACES else "cli" if room == "__main__" else room


def imports() -> Counter[tuple[str, str]]:
    """Count the files of a box that import something of another one."""
    return Counter(
        (above, below)
        for path in HOUSE["MODULES"]
        for above in [box(HOUSE["room"](path))]
        for below in map(box, HOUSE["rooms_of"](path))
        if above != below
    )


def lanes(arrows: Iterable[tuple[str, str]], second: set[str]) -> tuple[dict, float]:
    """Give every arrow its place from left to right; those of second rooms stand at the right."""
    at, x = {}, NAME
    ordered = sorted(arrows, key=lambda arrow: (-floor_of(arrow[0]), -floor_of(arrow[1])))
    for arrow in (arrow for arrow in ordered if not second & set(arrow)):
        at[arrow] = x
        x += LANE
    edge, x = x, x + SHORT
    for arrow in (arrow for arrow in ordered if second & set(arrow)):
        at[arrow] = x
        x += LANE
    return at, edge


def floor_of(name: str) -> int:
    """Find the floor of a box, 0 for the lowest."""
    return next(n for n, floor in enumerate(FLOORS) if any(box(room) == name for room in floor))


def picture() -> Figure:
    """Draw a bar for every room, by floor, and an arrow down for every import between two."""
    floors = [sorted({box(room) for room in floor}) for floor in FLOORS[:-1]]
    n_files = Counter(box(HOUSE["room"](path)) for path in HOUSE["MODULES"])
    counted = {arrow: n for arrow, n in imports().items() if "words" not in arrow}
    second = {min(floor, key=lambda name: n_files[name]) for floor in floors if len(floor) > 1}
    at, edge = lanes(counted, second)
    right, top = max(at.values()) + LANE, FLOOR * len(floors)
    figure = Figure(figsize=(right, top))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, right), ylim=(BAR - FLOOR, top - FLOOR + BAR))
    axes.axis("off")
    for number, floor in enumerate(floors):
        for name in floor:
            left = edge if name in second else 0.0
            end = edge - LANE if second & set(floor) and name not in second else right
            place, middle = (left, FLOOR * number), FLOOR * number + BAR / 2
            axes.add_patch(
                Rectangle(place, end - left, BAR, color=COLOURS[number], alpha=0.22, lw=0)
            )
            axes.text(left + 0.08, middle, name, weight="bold", va="bottom")
            axes.text(left + 0.08, middle - 0.03, contents(name, n_files[name]), va="top", size=8)
    for (above, below), x in at.items():
        colour, start = COLOURS[floor_of(above)], FLOOR * floor_of(above) + BAR / 2
        end = FLOOR * floor_of(below) + BAR
        head = {"arrowstyle": "-|>", "color": colour, "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x, end), (x, start), arrowprops=head)
        axes.plot([x], [start], "o", color=colour, markersize=4)
        axes.text(x, end - 0.04, counted[above, below], ha="center", va="top", size=9)
    return figure


def contents(name: str, n_files: int) -> str:
    """Say what stands in a box, in a few words."""
    if name == "words":
        return f"{', '.join(sorted(WORDS))}: known to every floor"
    return ", ".join(sorted(FACES)) if name == "public faces" else f"{n_files} files"


def draw(path: Path = PICTURE) -> None:
    """Write the picture."""
    with matplotlib.rc_context(STYLE):
        picture().savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    PAGE.write_text(TREE.sub(lambda _: tree(), PAGE.read_text()))
    draw()
