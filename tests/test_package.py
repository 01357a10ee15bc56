"""The wheel: built from the sources, installed elsewhere, used there."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_wheel_works_when_installed_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("selfsort-*.whl")
    place = tmp_path / "elsewhere"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    program = (
        f"import sys; sys.path.insert(0, {str(place)!r})\n"
        "import selfsort\n"
        f"assert selfsort.__file__.startswith({str(place)!r})\n"
        "from selfsort.__main__ import main\n"
        "for words in (['fit', 'digits', '--method', 'kmeans', '--out', 'run'], ['report', 'run', '--map', 'pca']):\n"
        "    sys.argv = ['selfsort', *words]\n"
        "    try: main()\n"
        "    except SystemExit as leaving: assert not leaving.code\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run/report.html").stat().st_size > 50_000
    assert any(place.glob("selfsort-*.dist-info/licenses/LICENSE"))
    assert (place / "selfsort/py.typed").exists()
