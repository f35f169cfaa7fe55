# The demo in a container, on a CPU; what it makes goes to /out:
#     docker build -t sspcore .
#     docker run --rm -v "$PWD/out:/out" sspcore
# Everything that reproduce.sh takes may follow: `sspcore --profile smoke`. JupyterLab on the start page:
#     docker run --rm -p 8888:8888 sspcore lab --ip=0.0.0.0 --allow-root --no-browser
FROM python:3.11-slim-bookworm

# ffmpeg: overlays and moving pictures in H.264; git: results name their commit
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /sspcore
ENV SSPCORE_VENV=/venv SSPCORE_HOME=/out PIP_NO_CACHE_DIR=1
COPY . .
RUN ./reproduce.sh setup --cpu

VOLUME /out
EXPOSE 8888
ENTRYPOINT ["./reproduce.sh"]
CMD ["--profile", "demo"]
