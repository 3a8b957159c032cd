# Four images from one file: `docker build --target gateway|model-server|model-server-embedded|training .` (`make image`
# builds all). Each with Python in it says what it holds in /opt/headway/sbom.cdx.json (CycloneDX).
ARG PYTHON_TAG=3.11-slim
# The same as in k8s/images/kustomization.yaml; a test compares them.
ARG TENSORFLOW_SERVING_TAG=2.20.0


FROM python:${PYTHON_TAG} AS wheel
WORKDIR /source
COPY locks/dev.lock locks/
# The build backend and what it needs, at the locked versions: each entry of the lock runs to the first line that does
# not end in a backslash. pip refuses the list if anything is missing from it.
RUN sed -n -E '/^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/,/[^\\]$/p' locks/dev.lock > build.lock \
 && pip install --no-cache-dir --require-hashes -r build.lock
COPY pyproject.toml README.md ./
COPY contract contract
COPY training training
COPY serving serving
COPY client client
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .


# Writes the list of what an environment holds; stays out of the images.
FROM python:${PYTHON_TAG} AS sbom
RUN python -m venv /opt/sbom
COPY locks/sbom.lock /locks/
RUN /opt/sbom/bin/pip install --no-cache-dir --require-hashes -r /locks/sbom.lock


# Bytecode is made at the end of each of these, on every core: the images cannot write any when they run.
FROM python:${PYTHON_TAG} AS gateway-packages
RUN python -m venv --without-pip /opt/headway
COPY locks/gateway.lock /locks/
# s3fs brings descriptions of some four hundred services of AWS, of which copying versions uses these.
RUN pip --python /opt/headway/bin/python install --no-cache-dir --no-compile --require-hashes -r /locks/gateway.lock \
 && find /opt/headway/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
    ! -name s3 ! -name sso ! -name sso-oidc ! -name sts -exec rm -r {} +
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/headway/bin/python install --no-cache-dir --no-compile --no-deps /wheels/*.whl
COPY --from=sbom /opt/sbom /opt/sbom
RUN /opt/sbom/bin/cyclonedx-py environment --output-reproducible --of JSON -o /opt/headway/sbom.cdx.json /opt/headway/bin/python \
 && python -m compileall -q -j 0 /opt/headway/lib


FROM python:${PYTHON_TAG} AS model-server-packages
RUN python -m venv --without-pip /opt/headway
COPY locks/serving.lock /locks/
RUN pip --python /opt/headway/bin/python install --no-cache-dir --no-compile --require-hashes -r /locks/serving.lock
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/headway/bin/python install --no-cache-dir --no-compile --no-deps /wheels/*.whl
COPY --from=sbom /opt/sbom /opt/sbom
RUN /opt/sbom/bin/cyclonedx-py environment --output-reproducible --of JSON -o /opt/headway/sbom.cdx.json /opt/headway/bin/python \
 && python -m compileall -q -j 0 /opt/headway/lib


FROM python:${PYTHON_TAG} AS training-packages
RUN python -m venv --without-pip /opt/headway
COPY locks/training.lock /locks/
RUN pip --python /opt/headway/bin/python install --no-cache-dir --no-compile --require-hashes -r /locks/training.lock
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/headway/bin/python install --no-cache-dir --no-compile --no-deps /wheels/*.whl
COPY --from=sbom /opt/sbom /opt/sbom
RUN /opt/sbom/bin/cyclonedx-py environment --output-reproducible --of JSON -o /opt/headway/sbom.cdx.json /opt/headway/bin/python \
 && python -m compileall -q -j 0 /opt/headway/lib


# The HTTP gateway. Needs HEADWAY_MODEL_SERVER and a routes.json at HEADWAY_ROUTES_FILE. Holds the `headway` command too,
# for copying versions from a bucket (`headway repository`) and for rollouts.
FROM python:${PYTHON_TAG} AS gateway
LABEL org.opencontainers.image.title="Headway gateway" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=gateway-packages /opt/headway /opt/headway
ENV PATH=/opt/headway/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    HEADWAY_HOST=0.0.0.0 \
    HEADWAY_PORT=8080 \
    HEADWAY_LOG_FORMAT=json \
    HEADWAY_ROUTES_FILE=/etc/headway/routes.json
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['HEADWAY_PORT'] + '/livez', timeout=2)"]
CMD ["headway-gateway"]


# TensorFlow Serving with Headway's flags. Needs the model repository at /models; mount over /etc/headway to say what is
# loaded from it.
FROM tensorflow/serving:${TENSORFLOW_SERVING_TAG} AS model-server
LABEL org.opencontainers.image.title="TensorFlow Serving for Headway" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY k8s/base/config/models.config k8s/base/config/monitoring.config /etc/headway/
USER 10001:10001
EXPOSE 8500 8501
# The image has no HTTP client, but its bash can open a port; the port opens when the models are loaded.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8500"]
# Replaces the image's shell script, which would be PID 1 and keep SIGTERM from the server.
ENTRYPOINT ["tensorflow_model_server"]
CMD ["--port=8500", \
     "--rest_api_port=8501", \
     "--model_config_file=/etc/headway/models.config", \
     "--model_config_file_poll_wait_seconds=5", \
     "--file_system_poll_wait_seconds=5", \
     "--grpc_channel_arguments=grpc.max_connection_age_ms=30000", \
     "--enable_grpc_healthcheck_service=true", \
     "--monitoring_config_file=/etc/headway/monitoring.config"]


# Headway's own model server: TensorFlow Serving's protocol, flags, files and ports.
FROM python:${PYTHON_TAG} AS model-server-embedded
LABEL org.opencontainers.image.title="Headway model server" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=model-server-packages /opt/headway /opt/headway
COPY k8s/base/config/models.config k8s/base/config/monitoring.config /etc/headway/
ENV PATH=/opt/headway/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    HEADWAY_LOG_FORMAT=json
USER 10001:10001
EXPOSE 8500 8501
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 8500), 3)"]
ENTRYPOINT ["headway-model-server"]
CMD ["--port=8500", \
     "--rest_api_port=8501", \
     "--model_config_file=/etc/headway/models.config", \
     "--model_config_file_poll_wait_seconds=5", \
     "--file_system_poll_wait_seconds=5", \
     "--grpc_channel_arguments=grpc.max_connection_age_ms=30000", \
     "--enable_grpc_healthcheck_service=true", \
     "--monitoring_config_file=/etc/headway/monitoring.config"]


# The `headway` command with everything that training needs: docker run ... train RECIPE --repository /models
FROM python:${PYTHON_TAG} AS training
LABEL org.opencontainers.image.title="Headway training" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=training-packages /opt/headway /opt/headway
# HOME holds caches, and this user has no other folder to write to.
ENV PATH=/opt/headway/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 10001:10001
ENTRYPOINT ["headway"]
CMD ["--help"]
