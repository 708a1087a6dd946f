"""Pulls one object with grpcio and protobuf as they come from the index, without any code of this project.

Arguments: address, file descriptor set, file for the bytes, first request (hexadecimal). Exit code 0 if all came.
"""

import queue
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

address, descriptors, received, start = sys.argv[1:]

pool = descriptor_pool.DescriptorPool()
files = descriptor_pb2.FileDescriptorSet()
with open(descriptors, "rb") as file:
    files.ParseFromString(file.read())
for each in files.file:
    pool.Add(each)
service = pool.FindServiceByName("xdt.v1.Transfer").methods_by_name["Pull"]
Request = message_factory.GetMessageClass(service.input_type)
Response = message_factory.GetMessageClass(service.output_type)

steps = queue.Queue()
steps.put(Request.FromString(bytes.fromhex(start)))
total = 0
with grpc.insecure_channel(address) as channel, open(received, "wb") as file:
    pull = channel.stream_stream(
        "/xdt.v1.Transfer/Pull",
        request_serializer=Request.SerializeToString,
        response_deserializer=Response.FromString,
    )
    answer = pull(iter(steps.get, None), timeout=30)
    assert next(answer).WhichOneof("part") == "opening"
    for message in answer:
        if message.WhichOneof("part") == "chunk":
            file.write(message.chunk)
            total += len(message.chunk)
        else:
            assert message.closing.length == total, (message.closing.length, total)
            confirm = Request()
            confirm.confirm.SetInParent()
            steps.put(confirm)
            steps.put(None)
    assert answer.code() == grpc.StatusCode.OK, answer.code()
