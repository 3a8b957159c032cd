"""What training promises and serving relies on: picture geometry, the model manifest, the repository layout.

Depends on the standard library, numpy and Pillow alone, so that the gateway can use it without TensorFlow.
"""
