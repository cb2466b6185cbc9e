# EGGS Explorer for a server's CPU. For a GPU see docs/deploy.md.
FROM python:3.11-slim

# gcc builds the packed kernel for the processor at hand, at its first use.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 eggs
WORKDIR /home/eggs/app

# torch's own index has wheels without CUDA, which are a tenth as large; the version is the one in requirements.txt.
COPY requirements.txt .
RUN pip install --no-cache-dir "$(grep '^torch==' requirements.txt)" --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir -r requirements.txt

COPY --chown=eggs:eggs . .
RUN install -d -o eggs -g eggs /data /home/eggs/.cache

USER eggs
ENV GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False \
    PYTHONUNBUFFERED=1 \
    EGGS_HOSTED=1 \
    EGGS_STORE=/data/runs \
    HF_HOME=/data/hub
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/gradio_api/startup-events', timeout=8)"]
CMD ["python", "app.py"]
