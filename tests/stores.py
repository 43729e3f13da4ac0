"""Object stores of this machine, which all of its processes find: one that speaks S3, one of Google's kind."""

import contextlib
import logging
import socket
from collections.abc import Iterator

import pytest
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer

BUCKET = "retina"


@contextlib.contextmanager
def s3() -> Iterator[str]:
    """Address of an empty bucket; processes that begin meanwhile find it, too."""
    import boto3
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        S3FileSystem.clear_instance_cache()  # of earlier servers
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        try:
            yield f"s3://{BUCKET}"
        finally:
            S3FileSystem.clear_instance_cache()
            server.stop()


@contextlib.contextmanager
def gcs() -> Iterator[str]:
    """Address of an empty bucket; processes that begin meanwhile find it, too."""
    from gcsfs import GCSFileSystem

    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    server = create_server("localhost", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
        GCSFileSystem.clear_instance_cache()
        try:
            yield f"gs://{BUCKET}"
        finally:
            GCSFileSystem.clear_instance_cache()
            server.stop()
