"""Archives that are not damaged and yet cannot be read here: what each is, and what to do, in a line.

Python reads zip (stored, deflated, bzip2, LZMA) and tar (plain, gzip, bzip2, xz). A file is known by how it begins, since a
download may have any name.
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

PARTS = re.compile(r"\.(z\d\d|r\d\d|\d{3}|part\d+\.rar)$", re.IGNORECASE)  # of archives that were split
_FIRST_PARTS = re.compile(r"\.(z01|r00|001|part0*1\.rar)$", re.IGNORECASE)
_BEGINNINGS = {
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive", b"Rar!\x1a\x07": "is a RAR archive", b"\x28\xb5\x2f\xfd": "is packed with zstd",
}
_METHODS = {9: "Deflate64, as Windows Explorer does with large files", 93: "Zstandard", 95: "xz", 98: "PPMd"}
_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ENCRYPTED = 1 << 0
REMEDY = "unpack it yourself (7-Zip can), and leave the folder that comes out beside it"


def is_later_part(path: Path) -> bool:
    """Whether a file is a part of a split archive other than the one that stands for all of them."""
    has_zip = re.search(r"\.z\d\d$", path.name, re.IGNORECASE) and path.with_suffix(".zip").is_file()
    return bool(has_zip or PARTS.search(path.name) and not _FIRST_PARTS.search(path.name))


def why_sealed(archive: Path) -> str:
    """What an archive is and what to do, if it cannot be read here as a whole; "" if it can, or is damaged."""
    with archive.open("rb") as file:
        beginning = file.read(256)
    if not beginning:
        return "is empty; fetch it again"
    if re.match(rb"\s*(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml)", beginning, re.IGNORECASE):
        return "is a web page and no archive; fetch it again in a browser (are you to log in, or to agree, there?)"
    first = archive.with_suffix(".z01")
    if PARTS.search(archive.name) or archive.suffix.lower() == ".zip" and first.is_file():
        return f"is a part of a split archive; {REMEDY}, from all its parts"
    kind = next((kind for mark, kind in _BEGINNINGS.items() if beginning.startswith(mark)), "")
    if kind.endswith("zstd") and sys.version_info >= (3, 14):
        return ""
    return kind and f"{kind}, which is not read here; {REMEDY}"


def why_member_sealed(entry: zipfile.ZipInfo) -> str:
    """Why a member of a zip cannot be read though it is whole; "" if it can."""
    if entry.flag_bits & _ENCRYPTED:
        return "has a password"
    if entry.compress_type not in _READ and not (entry.compress_type == 93 and sys.version_info >= (3, 14)):
        return f"is packed with {_METHODS.get(entry.compress_type, f'method {entry.compress_type}')}"
    return ""
