"""How papermill executes a notebook, in a kernel of its own. A module apart: loading Jupyter takes seconds.

An executed copy and an HTML of it go to the run's folder.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import papermill
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.exceptions import PapermillExecutionError

from sspcore.core.checksums import crc32
from sspcore.core.errors import SspError, reason
from sspcore.core.files import OUTPUTS_FILE, atomic_file, write_json
from sspcore.core.lock import WORKERS
from sspcore.core.paths import shown
from sspcore.core.provenance import RUN_BEGAN, code_in_memory
from sspcore.study import chapters
from sspcore.study.chapters import ONE_THREAD, Chapter, accepted
from sspcore.study.kernel import OwnKernelManager, jupyter_path


def execute(chapter: Chapter) -> None:
    """Execute a notebook in a kernel of its own. Raises: SspError naming the cell that failed."""
    executed, stamp, source = chapter.executed, chapter.stamp, chapter.source
    began = time.perf_counter()
    stamp.unlink(missing_ok=True)  # a run that fails half-way leaves nothing that counts as up to date
    with _kernel_settings(chapter) as noted, atomic_file(executed) as temporary:
        try:
            papermill.execute_notebook(
                str(source), str(temporary), parameters=accepted(source, chapter.parameters), cwd=str(chapters.NOTEBOOKS),
                progress_bar=False, kernel_name=NATIVE_KERNEL_NAME, kernel_manager_class=OwnKernelManager,
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # its messages about its transport call for no action
            )
        except PapermillExecutionError as error:
            failed = executed.with_suffix(".failed.ipynb")
            os.replace(temporary, failed)
            problem = f"{chapter.name}, cell {error.exec_count}: {error.ename}: {' '.join(error.evalue.split())}"
            raise SspError(f"{problem} (executed so far: {shown(failed)})") from error
        except RuntimeError as error:  # nbclient's, at the start and later
            raise SspError(f"{chapter.name}: its kernel died ({reason(error)}); check memory, then run again") from error
        # text bars rewrite their line: keep what a reader of the terminal sees at the end
        copy, _ = CoalesceStreamsPreprocessor().preprocess(nbformat.read(temporary, as_version=4), {})
        nbformat.write(copy, temporary)
        html, _ = HTMLExporter().from_notebook_node(copy)
        outputs = _lasting(noted, Path(chapter.root) / chapter.profile / "motion")
    page = executed.with_suffix(".html")
    page.write_text(html, encoding="utf-8")
    made = {shown(path): path for path in (executed, page, *outputs)}
    checksums = {name: crc32(path) for name, path in made.items() if path.is_file()}
    seconds = round(time.perf_counter() - began, 1)
    write_json(stamp, {
        "key": chapter.key, "commit": code_in_memory(), "seconds": seconds, "outputs": list(made), "checksums": checksums,
    })


@contextmanager
def _kernel_settings(chapter: Chapter) -> Iterator[Path]:
    """The environment that kernels started in this block inherit.

    Yields: a file to which they write what they make or build on (`sspcore.core.files.note_output`).
    """
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder) / "outputs.txt"
        noted.touch()
        values = {
            OUTPUTS_FILE: str(noted), RUN_BEGAN: str(chapter.began), WORKERS: "0", "SSPCORE_HOME": chapter.root,
            "SSPCORE_PROGRESS": "plain", "JUPYTER_PATH": jupyter_path(),
            # the user's own may not be writable, and what starts IPython there is not part of the run
            "JUPYTER_RUNTIME_DIR": folder, "IPYTHONDIR": folder,
        } | ONE_THREAD
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield noted
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _lasting(noted: Path, cache: Path) -> list[Path]:
    """What a finished notebook needs to find again: all that it noted, without parts of noted folders and cached motion."""
    paths = {Path(line) for line in noted.read_text(encoding="utf-8").splitlines()}
    return sorted(
        path for path in paths
        if path.exists() and not paths.intersection(path.parents) and not (path.is_file() and path.is_relative_to(cache))
    )
