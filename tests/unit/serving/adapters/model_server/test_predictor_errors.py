"""The adapter's table of gRPC errors leaves none out."""

import grpc

from headway_serving.adapters.model_server import predictor as tfserving_predictor


def test_every_status_code_has_its_meaning() -> None:
    # OK is no error, and what NOT_FOUND means depends on who chose the version.
    decided_elsewhere = {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND}
    assert set(tfserving_predictor._ERRORS) == set(grpc.StatusCode) - decided_elsewhere
