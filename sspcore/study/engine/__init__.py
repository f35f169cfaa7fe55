"""The engine: a study as a graph of tasks, run by Dask on the cores of this machine or on a cluster."""
