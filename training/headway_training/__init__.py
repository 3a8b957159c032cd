"""Trains a base image classifier, transfers it to new tasks as heads, and publishes both as SavedModels."""
