# Predictions over HTTP: docker build -t selfsort . && docker run --rm -p 127.0.0.1:8573:8573 -v "$PWD/RUN:/model:ro" selfsort
FROM python:3.12-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY src src
# PyTorch without CUDA: a third of the size, and predictions are computed on the processor.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision \
    && pip install --no-cache-dir --constraint requirements.lock ".[onnx]" \
    && rm -rf /src \
    && useradd --create-home selfsort

USER selfsort
WORKDIR /
EXPOSE 8573
HEALTHCHECK --start-period=60s --timeout=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8573/health')"]
# Anything that reaches the port may ask. Behind a proxy with another name, add --allow-host NAME.
ENTRYPOINT ["selfsort", "serve"]
CMD ["/model", "--host", "0.0.0.0", "--port", "8573"]
