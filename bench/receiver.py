"""An endpoint that accepts every event at once: `python -m bench.receiver`.

It prints its port. Whenever a line comes in, it prints what it has received since the last one as JSON, and starts anew. It
ends with its input. It is as small as possible, because it shares the processors with the server under test.
"""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
# One event in this many is sampled for its delay.
SAMPLE = 8
received: list[bytes] = []
delays: list[float] = []


class Endpoint(asyncio.Protocol):
    """One connection of a courier, which sends one request after another."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.data = b""

    def data_received(self, data: bytes) -> None:
        data = self.data = self.data + data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return
        length_at = data.index(b"Content-Length: ") + 16
        if len(data) < head + 4 + int(data[length_at : data.index(b"\r", length_at)]):
            return
        id_at = data.index(b"webhook-id: ") + 12
        received.append(data[id_at : id_at + 30])
        if len(received) % SAMPLE == 0:
            at = data.index(b'"created_at":"', head) + 14
            created = datetime.strptime(data[at : at + 26].decode(), "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
            delays.append(time.time() - created.timestamp())
        self.data = b""
        self.transport.write(ANSWER)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Endpoint, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps({"events": len(received), "different": len(set(received)), "delays": sorted(delays)}), flush=True)
        received.clear()
        delays.clear()


if __name__ == "__main__":
    uvloop.run(main())
