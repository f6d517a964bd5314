# fastdump in a container, as docs/komodo.md uses it. Not root; backups go to the volume /backups.
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY fastdump fastdump
RUN python -m venv /opt/fastdump && /opt/fastdump/bin/pip install --no-cache-dir .

FROM python:3.13-slim
RUN useradd --uid 1000 --create-home fastdump && install -d -o fastdump -m 0700 /backups /config
COPY --from=build /opt/fastdump /opt/fastdump
ENV PATH=/opt/fastdump/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KOMODO_CLI_CONFIG_PATHS=/config \
    KOMODO_CLI_CONFIG_KEYWORDS=*config.*,*komodo.cli*.*
USER fastdump
VOLUME /backups
ENTRYPOINT ["fastdump"]
CMD ["--help"]
