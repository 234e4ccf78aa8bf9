# The series in a container, with the versions that the tests ran with:
#
#   docker build --tag cvae-notebooks .
#   docker run --rm -it -p 127.0.0.1:8888:8888 cvae-notebooks
#
# Open the address with 127.0.0.1 that it prints: the token in it lets you in, and nobody else.
# Inside, JupyterLab listens on every address, or a published port would lead nowhere. What keeps
# others out are the token and the 127.0.0.1 in front of the port: leave both where they are.
#
# To keep a downloaded MNIST:  --volume cvae-data:/home/reader/series/data
FROM python:3.11-slim

# For work on the series in the dev container: Python's image has neither.
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home reader && install --directory --owner=reader /home/reader/series
WORKDIR /home/reader/series

# First what changes rarely: a new notebook does not install PyTorch again.
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt

# Installed in place: the trained weights lie beside the package.
COPY --chown=reader . .
RUN pip install --no-cache-dir --no-deps --editable .

USER reader
EXPOSE 8888
CMD ["jupyter", "lab", "--no-browser", "--ServerApp.ip=0.0.0.0", "--ServerApp.port=8888", "--ServerApp.root_dir=/home/reader/series", "--LabApp.default_url=/lab/tree/notebooks/00_playground.ipynb"]
