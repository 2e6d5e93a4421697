FROM python:3.11-slim
WORKDIR /tf_trpo
COPY setup.cfg pyproject.toml README.md LICENSE constraints.txt ./
COPY tf_trpo tf_trpo
RUN pip install --no-cache-dir --constraint constraints.txt ".[mujoco,serve,figures]"
RUN useradd --create-home trpo
USER trpo
WORKDIR /home/trpo
ENTRYPOINT ["python", "-m", "tf_trpo"]
CMD ["--help"]
