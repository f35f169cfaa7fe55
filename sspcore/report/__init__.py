"""Report: tables and pictures from results files, never from numbers typed in."""
