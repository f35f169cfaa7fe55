"""sspcore: Semantic Similarity Propagation for temporally consistent segmentation of aerial video.

Data flows one way through this package:

    raw release --prepare--> clips --train--> checkpoint --predict--> label maps --evaluate--> results --report--> figures
"""

import os
import sys

__version__ = "0.1.0"

# torch's OpenMP threads spin at every barrier: beside one other busy process a training step takes twenty times as long.
# Read when torch loads; results do not change. KMP_ is LLVM's runtime (macOS), GOMP_ is GNU's (Linux).
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"} & os.environ.keys():
    name, value = ("KMP_BLOCKTIME", "1") if sys.platform == "darwin" else ("GOMP_SPINCOUNT", "1000")
    os.environ[name] = value
