"""Object stores that are not far: one that speaks S3 on this machine, for all processes, and one in memory."""

import contextlib
import logging
from collections.abc import Iterator

import pytest
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
