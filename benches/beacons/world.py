"""What a browser meets, on loopback: a page, endpoints of known delays, and the proxy before the beacon listener."""

import asyncio
import contextlib
import dataclasses

HOST = "127.0.0.1"
LONGEST_HEAD = 16 * 1024
LONGEST_BODY = 64 * 1024
# TCP's handshake and that of TLS come before the first answer on a connection: it takes so many round trips.
FIRST = 3
# A bystander on the page: tells when the page has loaded and the browser was idle, after all that came before it, and
# leaves when it is told to.
PAGE = """<!doctype html>
<title>A shop</title>
<script async src="{script}" data-service="{service}"></script>
<script nonce="shop">
  addEventListener("load", () => setTimeout(() => requestIdleCallback(() => fetch("/idle")), 0));
  if (location.pathname === "/leaving") fetch("/leave").then(() => location.assign("/gone"));
</script>
"""


@dataclasses.dataclass
class Request:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    # The first of its connection.
    first: bool = False


@dataclasses.dataclass
class Endpoint:
    """An endpoint of the service, and the stand-in that browsers time."""

    name: str
    cloud: str
    region: str
    address: str
    delay_ms: float
    port: int = 0
    # It takes requests and says nothing.
    silent: bool = False
    requests: list[Request] = dataclasses.field(default_factory=list)

    @property
    def site(self) -> str:
        """As samples name it."""
        return f"{self.cloud}/{self.region}"

    @property
    def url(self) -> str:
        """What its `beacon` is."""
        return f"http://{HOST}:{self.port}/pixel"


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; none: it ended."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ", 2)
    split = (line.split(":", 1) for line in lines)
    headers = {name.strip().lower(): value.strip() for name, value in split}
    length = int(headers.get("content-length", "0"))
    if length > LONGEST_BODY:
        return None
    return Request(method, path, headers, await reader.readexactly(length))


def response(status: str, headers: dict[str, str], body: bytes) -> bytes:
    """One on a connection that is kept."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{name}: {headers[name]}" for name in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


async def ask(port: int, request: Request) -> tuple[str, dict[str, str], bytes]:
    """Asks a server on loopback, on a connection of its own: status line behind the version, headers, body."""
    reader, writer = await asyncio.open_connection(HOST, port, limit=LONGEST_HEAD)
    try:
        hop = {"host", "connection", "content-length"}
        kept = [f"{name}: {value}" for name, value in request.headers.items() if name not in hop]
        lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {HOST}:{port}", "Connection: close", *kept]
        lines.append(f"Content-Length: {len(request.body)}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + request.body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in head[1:])}
        body = b"" if head[0].split(" ")[1] == "204" else await body_of(reader, headers)
        return head[0].split(" ", 1)[1], headers, body
    finally:
        writer.close()


async def body_of(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """By its length, by chunks, or until the end."""
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") != "chunked":
        return await reader.read()
    parts = []
    while length := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(length))
        await reader.readline()
    return b"".join(parts)


class World:
    """The servers, and what they have seen."""

    def __init__(self, endpoints: list[Endpoint], client: str, service: str, beacons: int) -> None:
        self.endpoints, self.client, self.service, self.beacons = endpoints, client, service, beacons
        self.last_mile_ms = 0.0
        # What endpoints' replies have besides: nothing that would let a page read them, since none has to.
        self.pixel_headers: dict[str, str] = {}
        self.page = self.other_page = self.proxy = 0
        # What went through the proxy, with the status of the reply.
        self.asked: list[tuple[Request, str]] = []
        self.idle = 0
        # Does a page that waits to leave do so now?
        self.leaves = lambda: False
        self.news = asyncio.Condition()
        self.servers: list[asyncio.Server] = []

    @property
    def origin(self) -> str:
        """Of the page that may report."""
        return f"http://{HOST}:{self.page}"

    async def start(self) -> None:
        """Binds all, each at a port that is free."""
        for endpoint in self.endpoints:
            endpoint.port = await self.serve(lambda request, endpoint=endpoint: self.pixel(endpoint, request))
        self.proxy = await self.serve(self.forward)
        self.page = await self.serve(self.show)
        self.other_page = await self.serve(self.show)

    async def serve(self, answer) -> int:
        """The port of a server whose requests `answer` answers, one after the other on each connection."""

        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ends = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)
            with contextlib.suppress(*ends):
                first = True
                while request := await read_request(reader):
                    writer.write(await answer(dataclasses.replace(request, first=first)))
                    first = False
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(connection, HOST, 0, limit=LONGEST_HEAD)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    async def tell(self) -> None:
        """Wakes who waits for something."""
        async with self.news:
            self.news.notify_all()

    async def until(self, what: str, holds, seconds: float) -> None:
        """Waits until it holds; a TimeoutError that says `what` where it does not in time."""
        try:
            async with asyncio.timeout(seconds), self.news:
                await self.news.wait_for(holds)
        except TimeoutError:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s") from None

    async def pixel(self, endpoint: Endpoint, request: Request) -> bytes:
        """After the way to the endpoint and the client's last mile."""
        endpoint.requests.append(request)
        await self.tell()
        if endpoint.silent:
            async with self.news:
                await self.news.wait_for(lambda: not endpoint.silent)
        round_trips = FIRST if request.first else 1
        await asyncio.sleep(round_trips * (endpoint.delay_ms + self.last_mile_ms) / 1000)
        return response("200 OK", {"Content-Type": "image/gif", **self.pixel_headers}, b"GIF89a")

    async def show(self, request: Request) -> bytes:
        """The page. Its cookie is every port's of this host: who sends credentials sends it."""
        if request.path == "/idle":
            self.idle += 1
            await self.tell()
            return response("204 No Content", {}, b"")
        if request.path == "/leave":
            async with self.news:
                await self.news.wait_for(self.leaves)
            return response("204 No Content", {}, b"")
        if request.path not in ("/", "/leaving", "/isolated"):
            return response("200 OK", {"Content-Type": "text/html"}, b"<!doctype html>")
        listener = f"http://{HOST}:{self.proxy}"
        page = PAGE.format(script=f"{listener}/v1/beacon.js", service=self.service).encode()
        hosts = " ".join(endpoint.url for endpoint in self.endpoints)
        # No more than the README says that a policy has to let in; `self` and the nonce are the bystander's.
        policy = f"default-src 'none'; script-src {listener} 'nonce-shop'; connect-src 'self' {listener} {hosts}"
        headers = {"Content-Security-Policy": policy, "Set-Cookie": "basket=full; Path=/"}
        if request.path == "/isolated":
            headers["Cross-Origin-Embedder-Policy"] = "require-corp"
        return response("200 OK", {"Content-Type": "text/html", **headers}, page)

    async def forward(self, request: Request) -> bytes:
        """To the beacon listener, as the client's."""
        bare = {name: value for name, value in request.headers.items() if name != "x-forwarded-for"}
        brought = dataclasses.replace(request, headers={**bare, "x-forwarded-for": self.client})
        status, headers, body = await ask(self.beacons, brought)
        self.asked.append((request, status))
        await self.tell()
        hop = {"connection", "content-length", "transfer-encoding"}
        return response(status, {name: value for name, value in headers.items() if name not in hop}, body)
