"""Takes pictures over HTTP, routes them between model versions, and has TensorFlow Serving (or the embedded model
server, which speaks the same protocol) answer.
"""
