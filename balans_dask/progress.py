"""The events of a run for people: bars on a terminal and in a notebook, plain lines in a log."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from balans_dask.errors import format_bytes
from balans_dask.events import Event, Events
from balans_dask.passes.stage import EXAMINING, OnStage

__all__ = ["LINE_SECONDS", "Progress", "reported"]

LINE_SECONDS = 30.0
"""Seconds between two lines about one stage: a log of half an hour fits on two screens."""
NOTEBOOK_SECONDS = 0.2
"""Least time between two pictures of the bars in a notebook."""


class Shown(Protocol):
    """One way to show events."""

    def __call__(self, event: Event) -> None:
        """Take the next event."""

    def close(self) -> None:
        """Show how it ended."""


class Progress:
    """A listener that shows events where they are looked at, for use in a ``with`` statement.

    Bars for every stage on a terminal and in Jupyter; elsewhere a line when a stage begins and
    every ``LINE_SECONDS``. Nothing is printed before the input is examined, so that a refusal
    stands alone.

    Parameters
    ----------
    console : Console
    verbose : bool
        Lines for every event, wherever.
    heading : renderable or None
        What to say first.
    """

    def __init__(
        self, console: Console, verbose: bool = False, heading: RenderableType | None = None
    ) -> None:
        self._console = console
        self._heading = heading
        self._shown: Shown
        if verbose or console.quiet or not (console.is_jupyter or console.is_interactive):
            self._shown = _Lines(console, 0.0 if verbose else LINE_SECONDS)
        else:
            self._shown = _NotebookBars() if console.is_jupyter else _TerminalBars(console)

    def __call__(self, event: Event) -> None:
        """Take the next event of a run."""
        if self._heading is not None and event.stage != EXAMINING:
            self._console.print(self._heading)
            self._heading = None
        self._shown(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shown.close()


@contextmanager
def reported(verbose: bool) -> Iterator[OnStage]:
    """Show the progress of a call of the library, if it is asked for."""
    if not verbose:
        yield lambda stage: None
        return
    with Progress(Console(stderr=True, soft_wrap=True)) as progress:
        yield Events(progress)


class _Lines:
    """A line when a stage begins and ends, and one now and then."""

    def __init__(self, console: Console, interval: float) -> None:
        self._console = console
        self._interval = interval
        self._stage = (EXAMINING, 0)
        self._last = 0.0
        self._unsaid: Event | None = None

    def __call__(self, event: Event) -> None:
        changed = (event.stage, event.number) != self._stage
        if changed and self._unsaid is not None and self._stage[0] != EXAMINING:
            self._say(self._unsaid)
        self._unsaid = None if event.done else event
        if not event.done and (changed or event.seconds - self._last >= self._interval):
            self._stage = (event.stage, event.number)
            self._last, self._unsaid = event.seconds, None
            self._say(event)

    def close(self) -> None:
        """Leave the lines as they are."""

    def _say(self, event: Event) -> None:
        text = ": ".join(filter(None, (_title(event), _facts(event))))
        self._console.print(f"{_duration(event.seconds):>8}  {text}", highlight=False, markup=False)


class _Bars:
    """A bar for every stage; of sampling, the share of rows that are covered."""

    def __init__(self, console: Console | None = None) -> None:
        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            console=console,
            # What is printed meanwhile belongs above the bars, but results keep their own stream.
            redirect_stdout=False,
        )
        self._title = ""
        self._task: TaskID | None = None

    def __call__(self, event: Event) -> None:
        title = _title(event)
        if title != self._title or event.done:
            self._end()
        if event.done:
            return
        if self._task is None:
            self._task = self._bars.add_task(title, total=None, facts="")
            self._title = title
        n_done, n_total = event.n_done, event.n_total
        if event.n_covered is not None:
            n_done, n_total = event.n_covered, event.n_rows
        self._bars.update(self._task, completed=n_done or 0, total=n_total, facts=_facts(event))

    def close(self) -> None:
        """Show the bars as they are at the end."""
        if self._task is not None:
            self._bars.stop_task(self._task)

    def _end(self) -> None:
        """Fill the bar of a stage that nothing counts, and stop its clock."""
        if self._task is not None:
            if self._bars.tasks[self._task].total is None:
                self._bars.update(self._task, total=1, completed=1)
            self._bars.stop_task(self._task)
        self._task = None


class _TerminalBars(_Bars):
    """Bars that rich draws anew by a thread of its own."""

    def __call__(self, event: Event) -> None:
        self._bars.start()
        super().__call__(event)

    def close(self) -> None:
        super().close()
        self._bars.stop()


class _NotebookBars(_Bars):
    """Bars in the output of a cell, as HTML that stays in the saved notebook."""

    def __init__(self) -> None:
        super().__init__()
        self._handle: Any = None
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        same = _title(event) == self._title
        super().__call__(event)
        if not same or event.done or event.seconds - self._last >= NOTEBOOK_SECONDS:
            self._last = event.seconds
            self._draw()

    def close(self) -> None:
        super().close()
        if self._bars.tasks:
            self._draw()

    def _draw(self) -> None:
        table = self._bars.make_tasks_table(self._bars.tasks)
        shown = table._repr_mimebundle_((), ())
        # Rich colours the text, too, which pages without HTML would show as codes.
        shown["text/plain"] = Text.from_ansi(shown["text/plain"]).plain
        if self._handle is None:
            # There in Jupyter, and only there.
            display = import_module("IPython.display").display
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


def _title(event: Event) -> str:
    return event.stage if event.number == 0 else f"pass {event.number + 1}: {event.stage}"


def _facts(event: Event) -> str:
    """Say how far a stage is."""
    facts = []
    if event.n_sampled is not None and event.n_covered is not None and event.n_rows:
        facts.append(f"{event.n_sampled:,} drawn")
        # Rounded down: all rows are covered where it says so, and not before.
        share = 10_000 * event.n_covered // event.n_rows / 100
        facts.append(f"{share:.2f}% of rows covered")
        facts.append(f"{event.n_idle} idle")
    if event.n_total is not None:
        facts.append(f"{event.n_done:,} of {event.n_total:,} partitions")
    if event.n_bytes:
        facts.append(format_bytes(event.n_bytes))
    if event.seconds_left:
        facts.append(f"{_duration(event.seconds_left)} left")
    return ", ".join(facts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
