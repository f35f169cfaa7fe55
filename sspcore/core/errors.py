"""Errors meant for people: one line that names the file or setting, what is wrong, and what to do."""


class SspError(Exception):
    """Base of every error that a user can act on; command lines print it as one line and exit with status 2."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # names of files and settings may hold line ends


def reason(error: BaseException) -> str:
    """What another library's exception says, on one line and shortened, to be part of an error of ours."""
    return " ".join(str(error).split())[:160]


class ProfileError(SspError):
    """A profile key or value is unknown or out of range."""


class ReleaseError(SspError):
    """A raw release is incomplete or damaged (missing file, unreadable frame, unknown label colour, ...)."""


class WeightsError(SspError):
    """Pretrained weights cannot be had or do not fit; nothing ever falls back to random weights silently."""


class ArtefactError(SspError):
    """A file that an earlier stage should have written is missing, stale or damaged."""


class BusyError(ArtefactError):
    """Another process has been at work on an artefact for too long to be waited for."""
