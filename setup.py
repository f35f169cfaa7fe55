"""What pyproject.toml cannot say: data/sample, the packaged checkpoint and clip, is installed inside the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["sspcore*"]), "sspcore._sample"],
    package_dir={"sspcore._sample": "data/sample"},
)
