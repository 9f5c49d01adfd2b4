# Two stages: the first has what building takes (Node.js for the browser libraries), the second only what runs.
FROM python:3.13-slim AS build
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir --disable-pip-version-check build \
 && python -m build --wheel --outdir /wheel \
 && python -m venv /app \
 && /app/bin/pip install --no-cache-dir --disable-pip-version-check "$(echo /wheel/cachewarden-*.whl)[dashboard]"

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin cachewarden
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CACHEWARDEN_HOST=0.0.0.0 \
    CACHEWARDEN_PORT=8765 \
    CACHEWARDEN_DATA_DIR=/tmp/cachewarden
USER cachewarden
EXPOSE 8765
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=2)"]
CMD ["cachewarden", "web"]
