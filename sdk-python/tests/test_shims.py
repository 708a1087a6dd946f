"""The same scripts on boto3, requests and httpx, and on XDT, with only an import changed; CloudEvents and gRPC."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import cloudevents.core.v1.event
import grpc
import httpx
import pytest
import requests
from moto.server import ThreadedMotoServer

import xdt
import xdt.boto3
import xdt.cloudevents
import xdt.grpc
import xdt.httpx
import xdt.requests

import sidecars

S3_SCRIPT = """
import hashlib, io, os, tempfile
{imports}
s3 = boto3.client("s3", **{settings!r})
{bucket}
data = b"0123456789" * 100_000
answer = s3.put_object(Bucket="frames", Key="one/two", Body=data, ContentType="image/raw", Metadata={{"camera": "5"}})
print(sorted(set(answer) & {{"ETag", "ResponseMetadata"}}), answer["ResponseMetadata"]["HTTPStatusCode"])
for _ in range(2):
    answer = s3.get_object(Bucket="frames", Key="one/two")
    body = answer["Body"].read()
    print(answer["ContentLength"], answer["ContentType"], answer["Metadata"], hashlib.sha256(body).hexdigest())
answer = s3.get_object(Bucket="frames", Key="one/two", Range="bytes=5-14")
print(answer["Body"].read(4), answer["Body"].read(), answer["ContentLength"])
answer = s3.get_object(Bucket="frames", Key="one/two")
print([len(piece) for piece in answer["Body"].iter_chunks(400_000)])
head = s3.head_object(Bucket="frames", Key="one/two")
print(head["ContentLength"], head["ContentType"], head["Metadata"])
s3.put_object(Bucket="frames", Key="one/two", Body=b"line 1\\nline 2\\n")
print(list(s3.get_object(Bucket="frames", Key="one/two")["Body"].iter_lines()))
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "file")
    open(path, "wb").write(data)
    seen = []
    s3.upload_file(path, "frames", "file", Callback=seen.append)
    s3.download_file("frames", "file", path + ".copy")
    print(sum(seen), open(path + ".copy", "rb").read() == data, sorted(os.listdir(folder)))
target = io.BytesIO()
s3.upload_fileobj(io.BytesIO(data), "frames", "object", ExtraArgs={{"ContentType": "a/b"}})
s3.download_fileobj("frames", "object", target)
print(target.getvalue() == data, s3.head_object(Bucket="frames", Key="object")["ContentType"])
s3.delete_object(Bucket="frames", Key="one/two")
s3.delete_object(Bucket="frames", Key="one/two")
try:
    s3.get_object(Bucket="frames", Key="one/two")
except s3.exceptions.NoSuchKey as error:
    print(error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"], str(error))
from botocore.exceptions import ClientError
try:
    s3.get_object(Bucket="frames", Key="never")
except ClientError as error:
    print(error.response["Error"], error.operation_name)
"""


def run(script: str, **environment: str) -> str:
    command = [sys.executable, "-c", script]
    given = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_for_s3_runs_as_it_is(producer: sidecars.Sidecar) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    settings = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
    make = 's3.create_bucket(Bucket="frames")'
    theirs = run(S3_SCRIPT.format(imports="import boto3", settings=settings, bucket=make), **keys)
    server.stop()
    ours = run(
        S3_SCRIPT.format(imports="import xdt.boto3 as boto3", settings=settings, bucket=""), **producer.variables
    )
    assert ours.splitlines() == theirs.splitlines()


def test_a_reference_is_a_key_in_another_instance(producer: sidecars.Sidecar, consumer: sidecars.Sidecar) -> None:
    s3 = xdt.boto3.S3Client(retrievals=1, **producer.settings)
    other = xdt.boto3.S3Client(**consumer.settings)
    reference = s3.put_object(Bucket="b", Key="k", Body="text")["Reference"]
    assert other.get_object(Bucket="any", Key=reference)["Body"].read() == b"text"
    with pytest.raises(other.exceptions.NoSuchKey):
        other.get_object(Bucket="any", Key=reference)
    with pytest.raises(NotImplementedError, match="list_objects_v2"):
        s3.list_objects_v2(Bucket="b")
    with pytest.raises(TypeError, match="Bucket"):
        s3.put_object(Bucket="", Key="k", Body=b"")
    with pytest.raises(ValueError, match="Range"):
        s3.get_object(Bucket="b", Key="k", Range="5-6")


CONSUMER = """
import json, sys, wsgiref.simple_server
import xdt.boto3 as boto3

def handler(event, context):
    if event.get("fail"):
        raise KeyError("the handler's own")
    body = s3.get_object(Bucket=event["bucket"], Key=event["key"])["Body"].read()
    return {"bytes": len(body), "context": context.client_context}

class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass

server = wsgiref.simple_server.make_server("127.0.0.1", 0, boto3.lambda_app(handler), handler_class=Quiet)
print(server.server_port, flush=True)
s3 = boto3.client("s3", **json.loads(sys.stdin.readline()))
server.serve_forever()
"""


def test_a_lambda_handler_finds_the_keys_of_its_caller(caller: sidecars.Sidecar) -> None:
    """The producer and the consumer of a workflow for S3 and Lambda, each with one import changed."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", CONSUMER], stdin=pipe, stdout=pipe, text=True) as consumer:
        assert consumer.stdin is not None and consumer.stdout is not None
        port = int(consumer.stdout.readline())
        with sidecars.sidecar(USER_PORT=str(port)) as front:
            print(json.dumps(front.settings), file=consumer.stdin, flush=True)
            s3 = xdt.boto3.S3Client(**caller.settings)
            functions = xdt.boto3.LambdaClient(url=front.url + "?f={name}", **caller.settings)
            s3.put_object(Bucket="frames", Key="one", Body=bytes(1_000_000))
            payload = json.dumps({"bucket": "frames", "key": "one"})
            answer = functions.invoke(FunctionName="resize", Payload=payload, ClientContext="context")
            assert json.load(answer["Payload"]) == {"bytes": 1_000_000, "context": "context"}
            assert (answer["StatusCode"], answer["ExecutedVersion"], "FunctionError" in answer) == (
                200,
                "$LATEST",
                False,
            )
            answer = functions.invoke(FunctionName="resize", Payload=io.BytesIO(b'{"fail": true}'))
            assert answer["FunctionError"] == "Unhandled"
            assert json.loads(answer["Payload"].read())["errorType"] == "KeyError"
            assert functions.invoke(FunctionName="resize", InvocationType="DryRun")["StatusCode"] == 204
            assert functions.invoke(FunctionName="f", Payload=payload, InvocationType="Event")["StatusCode"] == 202
            with pytest.raises(functions.exceptions.ClientError, match="InvocationType"):
                functions.invoke(FunctionName="f", InvocationType="Sometimes")
            functions.close()
        consumer.kill()
    with pytest.raises(xdt.boto3.ClientError, match="InternalError"):
        xdt.boto3.LambdaClient(url="http://127.0.0.1:1/", **caller.settings).invoke(FunctionName="f")


def test_the_keys_header_is_bounded_and_checked() -> None:
    keys = xdt.boto3._Keys()
    before, xdt.boto3._keys = xdt.boto3._keys, keys
    try:
        for number in range(200):
            keys.remember("b", f"key-{number}", xdt.Reference(f"xdt1.{number:0200}"))
        payload = json.dumps({"all": [f"key-{number}" for number in range(200)]}).encode()
        header = xdt.boto3._keys_header(payload)[xdt.boto3.KEYS_HEADER]
        assert 100 < len(header) <= xdt.boto3.KEYS_LIMIT
        assert xdt.boto3._told_keys(header)[0] == ("b", "key-0", f"xdt1.{0:0200}")
        for wrong in ("", "no base64", "bm8ganNvbg==", "WzFd"):
            assert xdt.boto3._told_keys(wrong) == []
        assert xdt.boto3._keys_header(b"no json") == {}
    finally:
        xdt.boto3._keys = before


@pytest.mark.parametrize("size", [0, 100, 2_000_000])
def test_requests(function: sidecars.Function, caller: sidecars.Sidecar, size: int) -> None:
    data = os.urandom(size)
    with requests.Session() as plain, xdt.requests.Session(xdt.Client(**caller.settings)) as ours:
        told = []
        for session in (plain, ours):
            answer = session.post(
                function.url, data=data, headers={"Content-Type": "a/b", "X-Status": "201"}, timeout=30
            )
            assert answer.content == data
            told.append((answer.status_code, answer.headers["content-type"], answer.ok, answer.url))
            answer = session.post(function.url, data=io.BytesIO(data), timeout=30, stream=True)
            assert b"".join(answer.iter_content(10_000)) == data
            assert (
                session.post(function.url, data=(piece for piece in (data, b"end")), timeout=30).content
                == data + b"end"
            )
            assert session.post(function.url, json={"a": 1}, timeout=30).json() == {"a": 1}
            assert session.get(function.url, timeout=30).headers["x-method"] == "GET"
            with pytest.raises(requests.HTTPError):
                session.post(function.url, headers={"X-Status": "500"}, timeout=30).raise_for_status()
        assert told[0] == told[1]
        with pytest.raises(requests.ConnectionError) as caught:
            ours.post("http://127.0.0.1:1/", timeout=5)
        assert isinstance(caught.value.__cause__, xdt.XdtError)


@pytest.mark.parametrize("size", [0, 100, 2_000_000])
def test_httpx(function: sidecars.Function, caller: sidecars.Sidecar, size: int) -> None:
    data = os.urandom(size)
    ours = httpx.Client(transport=xdt.httpx.XdtTransport(xdt.Client(**caller.settings)))
    told = []
    for client in (httpx.Client(), ours):
        answer = client.post(function.url, content=data, headers={"Content-Type": "a/b", "X-Status": "201"})
        assert answer.content == data
        told.append((answer.status_code, answer.headers["content-type"], answer.url))
        assert client.post(function.url, content=iter([data, b"", b"end"])).content == data + b"end"
        with client.stream("POST", function.url, content=data) as streamed:
            assert b"".join(streamed.iter_bytes()) == data
        with pytest.raises(httpx.ConnectError):
            client.post("http://127.0.0.1:1/")
        client.close()
    assert told[0] == told[1]

    async def main() -> None:
        import asyncio

        transport = xdt.httpx.AsyncXdtTransport(xdt.AsyncClient(**caller.settings))
        async with httpx.AsyncClient(transport=transport) as client:
            answers = await asyncio.gather(*(client.post(function.url, content=data) for _ in range(4)))
            assert all(answer.content == data for answer in answers)

    import asyncio

    asyncio.run(main())


def test_cloudevents(producer: sidecars.Sidecar, consumer: sidecars.Sidecar) -> None:
    with xdt.Client(**producer.settings) as here, xdt.Client(**consumer.settings) as there:
        given = {"type": "image", "source": "/camera", "datacontenttype": "image/raw"}
        event = xdt.cloudevents.event(here, given, bytes(1_000_000), 2)
        assert (event.get_type(), event.get_data()) == ("image", None)
        reference = xdt.cloudevents.reference(event)
        assert reference == event.get_extension("dataref") and isinstance(reference, xdt.Reference)
        obj = xdt.cloudevents.data(there, event)
        assert len(obj) == 1_000_000 and obj.content_type == "image/raw"
        # As it travels.
        attributes = {name: str(value) for name, value in event.get_attributes().items()}
        assert len(xdt.cloudevents.data(there, attributes)) == 1_000_000
        plain = cloudevents.core.v1.event.CloudEvent(
            {"type": "t", "source": "/s", "id": "1", "specversion": "1.0"}, {"own": "data"}
        )
        assert xdt.cloudevents.reference(plain) is None
        assert xdt.cloudevents.data(there, plain) == {"own": "data"}


@pytest.fixture
def grpc_channel(consumer: sidecars.Sidecar) -> Iterator[grpc.Channel]:
    """A gRPC server beside ``consumer`` that answers with the size of the object it was given."""
    client = xdt.Client(**consumer.settings)

    def size(request: bytes, context: Any) -> bytes:
        try:
            return b"%d" % len(client.get(xdt.grpc.reference(context)))
        except LookupError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise

    server = grpc.server(futures.ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(size)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Sizes", {"Size": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()


def test_grpc(grpc_channel: grpc.Channel, producer: sidecars.Sidecar) -> None:
    size = grpc_channel.unary_unary("/test.Sizes/Size")
    with xdt.Client(**producer.settings) as client:
        metadata = xdt.grpc.metadata(client.put(bytes(1_000_000)), beside=[("other", "kept")])
        assert metadata[0] == ("other", "kept")
        assert size(b"", metadata=metadata, timeout=sidecars.PATIENCE) == b"1000000"
        for given in ((), xdt.grpc.metadata("a", "b")):
            with pytest.raises(grpc.RpcError) as caught:
                size(b"", metadata=given, timeout=sidecars.PATIENCE)
            assert "not one" in caught.value.details()
    assert xdt.grpc.references([("Object-Reference", "a"), ("x", "y"), ("object-reference", "b")]) == ["a", "b"]
