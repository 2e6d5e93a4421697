FROM python:3.11-slim
WORKDIR /tf_trpo
COPY setup.cfg pyproject.toml README.md LICENSE constraints.txt ./
COPY tf_trpo tf_trpo
RUN pip install --no-cache-dir --constraint constraints.txt ".[mujoco,serve,figures]"
RUN useradd --create-home trpo
USER trpo
WORKDIR /home/trpo
# Python is process 1, for which SIGTERM has no effect unless a program handles it. All commands handle SIGINT.
STOPSIGNAL SIGINT
ENTRYPOINT ["python", "-m", "tf_trpo"]
CMD ["--help"]
