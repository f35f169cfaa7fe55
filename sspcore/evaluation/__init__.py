"""Scoring label maps: of a study's clips, and of folders of any origin."""
