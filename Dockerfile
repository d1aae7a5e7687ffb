# The Python side of the gateway: control plane, extauth, extproc, demo. One image, one command: igw.
#
# Packages come from the locks, each checked against its hash: from the index that pip knows, and from build/wheels
# where that folder was filled before (deploy/offline/wheels). PIP_NO_INDEX=1 makes the folder the only source.
# BuildKit is not needed. envoy/Dockerfile starts with the same steps, so that both images share their layers.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# --- what igw needs: the venv /opt/igw, without pip ---
FROM ${BASE_IMAGE} AS packages
ARG PIP_NO_INDEX=
ENV PIP_NO_INDEX=${PIP_NO_INDEX} PIP_FIND_LINKS=/wheels PIP_ONLY_BINARY=:all: PIP_NO_CACHE_DIR=1 PIP_QUIET=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# The glob may match nothing: then /wheels holds the lock alone.
COPY requirements-runtime.lock build/wheels* /wheels/
# What is not read at run time goes: C sources, tests, Swagger's editor and its source maps. The root is read-only
# then, so modules are compiled here; with a hash of their source and no time of day, two builds write the same.
RUN python3 -m venv --without-pip /opt/igw \
    && python3 -m pip --python /opt/igw/bin/python3 install --no-compile --require-hashes \
        -r /wheels/requirements-runtime.lock \
    && find /opt/igw -type f \( -name '*.[ch]' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.map' \) -delete \
    && find /opt/igw/lib \( -type d -name tests -o -name 'swagger-editor*' \) -prune -exec rm -r {} + \
    && /opt/igw/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/igw/lib

# --- igw itself: a wheel, whose build hook compiles the .proto files ---
FROM packages AS project
COPY requirements-build.lock /wheels/
RUN python3 -m venv --without-pip /opt/build \
    && python3 -m pip --python /opt/build/bin/python3 install --require-hashes -r /wheels/requirements-build.lock
COPY . /source
# All that the last stage adds to the packages, at its place below /own.
RUN python3 -m pip --python /opt/build/bin/python3 wheel --no-deps --no-build-isolation --wheel-dir /own /source \
    && python3 -m pip --python /opt/igw/bin/python3 install --no-compile --no-deps --no-index --root /own /own/*.whl \
    && rm /own/*.whl \
    && /opt/igw/bin/python3 -m compileall -q --invalidation-mode unchecked-hash -s /own /own/opt/igw/lib \
    && install -D -m 755 /source/deploy/ready /own/usr/local/bin/ready

# --- the image ---
FROM ${BASE_IMAGE} AS image
# No installer stays in the file system, neither the base image's nor its copies for new venvs; no program that
# changes who runs it, either.
RUN for packages in /usr/lib/python3/dist-packages /usr/local/lib/python3*/site-packages; do \
        cd "$packages" 2>/dev/null && rm -rf pip* setuptools* pkg_resources* _distutils_hack distutils-* wheel*; \
    done; \
    rm -rf /usr/bin/pip* /usr/local/bin/pip* /usr/bin/wheel /usr/local/bin/wheel /usr/share/python-wheels \
        /usr/lib/python3*/ensurepip /usr/local/lib/python3*/ensurepip \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && groupadd --gid 10001 igw \
    && useradd --uid 10001 --gid igw --home-dir /var/lib/igw --no-log-init --shell /usr/sbin/nologin igw \
    && install -d -o igw -g igw -m 700 /var/lib/igw /run/igw /etc/igw/tls /etc/igw/tls/xds /etc/igw/tls/proxy \
        /etc/igw/tls/extauth /etc/igw/tls/extproc /etc/igw/tls/collector /etc/igw/tls/api
COPY --from=packages /opt/igw /opt/igw
# --- so far as in envoy/Dockerfile ---
COPY --from=project /own /
ENV PATH=/opt/igw/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/igw
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=8s --start-period=30s --retries=3 CMD ["ready"]
ENTRYPOINT ["igw"]
CMD ["--help"]

# --- what is in it, told by a look inside; nothing of this stage stays but that ---
FROM image AS bill
USER 0
COPY --from=project /opt/build /opt/build
COPY deploy/sbom.py /opt/build/
RUN /opt/build/bin/python3 /opt/build/sbom.py inference-gateway /opt/igw/lib/python3.*/site-packages /sbom.cdx.json

FROM image
COPY --from=bill /sbom.cdx.json /usr/share/doc/inference-gateway/
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="inference-gateway" \
      org.opencontainers.image.description="Control plane of an inference gateway, and the services that its Envoys ask" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
