"""ML Metadata's gRPC service, which KFP's driver and launcher write to, over the C++ store of PyPI's `ml-metadata`.

metadata_server.py ADDRESS SQLITE-FILE

The package carries the store but no server. Requests and answers pass through as bytes; the store reads them itself.
"""

import sys
import threading
from collections.abc import Callable
from concurrent import futures

import grpc
from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store as store_module
from ml_metadata.proto import metadata_store_pb2 as messages
from ml_metadata.proto import metadata_store_service_pb2 as service

LARGEST_MESSAGE = 100 << 20
READ_WRITE_CREATE = 3
CODES = {code.value[0]: code for code in grpc.StatusCode}


def main() -> None:
    address, file = sys.argv[1:]
    config = messages.ConnectionConfig()
    config.sqlite.filename_uri = file
    config.sqlite.connection_mode = READ_WRITE_CREATE
    store = store_module.CreateMetadataStore(
        config.SerializeToString(), messages.MigrationOptions().SerializeToString()
    )
    lock = threading.Lock()  # SQLite, one connection

    def method(name: str) -> grpc.RpcMethodHandler:
        function: Callable[..., tuple[bytes, bytes, int]] | None = getattr(store_module, name, None)

        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            if function is None:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, name)
            with lock:
                answer, message, code = function(store, request)
            if code:
                context.abort(CODES.get(code, grpc.StatusCode.UNKNOWN), message.decode())
            return answer

        return grpc.unary_unary_rpc_method_handler(call)  # no (de)serializers: bytes in, bytes out

    described = service.DESCRIPTOR.services_by_name["MetadataStoreService"]
    handlers = {each.name: method(each.name) for each in described.methods}
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", LARGEST_MESSAGE)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(described.full_name, handlers),))
    server.add_insecure_port(address)
    server.start()
    print("listening", address, flush=True)
    server.wait_for_termination()


main()
