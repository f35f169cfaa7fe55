"""Data: specifications of the data sets, rendered releases, preparation into clips, augmentation, training windows."""
