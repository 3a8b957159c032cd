"""Version directories as programs: SavedModels and TFLite models, and their warm-up."""
