"""The site: README, chapters with their outputs, tables that sort, pictures, the method, the library's reference, by Sphinx.

`gather` lays its pages out in a folder as the repository has them, so that links between them hold; `build` runs Sphinx there.
"""

from sspcore.report.site.build import build_site, check_links
from sspcore.report.site.run import Run, find_run

__all__ = ["Run", "build_site", "check_links", "find_run"]
