"""The study: profiles, stages, and what regenerates the paper's tables from them."""

from sspcore.study.keys import TEACHER as TEACHER
from sspcore.study.stages import Study as Study
