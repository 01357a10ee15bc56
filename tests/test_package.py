"""The wheel: built from the sources, installed elsewhere, and used there; and its declared requirements."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def required(*extras: str) -> dict[str, Requirement]:
    texts = PROJECT["dependencies"] + [text for extra in extras for text in PROJECT["optional-dependencies"][extra]]
    requirements = [Requirement(text) for text in texts]
    return {canonicalize_name(each.name): each for each in requirements if each.name != "selfsort"}


def imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_what_is_imported_is_declared() -> None:
    modules = set().union(*(imported(file) for folder in ("src", "papers") for file in (ROOT / folder).rglob("*.py")))
    others = modules - sys.stdlib_module_names - {"selfsort", "papers"}
    installed = packages_distributions()
    declared = required("clip", "heic", "hf", "microscopy", "onnx", "openvino", "parquet", "ray", "s3")
    for module in sorted(others):
        assert {canonicalize_name(name) for name in installed[module]} & declared.keys(), f"{module} is not declared"


def test_the_lock_holds_all_requirements_except_pytorch() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = dict(line.split("==") for line in lines)
    assert not locked.keys() & {"torch", "torchvision", "triton", "selfsort"}
    for name, requirement in required(
        "clip", "heic", "hf", "microscopy", "onnx", "openvino", "parquet", "ray", "s3", "tensorboard", "test"
    ).items():
        assert name in ("torch", "torchvision") or locked[name] in requirement.specifier, name


@pytest.mark.slow
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
    assert not (place / "papers").exists()
    reproduce = f"import sys; sys.path.insert(0, {str(place)!r}); from selfsort.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", reproduce, "reproduce"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "clone the repository" in done.stderr and "Traceback" not in done.stderr
    assert any(place.glob("selfsort-*.dist-info/licenses/LICENSE"))
    assert (place / "selfsort/py.typed").exists()
