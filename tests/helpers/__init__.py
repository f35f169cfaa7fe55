"""What tests of several folders share; found by `pythonpath` in pyproject.toml."""
