#!/usr/bin/env bash
# One command from a bare machine to the results: sets up the pinned environment if needed, then runs the study.
# Written for bash 3.2 and later, so that it runs on macOS as it comes.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
lock=$root/requirements.lock
venv= stamp= log= cpu_lock=  # set by place_environment
python=                      # the interpreter in use, set by find_environment
cpu=                         # set by setup --cpu
linked=                      # the checkout that .venv finds the library in, set by link_library

# torch's threads spin at every barrier: beside one other busy process a training takes twenty times as long. Results do not
# change. A user's own choice stands (sspcore sets the same on import).
if [ -z "${GOMP_SPINCOUNT:-}${OMP_WAIT_POLICY:-}${KMP_BLOCKTIME:-}" ]; then
    if [ "$(uname -s)" = Darwin ]; then export KMP_BLOCKTIME=1; else export GOMP_SPINCOUNT=1000; fi
fi

usage() {
    cat <<'HELP'
Usage: ./reproduce.sh [OPTIONS]            set up if needed, then run the study (default: the demo)
       ./reproduce.sh COMMAND [ARGUMENTS]

Commands:
  setup [--cpu] [--extra NAME]
                     only set up the environment (.venv, the pins of requirements.lock; about 6 GB on Linux); --cpu: with
                     PyTorch's builds for CPUs (Linux; 2 GB, no GPU can be used); with an extra also:
                       lightglue     DISK and LightGlue, the paper's registration, with their weights (110 MB)
                       tensorrt-rtx  NVIDIA's compiler, for sspcore export --compile (90 MB; NVIDIA's proprietary licence)
                       openvino      a runtime for exported systems, faster on a CPU (60 MB)
                       docs          Sphinx, for the commands report and docs (110 MB; Python 3.11 or newer)
  test [ARGUMENTS]   ruff, the tests, and the notebooks in the smoke profile; with ARGUMENTS: pytest ARGUMENTS only
  lab [--profile NAME] [ARGUMENTS]
                     open JupyterLab on the start page, notebooks/00_start_here.ipynb; notebooks then take that profile
                     (default: demo). ARGUMENTS are JupyterLab's, such as --no-browser or --port 9000
  weights [--fetch]  list the pretrained weights of --profile paper, or fetch them into data/weights/
  hardware           sspcore benchmark: training steps, memory and frame rates of every system on this machine's GPU, in 8 minutes
  report             build and open the site of the run of --profile NAME: tables, pictures, notebooks (data/NAME/report/index.html)
  docs               build the site of this repository: chapters, results, the library's reference (data/site/index.html)

Options of a run:
  --profile NAME     smoke (minutes, a check), demo (default: a laptop, no GPU, no download), paper (published settings),
                     paper-equal-steps and paper-reference (the same with as many steps for all, and with the reference's
                     own conventions), or a YAML file
  --datasets LIST    uavid,ruralscapes (default: both)
  --systems LIST     the systems to run, by name, separated by commas
  --only NN          only the notebook of that number, for example --only 03
  --seed N           the seed of training
  --seeds LIST       several, such as 0,1,2: tables with mean and spread
  --data DIR         the real data sets, for --profile paper (data/README.md shows their layout)
  --dataset FILE     a data set of your own, described by a dataset.yaml, in place of the profile's (data/README.md); several:
                     repeat it
  --ablations        run notebook 09 after the others: SSP with one thing changed at a time (many trainings)
  --force            do everything again, also what is up to date
  --workers N        processes, one thread each (default: one a core); the numbers are the same for any
  --scheduler ADDR   a Dask cluster to run on, such as tcp://host:8786 (docs/cluster.md)
  --publish          copy tables and pictures to figures/, if the run is whole and all of it was made by this commit
  --plan             run nothing: tell hours, GPU memory and disk of every stage on this machine, from a few timed steps
  -h, --help         this text

The environment: an active virtual or conda environment that already has the pins is used as it is; otherwise .venv is
made with a Python 3.10 or newer, the one named by the variable PYTHON if it is set. A second run re-installs nothing;
an interrupted installation is taken up again. Windows: run it in WSL (Ubuntu or another Linux).
A checkout that cannot be written: .venv and what runs make go to your cache folder, or to those that the variables
SSPCORE_VENV and SSPCORE_HOME name.

After the set-up, .venv/bin/sspcore has all commands: sspcore --help. In another environment: python -m sspcore.
HELP
}

say() { printf '%s\n' "$*" >&2; }
die() { say "reproduce.sh: $*"; exit 2; }

# --- which Python -----------------------------------------------------------------------------------------------------

# The version of the interpreter $1 as one number (3.11 is 311), nothing where it does not run.
version_of() {
    "$1" -c 'import sys; print(sys.version_info[0] * 100 + sys.version_info[1])' 2>/dev/null </dev/null || true
}

shown_venv() { if [ "$venv" = "$root/.venv" ]; then echo .venv; else printf '%s\n' "$venv"; fi; }

can_make_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null; }

# Print the interpreter that .venv is to be made with: the first of the versions the lock was made for (3.10 to 3.13),
# else a newer one. Looks on where one cannot make an environment.
choose_python() {
    local candidate version newer='' without_venv=''
    if [ -n "${PYTHON:-}" ]; then
        version=$(version_of "$PYTHON")
        [ -n "$version" ] || die "PYTHON=$PYTHON does not run: name a Python 3.10 or newer"
        [ "$version" -ge 310 ] || die "PYTHON=$PYTHON is older than Python 3.10: name a newer one"
        can_make_venv "$PYTHON" || die_without_venv "$PYTHON"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
        version=$(version_of "$candidate")
        if [ "${version:-0}" -lt 310 ]; then
            continue
        elif ! can_make_venv "$candidate"; then
            without_venv=${without_venv:-$candidate}
        elif [ "$version" -le 313 ]; then
            printf '%s\n' "$candidate"
            return
        else
            newer=${newer:-$candidate}
        fi
    done
    if [ -n "$newer" ]; then
        say "Note: $newer is newer than the versions tested (3.10 to 3.13)."
        printf '%s\n' "$newer"
    elif [ -n "$without_venv" ]; then
        die_without_venv "$without_venv"
    else
        die "no Python 3.10 or newer found (tried python3, python3.13 to python3.10): install one, or set PYTHON=/path/to/python3"
    fi
}

die_without_venv() {
    die "$1 cannot make virtual environments: install its venv module (Debian, Ubuntu: sudo apt install python3-venv), or set PYTHON= to another Python"
}

# --- the environment --------------------------------------------------------------------------------------------------

# Where the environment of our own lies: SSPCORE_VENV, else .venv, else (a checkout that cannot be written) the user's cache.
place_environment() {
    name_environment "${SSPCORE_VENV:-$root/.venv}"
    if [ -n "${SSPCORE_VENV:-}" ]; then
        [ -f "$log" ] || [ -z "$(ls -A "$venv" 2>/dev/null)" ] ||
            die "SSPCORE_VENV=$SSPCORE_VENV holds something else than our environment: name a new or an empty folder"
    elif [ ! -w "$root" ] && ! is_installed; then
        name_environment "${XDG_CACHE_HOME:-${HOME:-}/.cache}/sspcore/venv${root//\//-}"
        say "$root cannot be written: the environment is $venv; SSPCORE_VENV may name another folder"
    fi
}

name_environment() {
    case $1 in /*) venv=$1 ;; *) venv=$PWD/$1 ;; esac
    stamp=$venv/installed.lock   # a copy of the lock, written last: there only if that very lock was installed to the end
    log=$venv/install.log
    cpu_lock=$venv/cpu.lock      # the pins that setup --cpu has installed; where it lies, later pins are installed the same way
}

# Use the active environment if it has every pin. PYTHON= of another one asks for .venv with that interpreter.
use_active_environment() {
    local active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
    [ -n "$active" ] && [ ! "$active" -ef "$root/.venv" ] && [ -x "$active/bin/python" ] || return 1
    [ -z "${PYTHON:-}" ] || [ "${PYTHON%/*}" -ef "$active/bin" ] || return 1
    PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} PYTHONSAFEPATH=1 \
        "$active/bin/python" -m sspcore doctor --pins >/dev/null 2>&1 || return 1
    python=$active/bin/python
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}   # notebook kernels import sspcore too
}

use_own_environment() {
    python=$venv/bin/python
    # A foreign PYTHONPATH (ROS sets one) would put its packages before the pinned ones.
    unset PYTHONPATH PYTHONHOME
    [ "$linked" = "$root" ] || export PYTHONPATH=$root   # where .venv cannot be written
    export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
}

is_installed() { [ -x "$venv/bin/python" ] && cmp -s "$lock" "$stamp"; }

# Let .venv find the library wherever it is started from, notebook kernels included, and give it the command sspcore; says the
# new place after a move. Safe path: a folder named sspcore where the command is run is not to be taken for the library.
link_library() {
    local packages file command=$venv/bin/sspcore
    linked=
    if [ ! -x "$command" ] && [ -w "$venv/bin" ]; then
        cat >"$command.tmp" <<'COMMAND'
#!/bin/sh
PYTHONSAFEPATH=1 exec "$(dirname "$0")/python" -m sspcore "$@"
COMMAND
        chmod +x "$command.tmp"
        mv "$command.tmp" "$command"
    fi
    for packages in "$venv"/lib/python3*/site-packages; do
        file=$packages/sspcore.pth
        [ ! -f "$file" ] || IFS= read -r linked <"$file" || true
        if [ "$linked" != "$root" ] && [ -w "$packages" ]; then
            printf '%s\n' "$root" >"$file.tmp"
            mv "$file.tmp" "$file"
            linked=$root
        fi
    done
}

check_disk_space() {
    local need=7 free place=$venv
    [ "$(uname -s)" = Linux ] && [ -z "$cpu" ] || need=3   # without the CUDA libraries
    while [ -n "$place" ] && [ ! -d "$place" ]; do place=${place%/*}; done
    [ -w "${place:-/}" ] || die "$venv cannot be written: set SSPCORE_VENV to a folder for the environment (about 6 GB)"
    free=$(df -Pk "${place:-/}" 2>/dev/null | awk 'NR == 2 { print $4 }') || free=
    case $free in '' | *[!0-9]*) return ;; esac
    [ $((free / 1048576)) -ge "$need" ] ||
        die "$((free / 1048576)) GB free at $venv, the environment needs about $need GB (torch brings its CUDA libraries): free some space first"
}

# Pass pip's progress on: one changing line on a terminal, otherwise the two steps.
show_progress() {
    local line
    while IFS= read -r line; do
        case $line in
            'Collecting '*) line=${line#Collecting }; line="  downloading ${line%% *}" ;;
            'Installing collected packages'*) line='  unpacking (about a minute)' ;;
            *) continue ;;
        esac
        if [ -t 2 ]; then
            printf '\r\033[K%s' "$line" >&2
        elif [ "$line" = '  unpacking (about a minute)' ]; then
            say "$line"
        fi
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2
}

# The pins with PyTorch's builds for CPUs, which need no CUDA libraries. Only Linux has two kinds of builds.
write_cpu_lock() {
    local line
    while IFS= read -r line; do
        case $line in
            nvidia-* | cuda-* | triton==*) ;;
            torch==* | torchvision==*) printf '%s+cpu%s\n' "${line%%[ ;]*}" "${line#"${line%%[ ;]*}"}" ;;
            *) printf '%s\n' "$line" ;;
        esac
    done <"$lock" >"$cpu_lock.tmp"
    mv "$cpu_lock.tmp" "$cpu_lock"
}

# The end of the installation's log and what to do about it, then the end.
fail_installation() {
    say ''
    tail -n 8 "$log" >&2
    if grep -qiE 'no space left|disk quota' "$log"; then
        die "$1: the disk is full: free about 7 GB and start again (the whole log: $log)"
    fi
    die "$1: see the lines above (the whole log: $log); check the network and the package index, then start again: it goes on where it was"
}

install() {
    local base='' message pins=$lock index=() size='about 6 GB on Linux'
    [ ! -f "$cpu_lock" ] || cpu=1
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        say "Setting up: taking up $(shown_venv) again (an interrupted installation, or other pins)."
        rm -f "$stamp"
    else
        check_disk_space
        base=$(choose_python)
        say "Setting up: making $(shown_venv) with $base."
        message=$("$base" -m venv --clear "$venv" 2>&1) || die "$base could not make $venv: ${message##*$'\n'}"
    fi
    if [ -n "$cpu" ] && [ "$(uname -s)" = Linux ]; then
        write_cpu_lock
        pins=$cpu_lock index=(--extra-index-url https://download.pytorch.org/whl/cpu) size='about 2 GB, for CPUs'
    fi
    say "Installing the pinned packages ($size, some minutes; log: $log)"
    local started=$SECONDS
    # The lock is complete: --no-deps installs exactly what it says. PIP_USER: some systems set it, and a venv refuses it.
    if ! PYTHONPATH='' PIP_USER=0 "$venv/bin/python" -m pip install --no-deps --no-input --disable-pip-version-check \
        --progress-bar off ${index[@]+"${index[@]}"} --requirement "$pins" 2>&1 | tee "$log" | show_progress; then
        fail_installation "the installation failed"
    fi
    link_library
    if ! PYTHONPATH='' PYTHONSAFEPATH=1 "$venv/bin/python" -m sspcore doctor >>"$log" 2>&1; then
        fail_installation "the environment was installed but does not work"
    fi
    cp "$lock" "$stamp.tmp"
    mv "$stamp.tmp" "$stamp"
    say "Installed in $((SECONDS - started)) s."
}

# Put the pins of an extra, requirements-NAME.lock, into .venv unless that very lock was installed to the end. An active
# environment is not changed: it has them, or the error names the command that installs them.
add_extra() {
    local pins=$root/requirements-$1.lock mark=$venv/installed-$1.lock
    if [ "$python" != "$venv/bin/python" ]; then
        "$python" -m sspcore doctor --pins --extra "$1" >/dev/null 2>&1 ||
            die "the active environment lacks the extra $1: $python -m pip install --no-deps --requirement $pins"
        return
    fi
    ! cmp -s "$pins" "$mark" || return 0
    say "Installing the extra $1 (log: $log)"
    if ! PYTHONPATH='' PIP_USER=0 "$python" -m pip install --no-deps --no-input --disable-pip-version-check \
        --progress-bar off --requirement "$pins" 2>&1 | tee -a "$log" | show_progress; then
        fail_installation "the extra $1 could not be installed"
    fi
    if ! PYTHONPATH='' PYTHONSAFEPATH=1 "$python" -m sspcore doctor --extra "$1" >>"$log" 2>&1; then
        fail_installation "the extra $1 was installed but does not work"
    fi
    cp "$pins" "$mark.tmp"
    mv "$mark.tmp" "$mark"
}

known_extras() {
    local pins name names=
    for pins in "$root"/requirements-*.lock; do
        name=${pins##*/requirements-}
        names=$names${names:+, }${name%.lock}
    done
    printf '%s' "$names"
}

# Extras that were installed once follow their locks.
renew_extras() {
    local mark name
    for mark in "$venv"/installed-*.lock; do
        name=${mark##*/installed-}
        [ ! -f "$root/requirements-$name" ] || add_extra "${name%.lock}"
    done
}

find_environment() {
    case $(uname -s) in MINGW* | MSYS* | CYGWIN*) die "on Windows, run this in WSL (Ubuntu or another Linux)" ;; esac
    [ -f "$lock" ] || die "$lock is missing: restore it from the repository"
    if use_active_environment; then
        return
    fi
    place_environment
    is_installed || install
    if [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$(version_of "$venv/bin/python")" ]; then
        say "Note: $(shown_venv) has another version than PYTHON=$PYTHON; delete it to set it up with that one."
    fi
    link_library
    use_own_environment
    renew_extras
}

# --- the commands -----------------------------------------------------------------------------------------------------

# Refuse an option that no run knows before anything is installed for it.
check_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --profile | --datasets | --systems | --only | --seed | --seeds | --data | --dataset | --workers | --scheduler)
                [ $# -ge 2 ] || die "$1 needs a value: see ./reproduce.sh --help"
                shift
                ;;
            --profile=* | --datasets=* | --systems=* | --only=* | --seed=* | --seeds=* | --data=* | --dataset=*) ;;
            --workers=* | --scheduler=*) ;;
            --force | --ablations | --plan | --publish) ;;
            -*) die "unknown option $1: see ./reproduce.sh --help" ;;
            *) die "unknown command or argument '$1': see ./reproduce.sh --help" ;;
        esac
        shift
    done
}

# Go on as the command `sspcore $@` in the caller's folder, since paths such as --data DIR may be relative to it; safe path:
# a folder named sspcore there is not to be taken for the library.
start() { PYTHONSAFEPATH=1 exec "$python" -m sspcore "$@"; }

# Everything continuous integration checks, or pytest alone with the given arguments. Stops at the first part that fails.
run_tests() {
    cd "$root"
    if [ $# -gt 0 ]; then
        MPLBACKEND=Agg exec "$python" -m pytest "$@"
    fi
    "$python" -m ruff check .
    shopt -s nullglob
    # Notebooks and tests together, on all cores but with one thread each: tests/conftest.py says what stays in one process.
    # Notebooks in numeric order: each builds on the artefacts of those before it.
    OMP_NUM_THREADS=1 MPLBACKEND=Agg SSPCORE_PROFILE=smoke SSPCORE_WORKERS=0 "$python" -m pytest -n auto --maxprocesses=8 --dist loadgroup \
        --no-loadscope-reorder --nbval-lax --nbval-current-env --nbval-cell-timeout=600 \
        --nbval-sanitize-with=tests/notebooks/sanitize.cfg notebooks/[0-9][0-9]_*.ipynb tests
}

# JupyterLab on the start page, with the repository as its root; the address that it prints is the start page's too. Takes
# --profile for the notebooks, hands all other arguments on.
open_lab() {
    local page=notebooks/00_start_here.ipynb profile= left=$#
    [ -f "$root/$page" ] || die "$root/$page is missing: restore it from the repository"
    while [ "$left" -gt 0 ]; do
        case $1 in
            --profile=*) profile=${1#*=} ;;
            --profile)
                [ "$left" -ge 2 ] || die "--profile needs a value: see ./reproduce.sh --help"
                profile=$2 left=$((left - 1))
                shift
                ;;
            *) set -- "$@" "$1" ;;
        esac
        shift
        left=$((left - 1))
    done
    [ -z "$profile" ] || set_profile "$profile"
    find_environment
    cd "$root"
    # kernel and pages of this environment, whatever others lie on JUPYTER_PATH
    export JUPYTER_PATH=${python%/bin/*}/share/jupyter${JUPYTER_PATH:+:$JUPYTER_PATH}
    exec "$python" -m jupyterlab --ServerApp.kernel_spec_manager_class=sspcore.study.kernel.OwnKernels \
        --LabApp.default_url="/lab/tree/$page" "$@"
}

# The profile that notebooks take where nothing else is said: one of ours by name, or a file, which may be relative.
set_profile() {
    if [ -f "$root/sspcore/study/profiles/$1.yaml" ]; then
        export SSPCORE_PROFILE=$1
        return
    fi
    case $1 in
        /*.yaml | /*.yml) export SSPCORE_PROFILE=$1 ;;
        *.yaml | *.yml) export SSPCORE_PROFILE=$PWD/$1 ;;
        *) die "--profile $1 is unknown: see ./reproduce.sh --help" ;;
    esac
    [ -f "$SSPCORE_PROFILE" ] || die "--profile $1: there is no such file"
}

main() {
    local argument extra
    case ${1:-} in
        test | lab) ;;   # their arguments, --help included, are for the tool behind them
        *)
            for argument in "$@"; do
                case $argument in -h | --help) usage; exit 0 ;; esac
            done
            ;;
    esac
    case ${1:-} in
        setup)
            extra=
            shift
            while [ $# -gt 0 ]; do
                case $#,$1,${2:-} in
                    *,--cpu,*) cpu=1 ;;
                    *,--extra=?*,*) extra=${1#--extra=} ;;
                    *,--extra,?*) extra=$2; shift ;;
                    *) die "setup takes --cpu, --extra NAME and nothing else: see ./reproduce.sh --help" ;;
                esac
                shift
            done
            case $extra in
                '') ;;
                */* | *.*) die "--extra $extra is unknown, there is $(known_extras): see ./reproduce.sh --help" ;;
                *) [ -f "$root/requirements-$extra.lock" ] || die "--extra $extra is unknown, there is $(known_extras): see ./reproduce.sh --help" ;;
            esac
            find_environment
            [ -z "$cpu" ] || [ -f "$cpu_lock" ] || [ "$(uname -s)" != Linux ] ||
                say "Note: $python was set up before, with PyTorch for GPUs; delete its environment to make it smaller."
            [ -z "$extra" ] || add_extra "$extra"
            say "The environment is ready: $python"
            ;;
        test) shift; find_environment; run_tests "$@" ;;
        lab) shift; open_lab "$@" ;;
        weights | report | docs) find_environment; start "$@" ;;
        hardware) shift; find_environment; start benchmark "$@" ;;
        *)
            check_options "$@"
            find_environment
            start reproduce "$@"
            ;;
    esac
}

main "$@"
