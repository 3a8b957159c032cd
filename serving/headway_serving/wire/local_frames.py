"""Predict on one machine: the bytes of TensorFlow Serving's messages in frames on a Unix socket.

gRPC between two Python processes costs half a millisecond for a call, most of what a small picture takes. On a
connection one call follows the other:

* request: bytes of the message (uint32), seconds that the call has (float64), bytes of the trace context (uint16), the
  trace context (``traceparent``, and behind a line feed ``tracestate``; or nothing), a PredictRequest;
* answer: bytes of what follows (uint32), the status code (uint8, gRPC's numbers), a PredictResponse, or, where the code
  is not 0, what went wrong as UTF-8.
"""

import struct

REQUEST = struct.Struct("<IdH")
ANSWER = struct.Struct("<IB")

MOST_BYTES = 256 * 1024 * 1024
"""Of a message, as on the gRPC channel."""
