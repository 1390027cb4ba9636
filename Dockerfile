# One image: herdbook and the PostgreSQL that it embeds, run by an ordinary user.
FROM python:3.13-slim-bookworm AS build

WORKDIR /build
RUN python -m venv /opt/herdbook
COPY requirements/runtime.txt requirements/
RUN /opt/herdbook/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/herdbook/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
    && /opt/herdbook/bin/python -m compileall -q /opt/herdbook/lib \
    && /opt/herdbook/bin/python -c "from herdbook.console.rendering import Templates; from herdbook.console_pages import PAGES; Templates(page.template for page in PAGES if page.template).compile()"

FROM python:3.13-slim-bookworm

RUN groupadd --gid 10001 herdbook \
    && useradd --uid 10001 --gid herdbook --create-home herdbook \
    && install --directory --owner=herdbook --group=herdbook --mode=0700 /data
COPY --from=build /opt/herdbook /opt/herdbook

USER herdbook
ENV PATH=/opt/herdbook/bin:$PATH \
    HERDBOOK_DATA_DIR=/data \
    HERDBOOK_HOST=0.0.0.0
VOLUME /data
EXPOSE 8080
# The server drains for up to 10 seconds, and then the database stops: `docker stop --timeout 30`, and `--stop-timeout 30` at run.
# It need not write but to /data and /tmp: it runs with `--read-only --tmpfs /tmp`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "from http.client import HTTPConnection as Connection; c = Connection('127.0.0.1', 8080, timeout=2); c.request('GET', '/readyz'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["herdbook"]
CMD ["serve"]
