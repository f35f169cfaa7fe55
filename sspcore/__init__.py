"""sspcore: Semantic Similarity Propagation for temporally consistent segmentation of aerial video.

Data flows one way through the rooms of this package:

    raw release --prepare--> clips --train--> checkpoint --predict--> label maps --evaluate--> results --report--> figures
"""

__version__ = "0.1.0"
