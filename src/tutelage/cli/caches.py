"""``tutelage cache stats``, ``merge``, ``prune`` and ``ledger``: they ask no teacher.

Beside the caches of answers there are the products of stages that train their method alone, such as auto-encoders.
"""

import datetime
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from tutelage.engine.answers import find_ledger
from tutelage.engine.products import Product, products_folder, products_in, prune_products
from tutelage.engine.tutor import answers_folder
from tutelage.errors import ConfigError, DataError, UnknownNameError
from tutelage.teachers import AnswerStore, Call, Content, merge, prune, stores_in

__all__ = ["merge_caches", "prune_caches", "show_ledgers", "stats"]

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Show the caches in a folder and the products of stages, such as auto-encoders, and what they hold.

    Args:
        folder: One cache, or a folder of caches or of products; by default $TUTELAGE_CACHE/answers and
            $TUTELAGE_CACHE/stages.
    """

    folder: Positional[Path | None] = None


def stats(args: Sequence[str]) -> None:
    """Carry out ``tutelage cache stats``."""
    asked = tyro.cli(Stats, args=args, prog="tutelage cache stats")
    folder, stages = _folders(asked.folder)
    stores = stores_in(folder) if asked.folder or folder.exists() else []
    products = products_in(stages)
    if stores:
        header = ("cache", "teacher", "views", "data", "content", "answers", "MiB", "bytes an answer")
        _show(str(folder), header, [_figures(store) for store in stores])
    if products:
        header = ("product", "stage", "epochs", "teacher", "data", "seed", "version", "MiB")
        _show(str(stages), header, [_made(product) for product in products])
    if not stores and not products:
        print(f"{folder} holds no caches: `tutelage cache fill` makes one, and so does a run with --teacher.cache on")


def _folders(named: Path | None) -> tuple[Path, Path]:
    """Where caches are looked for, and products."""
    return (named, named) if named else (answers_folder(), products_folder())


def _figures(store: AnswerStore) -> tuple[str, ...]:
    count, size, subject = len(store), store.num_bytes, store.subject
    each = f"{size / count:,.0f}" if count else ""
    what = (subject.teacher, subject.views, subject.data[:16], _content(subject.content))
    return (store.path.name, *what, f"{count:,}", f"{size / 2**20:,.2f}", each)


def _made(product: Product) -> tuple[str, ...]:
    facts, size = product.facts, f"{product.num_bytes / 2**20:,.2f}"
    if not facts:
        return (product.path.stem, "damaged: it is made anew", *[""] * 5, size)
    epochs, data, seed = (str(fact) for fact in (facts["stages"][-1]["epochs"], facts["data"], facts["seed"]))
    return (product.path.stem, _stage(product), epochs, product.teacher, data[:16], seed, str(facts["version"]), size)


def _stage(product: Product) -> str:
    return str(product.facts["stages"][-1]["method"]["name"])


def _content(content: Content) -> str:
    head = f"{content.num_classes} logits" if content.top is None else f"top {content.top} of {content.num_classes}"
    return ", ".join([head, *(f"{role} {'×'.join(map(str, shape))}" for role, shape in content.taps)])


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Copy the answers of other caches into one; answers that are there stay as they are, and no source changes.

    Args:
        target: One cache, or a folder in which each source finds the cache of the same teacher, views, data and
            content, or gets a new one. A copy into a new one is also packed.
        sources: Caches, or folders of caches. Their ledgers stay with them.
    """

    target: Positional[Path]
    sources: Positional[tuple[Path, ...]]


def merge_caches(args: Sequence[str]) -> None:
    """Carry out ``tutelage cache merge``."""
    asked = tyro.cli(Merge, args=args, prog="tutelage cache merge")
    sources = [store for path in asked.sources for store in stores_in(path)]
    if not sources:
        raise DataError(f"nothing to merge: no caches in {', '.join(map(str, asked.sources)) or 'no folder'}")
    # Found or made for all sources before anything is copied, so that a wrong one is refused with nothing done.
    pairs = [(AnswerStore(asked.target, source.subject, dense=source.pack > 1), source) for source in sources]
    for target, source in pairs:
        if target.path.resolve() == source.path.resolve():
            raise ConfigError(f"{source.path} cannot be merged into itself: name another target")
    for target, source in pairs:
        print(f"{target.path}: {merge(target, [source]):,} answers came from {source.path}, which has {len(source):,}")


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Delete the caches and products of all teachers but some, with the ledgers in them; at first only say which.

    Args:
        folder: Of caches or of products, none of which is in use; by default $TUTELAGE_CACHE/answers and
            $TUTELAGE_CACHE/stages.
        keep: Fingerprints of the teachers whose answers and products stay, as `tutelage cache stats` shows them.
        delete: Do it.
    """

    folder: Positional[Path | None] = None
    keep: tuple[str, ...] = ()
    delete: bool = False


def prune_caches(args: Sequence[str]) -> None:
    """Carry out ``tutelage cache prune``."""
    asked = tyro.cli(Prune, args=args, prog="tutelage cache prune")
    folder, stages = _folders(asked.folder)
    stores = {store.path: store for store in (stores_in(folder) if asked.folder or folder.exists() else [])}
    products = products_in(stages)
    if folder in stores:
        raise ConfigError(f"{folder} is one cache: name the folder of caches, and whose answers to keep")
    teachers = {store.subject.teacher for store in stores.values()} | {each.teacher for each in products if each.facts}
    if not asked.keep:
        raise ConfigError(f"name at least one teacher to keep, of {', '.join(sorted(teachers)) or 'none'}: --keep NAME")
    for name in asked.keep:
        if name not in teachers:
            raise UnknownNameError("teacher", name, teachers, "`tutelage cache stats` shows them")
    stale = prune(folder, keep=asked.keep) if stores else []
    for path in stale:
        store = stores[path]
        print(f"{path}: teacher {store.subject.teacher}, {len(store):,} answers, {store.num_bytes / 2**20:,.2f} MiB")
    others = prune_products(stages, keep=asked.keep)
    for other in others:
        what = f"teacher {other.teacher}, {_stage(other)}" if other.facts else "damaged"
        print(f"{other.path}: {what}, {other.num_bytes / 2**20:,.2f} MiB")
    if asked.delete:
        prune_products(stages, keep=asked.keep, dry_run=False)
        if stale:
            prune(folder, keep=asked.keep, dry_run=False)
    found = ((stale, stores, "caches"), (others, products, "products"))
    counts = " and ".join(f"{len(some)} of {len(every)} {kind}" for some, every, kind in found if every)
    what = "were deleted" if asked.delete else "would be deleted, and were not: add --delete"
    print(f"{counts} {what}")


@dataclass(frozen=True, kw_only=True)
class LedgerOf:
    """Show what teachers were asked, and what that cost.

    Args:
        ledgers: Runs, caches, or files.
        calls: Show every call as well, one a line, with tabs between who, when, id, view, state and cost.
    """

    ledgers: Positional[tuple[Path, ...]]
    calls: bool = False


def show_ledgers(args: Sequence[str]) -> None:
    """Carry out ``tutelage cache ledger``."""
    asked = tyro.cli(LedgerOf, args=args, prog="tutelage cache ledger")
    if not asked.ledgers:
        raise ConfigError("a ledger is needed: name a run, a cache that was filled, or a file")
    books = [(ledger.path, ledger.calls()) for ledger in map(find_ledger, asked.ledgers)]
    header = ("ledger", "calls", "paid", "reserved", "cost", "first", "last")
    _show("ledgers", header, [_sums(path, calls) for path, calls in books])
    if asked.calls:
        print("\t".join(("who", "when", "id", "view", "state", "cost")))
        for call in (call for _, calls in books for call in calls):
            when = _when(call.reserved_at)
            print("\t".join((call.run, when, str(call.id), str(call.view), call.state, f"{call.cost:g}")))


def _sums(path: Path, calls: Sequence[Call]) -> tuple[str, ...]:
    paid = sum(call.state == "paid" for call in calls)
    times = [_when(call.reserved_at) for call in calls] or [""]
    cost = sum(call.cost for call in calls)
    return (str(path), f"{len(calls):,}", f"{paid:,}", f"{len(calls) - paid:,}", f"{cost:g}", times[0], times[-1])


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _show(title: str, header: Sequence[str], rows: Rows) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, title=title, title_justify="left", title_style="bold")
    for row in rows:
        table.add_row(*row)
    # A pipe has no width: rich takes 80 columns and breaks every fingerprint.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
