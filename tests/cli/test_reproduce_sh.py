"""reproduce.sh with stand-ins for Python and pip: what it starts, what it skips, what it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASH = shutil.which("bash")
TOOLS = (
    *("awk", "bash", "cat", "chmod", "cmp", "cp", "dirname"),
    *("env", "grep", "ls", "mkdir", "mv", "rm", "tail", "tee", "uname"),
)

# Answers as the Python that reproduce.sh talks to, and writes down how it was called. `-m venv` makes an environment
# whose interpreter is this very script.
PYTHON_STUB = """#!/usr/bin/env bash
printf '%s|%s|%s\\n' "${0##*/}" "$PWD" "$*" >>"$CALLS"
env >"${CALLS%/*}/environment"
case "$*" in
    *version_info*) echo "${STUB_VERSION:-311}" ;;
    *ensurepip*) exit "${STUB_ENSUREPIP:-0}" ;;
    '-m venv '*)
        for folder; do :; done
        mkdir -p "$folder/bin" "$folder/lib/python3.11/site-packages"
        cp "$0" "$folder/bin/python"
        ;;
    '-m pip install'*)
        echo 'Collecting torch==2.15.0'
        echo "${STUB_PIP_SAYS:-Installing collected packages: torch}"
        exit "${STUB_PIP:-0}"
        ;;
    '-m sspcore doctor'*) exit "${STUB_DOCTOR:-0}" ;;
    '-m sspcore reproduce'*) exit "${STUB_RUN:-0}" ;;
esac
"""


@dataclass
class Checkout:
    """A copy of the script in a folder with a space in its name, and a PATH with the stand-ins only."""

    root: Path
    tools: Path
    calls_file: Path

    def run(self, *arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.tools), "HOME": str(self.root), "CALLS": str(self.calls_file), **variables}
        self.calls_file.write_text("")
        return subprocess.run(
            [str(BASH), str(self.root / "reproduce.sh"), *arguments],
            env=environment, cwd=cwd or self.tools, capture_output=True, text=True, timeout=60, check=False,
        )

    def calls(self) -> list[str]:
        return [line.split("|", 2)[2] for line in self.calls_file.read_text().splitlines()]

    def pip_calls(self) -> list[str]:
        return [call for call in self.calls() if call.startswith("-m pip install")]

    def add_tool(self, name: str, text: str) -> Path:
        file = self.tools / name
        file.unlink(missing_ok=True)  # never write through a link to a tool of the machine
        file.write_text(text)
        file.chmod(0o755)
        return file


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root, tools = tmp_path / "a checkout", tmp_path / "tools"
    root.mkdir()
    tools.mkdir()
    shutil.copy(ROOT / "reproduce.sh", root)
    for lock in ("requirements.lock", "requirements-lightglue.lock"):
        shutil.copy(ROOT / lock, root)
    for name in TOOLS:
        (tools / name).symlink_to(str(shutil.which(name)))
    result = Checkout(root, tools, tmp_path / "calls")
    result.add_tool("python3", PYTHON_STUB)
    result.add_tool("df", "#!/usr/bin/env bash\nprintf 'head\\n/dev/x 1 1 %s 1%% /\\n' \"${STUB_FREE:-99999999}\"\n")
    return result


def assert_one_line(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert result.returncode != 0
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def test_scripts_can_be_run_and_name_bash() -> None:
    for script in (ROOT / "reproduce.sh", ROOT / ".ci" / "run"):
        assert os.access(script, os.X_OK), f"{script} has no run bit"
        assert script.read_text().startswith("#!/usr/bin/env bash\n")


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("--profile", "demo", "--help"), ("setup", "--help")])
def test_help_needs_no_installation(checkout: Checkout, arguments: tuple[str, ...]) -> None:
    result = checkout.run(*arguments)
    assert result.returncode == 0 and checkout.calls() == []
    commands = ("setup", "test", "lab")
    options = ("--profile", "--datasets", "--systems", "--only", "--seed", "--ablations", "--force", "--data")
    for word in (*commands, *options, "WSL"):
        assert word in result.stdout


def test_an_extra_is_installed_once_after_the_pins_and_follows_its_lock(checkout: Checkout) -> None:
    def installed() -> list[str]:
        return [call.rpartition("/")[2] for call in checkout.pip_calls()]

    assert checkout.run("setup", "--extra", "lightglue").returncode == 0
    assert installed() == ["requirements.lock", "requirements-lightglue.lock"]
    assert all("--no-deps" in call for call in checkout.pip_calls())
    assert "-m sspcore doctor --extra lightglue" in checkout.calls()
    checkout.run("setup", "--extra=lightglue")
    assert installed() == []
    (checkout.root / "requirements-lightglue.lock").write_text("kornia==0.8.4\n")
    checkout.run("setup")
    assert installed() == ["requirements-lightglue.lock"]


def test_the_environment_for_cpus_leaves_cuda_out_and_stays_so(checkout: Checkout) -> None:
    lock = checkout.root / "requirements.lock"
    marker = " ; python_full_version >= '3.11'"
    lock.write_text(f"attrs==1.0\nnvidia-x==1.0{marker}\ntorch==2.15.0{marker}\ntriton==3.0\n")
    checkout.add_tool("uname", "#!/usr/bin/env bash\necho Linux\n")
    assert checkout.run("setup", "--cpu", STUB_FREE="4194304").returncode == 0
    (install,) = checkout.pip_calls()
    cpu_lock = checkout.root / ".venv/cpu.lock"
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in install and install.endswith(str(cpu_lock))
    assert cpu_lock.read_text() == f"attrs==1.0\ntorch==2.15.0+cpu{marker}\n"
    assert checkout.run("--force").returncode == 0 and checkout.pip_calls() == []
    lock.write_text("attrs==2.0\n")
    checkout.run("setup")
    assert cpu_lock.read_text() == "attrs==2.0\n" and checkout.pip_calls()[0].endswith(str(cpu_lock))


def test_an_environment_for_gpus_is_not_made_again_for_cpus(checkout: Checkout) -> None:
    checkout.add_tool("uname", "#!/usr/bin/env bash\necho Linux\n")
    checkout.run("setup")
    said = checkout.run("setup", "--cpu").stderr
    assert "delete its environment" in said and checkout.pip_calls() == []


def test_an_extra_that_fails_is_tried_again(checkout: Checkout) -> None:
    checkout.run("setup")
    failed = checkout.run("setup", "--extra", "lightglue", STUB_PIP="1")
    assert failed.returncode != 0 and "extra lightglue could not be installed" in failed.stderr
    assert checkout.run("setup").returncode == 0 and checkout.pip_calls() == []
    assert checkout.run("setup", "--extra", "lightglue").returncode == 0 and len(checkout.pip_calls()) == 1


@pytest.mark.parametrize("arguments", [
    ("--profil", "demo"), ("-x",), ("instal",), ("--profile",), ("--force", "stray"), ("setup", "--force"),
    ("setup", "--extra"), ("setup", "--extra", "nix"), ("setup", "--extra", "../x"), ("setup", "--extra", "lightglue", "y"),
    ("--ablation",), ("--ablations=yes",), ("--ablations", "09"),
])
def test_unknown_arguments_are_refused_before_anything_is_installed(
    checkout: Checkout, arguments: tuple[str, ...]
) -> None:
    assert_one_line(checkout.run(*arguments), "--help")
    assert checkout.calls() == [] and not (checkout.root / ".venv").exists()


def test_first_run_installs_and_second_only_runs(checkout: Checkout) -> None:
    first = checkout.run("--profile", "smoke", "--seed=3")
    assert first.returncode == 0, first.stderr
    (install,) = checkout.pip_calls()
    assert "--no-deps" in install and str(checkout.root / "requirements.lock") in install
    assert checkout.calls()[-1] == "-m sspcore reproduce --profile smoke --seed=3"
    assert "Collecting torch" in (checkout.root / ".venv/install.log").read_text()
    link = checkout.root / ".venv/lib/python3.11/site-packages/sspcore.pth"
    assert link.read_text() == f"{checkout.root}\n"

    second = checkout.run("--ablations", "--profile", "smoke")
    assert second.returncode == 0 and second.stderr == ""
    assert checkout.calls() == ["-m sspcore reproduce --ablations --profile smoke"]


def test_the_environment_has_the_command(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run("setup")
    folder = tmp_path / "else where"
    folder.mkdir()
    environment = {"PATH": str(checkout.tools), "CALLS": str(checkout.calls_file)}
    checkout.calls_file.write_text("")
    command = str(checkout.root / ".venv/bin/sspcore")
    subprocess.run([command, "stream", "my video.mp4"], env=environment, cwd=folder, check=True, timeout=60)
    assert checkout.calls_file.read_text() == f"python|{folder}|-m sspcore stream my video.mp4\n"


def test_run_keeps_the_callers_folder_and_passes_its_status_on(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run("setup")
    folder = tmp_path / "else where"
    folder.mkdir()
    assert checkout.run("--data", "my data", cwd=folder, STUB_RUN="7").returncode == 7
    assert checkout.calls_file.read_text() == f"python|{folder}|-m sspcore reproduce --data my data\n"


def test_an_interrupted_installation_is_taken_up_again(checkout: Checkout) -> None:
    failed = checkout.run("setup", STUB_PIP="1", STUB_PIP_SAYS="ERROR: connection lost")
    assert failed.returncode == 2
    assert "ERROR: connection lost" in failed.stderr and "start again" in failed.stderr
    again = checkout.run("setup")
    assert again.returncode == 0 and len(checkout.pip_calls()) == 1
    assert not any(call.startswith("-m venv") for call in checkout.calls())
    checkout.run("setup")
    assert checkout.pip_calls() == []


def test_a_changed_lock_is_installed(checkout: Checkout) -> None:
    checkout.run("setup")
    with (checkout.root / "requirements.lock").open("a") as lock:
        lock.write("another==1.0\n")
    checkout.run("setup")
    assert len(checkout.pip_calls()) == 1


def test_an_installation_that_does_not_work_is_not_taken_for_done(checkout: Checkout) -> None:
    failed = checkout.run("setup", STUB_DOCTOR="1")
    assert failed.returncode == 2 and "does not work" in failed.stderr
    assert checkout.run("setup").returncode == 0 and len(checkout.pip_calls()) == 1


def test_a_full_disk_is_named(checkout: Checkout) -> None:
    before = checkout.run("setup", STUB_FREE="2097152")
    assert_one_line(before, "2 GB free")
    assert not (checkout.root / ".venv").exists()
    during = checkout.run("setup", STUB_PIP="1", STUB_PIP_SAYS="OSError: [Errno 28] No space left on device")
    assert during.returncode == 2 and "the disk is full" in during.stderr.splitlines()[-1]


def test_a_moved_checkout_finds_its_library_again(checkout: Checkout) -> None:
    checkout.run("setup")
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    assert checkout.run("--force").returncode == 0 and checkout.pip_calls() == []
    assert (checkout.root / ".venv/lib/python3.11/site-packages/sspcore.pth").read_text() == f"{checkout.root}\n"


def test_no_python_gives_one_clear_line(checkout: Checkout) -> None:
    (checkout.tools / "python3").unlink()
    assert_one_line(checkout.run("setup"), "no Python 3.10 or newer", "PYTHON=")


def test_an_old_python_is_passed_over_for_a_newer_one(checkout: Checkout) -> None:
    assert_one_line(checkout.run("setup", STUB_VERSION="309"), "no Python 3.10 or newer")
    checkout.add_tool("python3", "#!/usr/bin/env bash\necho 308\n")
    checkout.add_tool("python3.12", PYTHON_STUB)
    result = checkout.run("setup", STUB_VERSION="312")
    assert result.returncode == 0 and "with python3.12" in result.stderr


def test_a_tested_python_goes_before_a_newer_one(checkout: Checkout) -> None:
    checkout.add_tool("python3", PYTHON_STUB.replace("${STUB_VERSION:-311}", "314"))
    alone = checkout.run("setup")
    assert alone.returncode == 0 and "newer than the versions tested" in alone.stderr
    shutil.rmtree(checkout.root / ".venv")
    checkout.add_tool("python3.11", PYTHON_STUB)
    assert "with python3.11" in checkout.run("setup").stderr


def test_a_python_without_venv_says_what_to_install(checkout: Checkout) -> None:
    assert_one_line(checkout.run("setup", STUB_ENSUREPIP="1"), "python3-venv")


def test_named_python_is_used_or_refused(checkout: Checkout, tmp_path: Path) -> None:
    assert_one_line(checkout.run("setup", PYTHON=str(tmp_path / "absent")), "does not run")
    assert_one_line(checkout.run("setup", PYTHON="python3", STUB_VERSION="309"), "older than Python 3.10")
    named = checkout.add_tool("my-python", PYTHON_STUB)
    assert checkout.run("setup", PYTHON=str(named)).returncode == 0
    lines = checkout.calls_file.read_text().splitlines()
    assert any(line.startswith("my-python|") and "-m venv" in line for line in lines)


def test_the_environment_may_lie_elsewhere(checkout: Checkout, tmp_path: Path) -> None:
    named = tmp_path / "of its own"
    assert checkout.run("setup", SSPCORE_VENV=str(named)).returncode == 0
    assert (named / "installed.lock").is_file() and not (checkout.root / ".venv").exists()
    assert checkout.run("setup", SSPCORE_VENV="../of its own", cwd=checkout.tools).returncode == 0
    assert checkout.pip_calls() == []
    others = tmp_path / "others"
    (others / "photos").mkdir(parents=True)
    assert_one_line(checkout.run("setup", SSPCORE_VENV=str(others)), str(others), "name a new or an empty folder")
    assert (others / "photos").is_dir() and checkout.calls() == []


@pytest.mark.parametrize("home, place", [("/home/me", "/home/me/.cache"), ("", "/.cache")])
def test_a_checkout_that_cannot_be_written_has_its_environment_in_the_users_cache(checkout: Checkout, home, place) -> None:
    """Root may write everywhere: the script's question whether it may is answered for it."""
    script = checkout.root / "reproduce.sh"
    asked = '[ ! -w "$root" ]'
    assert asked in script.read_text()
    script.write_text(script.read_text().replace(asked, "true").replace('[ -w "${place:-/}" ]', "false"))
    result = checkout.run("setup", HOME=home)
    said, error = result.stderr.splitlines()
    venv = f"{place}/sspcore/venv{str(checkout.root).replace('/', '-')}"
    assert said == f"{checkout.root} cannot be written: the environment is {venv}; SSPCORE_VENV may name another folder"
    assert result.returncode == 2 and f"{venv} cannot be written: set SSPCORE_VENV to a folder" in error


def test_a_library_that_cannot_be_linked_is_named_to_python(checkout: Checkout) -> None:
    """A read-only .venv of a checkout that has been moved."""
    checkout.run("setup")
    moved = checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    script = moved / "reproduce.sh"
    script.write_text(script.read_text().replace('[ -w "$packages" ]', "false"))
    result = checkout.run("--force", PYTHONPATH="/opt/ros")
    assert result.returncode == 0 and checkout.calls_file.read_text().splitlines()[-1].endswith("reproduce --force")
    assert f"PYTHONPATH={moved}\n" in checkout.calls_file.with_name("environment").read_text()


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_with_the_pins_is_used(checkout: Checkout, tmp_path: Path, variable: str) -> None:
    (tmp_path / "active/bin").mkdir(parents=True)
    shutil.copy(checkout.tools / "python3", tmp_path / "active/bin/python")
    active = {variable: str(tmp_path / "active")}
    assert checkout.run("--force", PYTHON=str(tmp_path / "active/bin/python3"), **active).returncode == 0  # its own Python
    assert not (checkout.root / ".venv").exists()
    result = checkout.run("--force", **active)
    assert result.returncode == 0 and not (checkout.root / ".venv").exists()
    assert checkout.calls() == ["-m sspcore doctor --pins", "-m sspcore reproduce --force"]


def test_an_active_environment_without_the_pins_is_left_alone(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "active/bin").mkdir(parents=True)
    shutil.copy(checkout.tools / "python3", tmp_path / "active/bin/python")
    stub = (tmp_path / "active/bin/python").read_text().replace("${STUB_DOCTOR:-0}", "1")
    (tmp_path / "active/bin/python").write_text(stub)
    result = checkout.run("--force", VIRTUAL_ENV=str(tmp_path / "active"))
    assert result.returncode == 0 and (checkout.root / ".venv/installed.lock").exists()
    assert len(checkout.pip_calls()) == 1


def test_test_command_lints_tests_and_runs_the_notebooks_in_order(checkout: Checkout) -> None:
    assert checkout.run("test").returncode == 0
    (checkout.root / "notebooks").mkdir()
    for name in ("10_last.ipynb", "01_first.ipynb", "scratch.ipynb"):
        (checkout.root / "notebooks" / name).touch()
    assert checkout.run("test").returncode == 0
    lint, tests = checkout.calls()[-2:]
    assert lint == "-m ruff check ." and "-m pytest -n auto" in tests and "--nbval-lax" in tests
    assert tests.endswith("notebooks/01_first.ipynb notebooks/10_last.ipynb tests")
    assert checkout.run("test", "-k", "name").returncode == 0
    assert checkout.calls() == ["-m pytest -k name"]


@pytest.fixture
def lab(checkout: Checkout) -> Checkout:
    """A checkout with a start page and a profile."""
    for name in ("notebooks/00_start_here.ipynb", "sspcore/study/profiles/smoke.yaml"):
        (checkout.root / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout.root / name).touch()
    checkout.run("setup")
    return checkout


def test_lab_opens_the_start_page_in_the_repository(lab: Checkout) -> None:
    lab.run("lab", "--no-browser", "--port", "9000")
    asked = (
        "-m jupyterlab --ServerApp.kernel_spec_manager_class=sspcore.study.kernel.OwnKernels "  # not a kernel of JUPYTER_PATH
        "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb --no-browser --port 9000"
    )
    assert lab.calls_file.read_text() == f"python|{lab.root}|{asked}\n"
    (lab.root / "notebooks/00_start_here.ipynb").unlink()
    assert_one_line(lab.run("lab"), "00_start_here.ipynb is missing")


@pytest.mark.parametrize("arguments", [("--profile", "{}", "--no-browser"), ("--no-browser", "--profile={}")])
def test_lab_hands_its_profile_to_the_notebooks(lab: Checkout, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "mine.yaml").touch()
    for asked, given in {"smoke": "smoke", "mine.yaml": str(tmp_path / "mine.yaml")}.items():
        assert lab.run("lab", *(word.format(asked) for word in arguments), cwd=tmp_path).returncode == 0
        assert lab.calls()[-1].endswith("00_start_here.ipynb --no-browser")
        assert f"SSPCORE_PROFILE={given}\n" in lab.calls_file.with_name("environment").read_text()


@pytest.mark.parametrize("arguments, said", [
    (("--profile",), "needs a value"), (("--profile", "smok"), "smok is unknown"), (("--profile=absent.yaml",), "no such file"),
])
def test_lab_refuses_a_profile_that_is_not_there(lab: Checkout, arguments: tuple[str, ...], said: str) -> None:
    assert_one_line(lab.run("lab", *arguments), said)
    assert lab.calls() == []


@pytest.mark.parametrize(
    "command, subcommand", [("weights", "weights"), ("hardware", "benchmark"), ("report", "report"), ("docs", "docs")]
)
def test_commands_are_passed_on_with_their_arguments(checkout: Checkout, command: str, subcommand: str) -> None:
    checkout.run("setup")
    assert checkout.run(command, "--profile", "smoke").returncode == 0
    assert checkout.calls() == [f"-m sspcore {subcommand} --profile smoke"]
    assert f"\n  {command} " in checkout.run("--help").stdout
