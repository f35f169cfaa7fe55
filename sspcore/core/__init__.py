"""What every floor stands on: errors, types, images, the artefact store, progress."""
