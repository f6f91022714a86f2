# The gateway's image: scripts/install makes the environment, the same script that scripts/serve and CI exercise.
# Both stages use one base image and one folder, because the environment's scripts name their interpreter by path.
FROM python:3.11-slim AS build
WORKDIR /app
COPY scripts/install scripts/install
COPY requirements/run.txt requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY policies policies
COPY upstreams upstreams
COPY middleware middleware
COPY gateway gateway
RUN scripts/install run

FROM python:3.11-slim
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/tiergate --create-home tiergate
WORKDIR /app
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TIERGATE_STATE_DIR=/var/lib/tiergate
USER tiergate
VOLUME /var/lib/tiergate
EXPOSE 8080 9900
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9900/readyz', timeout=2)"]
ENTRYPOINT ["tiergate"]
CMD ["serve", "--policies", "/etc/tiergate"]
