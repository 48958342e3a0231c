# docker build -t pg-index-exporter .
# Releases pin the base by digest: --build-arg BASE=python:3.13-slim-trixie@sha256:...
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS builder
# The classic builder leaves this stage behind without a name; the label finds it for removal.
LABEL pg-index-exporter.stage=builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# Locked wheels first: this layer changes only with the lock file.
COPY requirements/build.lock requirements/run.lock requirements/
RUN python -m pip install --require-hashes --no-deps -r requirements/build.lock \
    && python -m venv --without-pip /opt/pg-index-exporter \
    && python -m pip --python /opt/pg-index-exporter/bin/python install \
       --require-hashes --no-deps --only-binary :all: -r requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY alerts alerts
COPY grafana grafana
COPY indexes indexes
# The virtual environment has the same path in both stages: its scripts name their interpreter.
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m pip --python /opt/pg-index-exporter/bin/python install --no-deps /wheels/*.whl

FROM ${BASE}
COPY --from=builder /opt/pg-index-exporter /opt/pg-index-exporter
# DONTWRITEBYTECODE: the file system may be read-only, and all modules are compiled.
ENV PATH=/opt/pg-index-exporter/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Numeric, so that Kubernetes can check runAsNonRoot without /etc/passwd of the image.
USER 65532:65532
WORKDIR /
EXPOSE 10187
# It reads the environment and the settings file, not an address in a flag of `serve`.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 CMD ["pg-index-exporter", "healthcheck"]
ENTRYPOINT ["pg-index-exporter"]
CMD ["serve"]
# Last, because they differ with every build.
ARG VERSION=
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="pg-index-exporter" \
      org.opencontainers.image.description="Prometheus exporter and alerting sidecar for PostgreSQL indexes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
