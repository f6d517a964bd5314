# fastdump in a container. Not root; the root file system may be read-only; backups go to /backups.
# docs/container.md says how to use it.
ARG BASE=debian:trixie-slim
FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates tzdata \
        binutils
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE CHANGELOG.md ./
COPY fastdump fastdump
# Messages by apprise (--notify) take 15 MB more: --build-arg EXTRAS=[notify]
ARG EXTRAS=
# The container needs no pip. Only what every run imports is compiled: all would take 20 MB.
RUN python3 -m venv /opt/fastdump \
    && /opt/fastdump/bin/pip install --no-cache-dir --no-compile ".${EXTRAS}" \
    && /opt/fastdump/bin/pip uninstall -y pip \
    && cd /opt/fastdump/lib/python3*/site-packages \
    && rm -rf apprise/i18n ../../../share \
    && find . -name '*.so' -exec strip --strip-unneeded {} + \
    && python3 -m compileall -q fastdump bson pymongo tenacity msgspec

FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-minimal libpython3-stdlib \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf /var/log/* \
        /usr/share/doc /usr/share/man /usr/lib/python3*/test /usr/lib/python3*/pydoc_data \
    && useradd --uid 1000 --create-home fastdump \
    && install -d -o fastdump -m 0700 /backups /config /state
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build /opt/fastdump /opt/fastdump
ENV PATH=/opt/fastdump/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_STATE_HOME=/state \
    KOMODO_CLI_CONFIG_PATHS=/config \
    KOMODO_CLI_CONFIG_KEYWORDS=*config.*,*komodo.cli*.*
USER fastdump
VOLUME ["/backups", "/state"]
# Limits such as FASTDUMP_MAX_AGE=26h make it tell more than that there is a backup.
HEALTHCHECK --interval=10m --timeout=30s CMD ["fastdump", "status", "-q"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["fastdump"]
CMD ["--help"]
