"""Full disks: every command that writes says so in a sentence, leaves nothing half-written, works with room again."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fuzz import desk as desks
from fuzz.child import command, run
from fuzz.desk import Desk
from fuzz.journal import Journal, Trial

LEVELS = 12
_DISK_MIB = 64
_SLACK = 1 << 20
_SECONDS = 300


def play(journal: Journal, size: float, seed: int, place: Path) -> None:
    """Have each command write with from no room to nearly enough: on a small disk in memory, or else under a limit."""
    desk = desks.make(place)
    with _small_disk(place / "disk") as disk:
        for where in ("output", "cache") if disk else ("limit",):
            for name, words in COMMANDS.items():
                levels = max(1, round(LEVELS * size))
                keys = list(journal.open_keys(f"{where}:{name}:{level}" for level in range(levels)))
                if keys:
                    _play(journal, keys, levels, desk, disk, where, name, words)


def _play(
    journal: Journal, keys: list[str], levels: int, desk: Desk, disk: Path | None, where: str, name: str, words: str
) -> None:
    room, work = _set_out(desk, disk, where, words)
    free = _free(room) if disk else 0
    ended = run(work, desk.place, seconds=_SECONDS)
    assert ended.code == 0, (name, ended.err)
    needed = free - _free(room) if disk else _largest(room)
    for key in keys:
        left = int(needed * (int(key.rpartition(":")[2]) / levels) ** 2)
        room, work = _set_out(desk, disk, where, words)
        before = _listed(room)
        if disk:
            _fill(disk, left)
            ended = run(work, desk.place, seconds=_SECONDS)
            (disk / "filler").unlink()
        else:
            ended = run(work, desk.place, seconds=_SECONDS, limits={resource.RLIMIT_FSIZE: left})
        outcome, detail = ended.fault, f"{left} bytes left\n{ended.err}"
        if outcome is None:
            outcome = "refused" if ended.code else "went on"
        left_over = _listed(room) - before - {"report.html"}  # which is complete before the sheet is started
        if outcome == "refused" and any("/checkpoints/" in name for name in left_over):
            words, outcome = f"{words} --resume", "refused, to be resumed"
            work = _command(words, desk, room)
        if outcome == "refused" and left_over:
            outcome, detail = "left over", f"{sorted(left_over)[:5]}\n{detail}"
        elif outcome.startswith(("refused", "went on")):
            if outcome == "went on":
                for made in ("new", "sorted", "audit", "clean"):
                    shutil.rmtree(desk.room / made, ignore_errors=True)
                    shutil.rmtree(room / made, ignore_errors=True)
            again = run(work, desk.place, seconds=_SECONDS)
            if again.code and "--resume" in again.err:
                outcome = "refused, to be resumed"
                again = run(_command(f"{words} --resume", desk, room), desk.place, seconds=_SECONDS)
            if again.fault or again.code:
                outcome, detail = again.fault or "left over", f"with room again: {again.err}\n{detail}"
        detail = "" if outcome.startswith(("refused", "went on")) else detail
        journal.add(Trial(key, name, outcome, round(ended.seconds, 3), round(ended.mib), detail[-2000:]))


def _set_out(desk: Desk, disk: Path | None, where: str, words: str) -> tuple[Path, Callable[[], object]]:
    """Return the emptied folder that a command writes to, and the command."""
    run_copy = desk.copy()
    if disk:
        for entry in disk.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if disk and where == "output":
        shutil.move(run_copy, disk / "run")
    room = disk or desk.room
    return room, _command(words, desk, room)


def _command(words: str, desk: Desk, room: Path) -> Callable[[], object]:
    """Return a command that writes to the folder or, if its run is elsewhere, only keeps its cache there."""
    place = room if (room / "run").exists() else desk.room
    filled = [word.format(run=place / "run", room=place, photos=desk.pictures) for word in words.split()]
    return command(*filled, SELFSORT_CACHE=room / "cache")


@contextmanager
def _small_disk(place: Path) -> Iterator[Path | None]:
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def _fill(disk: Path, left: int) -> None:
    """Fill the disk up to what is to be left; the last pages are written, since not all can be reserved."""
    with open(disk / "filler", "wb", buffering=0) as file, suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, _free(disk) - left - _SLACK))
        file.seek(0, os.SEEK_END)
        while _free(disk) > left:
            file.write(bytes(4096))


def _largest(room: Path) -> int:
    return max(path.stat().st_size for path in room.rglob("*") if path.is_file())


def _listed(room: Path) -> set[str]:
    found = (path for path in room.rglob("*") if "cache" not in path.parts and path.name != "filler")
    passing = (".lock", "-wal", "-shm")  # SQLite's files, and those that tell who works here
    return {str(path.relative_to(room)) for path in found if not path.name.endswith(passing)}


COMMANDS = {
    "fit": "fit {photos} --out {room}/new " + " ".join(desks.FIT),
    "label": "label {run} --simulate {photos} --answers 3",
    "refine": "refine {run} --frozen --groups 2",
    "certify": "certify {run} --simulate {photos} --budget 14",
    "predict": "predict {run} {photos} --out {room}/out.csv",
    "predict .parquet": "predict {run} {photos} --out {room}/out.parquet",
    "account": "predict {run} {photos} --out {room}/out.csv --account {room}/account.csv",
    "sort": "sort {run} {photos} --out {room}/sorted --copy",
    "evaluate": "evaluate {run} {photos}",
    "report": "report {run} --out {room}/report.html --map pca --sheet {room}/sheet.png",
    "audit": "audit {photos} --out {room}/audit --backbone none",
    "clean": "audit {photos} --out {room}/audit --backbone none --write-clean {room}/clean",
}
