"""Beacons from a browser to the answer. `run` calls it, and says in --help what for."""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sys
import urllib.parse

from world import HOST, Endpoint, Request, World, ask

CLIENT, PREFIX = "128.95.0.7", "128.95.0.0/24"  # Seattle
SERVICE = "www.shop.example"
# To Oregon by way of somewhere: the map has it nearest. Frankfurt is too far to be worth a measurement.
ENDPOINTS = [
    Endpoint("aws-oregon", "aws", "us-west-2", "192.0.2.1", 95),
    Endpoint("gcp-losangeles", "gcp", "us-west2", "192.0.2.2", 33),
    Endpoint("azure-sanjose", "azure", "westus", "192.0.2.3", 60),
    Endpoint("aws-frankfurt", "aws", "eu-central-1", "192.0.2.4", 150),
]
# A session's last mile is one of these times --last-mile.
LAST_MILES = (1.0, 2.0, 0.5, 1.5)
# A measured difference may be off by this much of it, or by this many ms.
TOLERANCE, TOLERANCE_MS = 0.15, 5.0
PATIENCE = 60.0
CHROMIUM = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --disable-extensions "
    "--disable-breakpad --password-store=basic --mute-audio"
).split()
CONFIG = """
[server]
listen = ["{host}:{dns}"]
workers = 1
[admin]
listen = "{host}:{admin}"
[geoip]
databases = [{database}]
[beacons]
listen = ["{host}:{beacons}"]
origins = ["{origin}"]
trusted_proxies = ["127.0.0.0/8"]
explore = {explore}
[[zones]]
name = "shop.example"
file = "shop.example.zone"
[[services]]
name = "{service}"
endpoints = ["*"]
ttl = "20s"
"""
ENDPOINT = """
[[endpoints]]
name = "{name}"
cloud = "{cloud}"
region = "{region}"
addresses = ["{address}"]
beacon = "{url}"
"""
ZONE = """$TTL 60
@    SOA ns1 hostmaster 1 7200 900 1209600 60
     NS  ns1
ns1  A   203.0.113.53
"""


class Wrong(Exception):
    """What was to be shown is not so."""


def free_port() -> int:
    """One that nobody has; by TCP, which leaves it to whoever binds it next."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return taken.getsockname()[1]


@contextlib.asynccontextmanager
async def program(words: list[str], log: pathlib.Path):
    """A program in a process group of its own, which ends with the block, and what it has started with it."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(*words, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        for what in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, what)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 10)


async def output_of(*words: str) -> str:
    """What a program prints."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, errors = await process.communicate()
    if process.returncode != 0:
        raise Wrong(f"{' '.join(words)} failed: {errors.decode().strip()}")
    return printed.decode()


class Server:
    """Meridian, of the configuration above."""

    def __init__(self, meridian: str, folder: pathlib.Path, database: str, world: World, explore: int) -> None:
        self.meridian, self.folder, self.world = meridian, folder, world
        self.dns, self.admin = free_port(), free_port()
        folder.mkdir()
        (folder / "shop.example.zone").write_text(ZONE)
        head = CONFIG.format(
            host=HOST, dns=self.dns, admin=self.admin, beacons=world.beacons, origin=world.origin,
            database=json.dumps(database), service=SERVICE, explore=explore,
        )  # fmt: skip
        of = [ENDPOINT.format(**vars(endpoint), url=endpoint.url) for endpoint in world.endpoints]
        (folder / "config.toml").write_text(head + "".join(of))

    @contextlib.asynccontextmanager
    async def running(self):
        """Ready to steer, until the block ends."""
        log = self.folder / "meridian.log"
        words = [self.meridian, "serve", "--strict", "--config", str(self.folder / "config.toml")]
        async with program(words, log) as process:
            await self.until_ready(process, log)
            yield self

    async def until_ready(self, process: asyncio.subprocess.Process, log: pathlib.Path) -> None:
        """Waits for the first round of probes, of which there are none."""
        for _ in range(int(PATIENCE * 10)):
            if process.returncode is not None:
                break
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                if (await self.http("GET", "/readyz"))[0].startswith("200"):
                    return
            await asyncio.sleep(0.1)
        raise Wrong(f"the server did not get ready:\n{log.read_text()[-2000:]}")

    async def http(self, method: str, path: str, body: bytes = b"") -> tuple[str, bytes]:
        """Status and body of what its admin listener says."""
        status, _, said = await ask(self.admin, Request(method, path, {}, body))
        return status, said

    async def status(self) -> dict:
        """`/status`"""
        return json.loads((await self.http("GET", "/status"))[1])

    async def counted(self, family: str, label: str) -> int:
        """A counter of `/metrics`; 0 where it has not begun."""
        text = (await self.http("GET", "/metrics"))[1].decode()
        found = re.search(rf"^{family}{{[^}}]*{re.escape(label)}[^}}]*}} (\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else 0

    async def answer(self) -> str:
        """The addresses that the client gets."""
        words = [f"@{HOST}", "-p", str(self.dns), SERVICE, "A", "+short", f"+subnet={PREFIX}"]
        return " ".join((await output_of("dig", *words)).split())

    async def explain(self) -> tuple[str, list[dict]]:
        """In words, and the endpoints of the same."""
        live = f"--live=http://{HOST}:{self.admin}"
        words = await output_of(self.meridian, "explain", live, "--client", CLIENT, SERVICE)
        query = urllib.parse.urlencode({"client": CLIENT, "name": SERVICE, "type": "A"})
        told = json.loads((await self.http("GET", f"/api/v1/explain?{query}"))[1])
        return words, told["choice"]["endpoints"]

    async def look(self) -> None:
        """Has it look at what was reported now, and not within a minute; waits until it has."""
        before = (await self.status())["measured"]["at"]
        status, said = await self.http("POST", "/api/v1/measurements?last=true", b"[]")
        if not status.startswith("200"):
            raise Wrong(f"the server does not look at its samples: {status} {said.decode()}")
        for _ in range(int(PATIENCE * 10)):
            if (await self.status())["measured"]["at"] != before:
                return
            await asyncio.sleep(0.1)
        raise Wrong(f"the server has not looked at its samples within {PATIENCE:.0f} s")


@contextlib.asynccontextmanager
async def page(chromium: str, temp: pathlib.Path, port: int, path: str = "/"):
    """A page in a browser that has never been anywhere, until the block ends."""
    profile = temp / "profile"
    words = [chromium, *CHROMIUM, f"--user-data-dir={profile}", f"http://{HOST}:{port}{path}"]
    try:
        async with program(words, temp / "chromium.log"):
            yield
    finally:
        shutil.rmtree(profile, ignore_errors=True)


def exchanges(world: World, since: int, path: str) -> list[tuple[Request, str]]:
    """What was asked for there, with the statuses of the replies."""
    return [(request, status) for request, status in world.asked[since:] if request.path.split("?")[0] == path]


def replies(world: World, since: int, path: str) -> list[str]:
    """These statuses alone."""
    return [status for _, status in exchanges(world, since, path)]


async def session(chromium: str, temp: pathlib.Path, world: World, path: str = "/") -> list[dict]:
    """The samples that a page load reports."""
    since = len(world.asked)
    async with page(chromium, temp, world.page, path):
        await world.until("a report", lambda: replies(world, since, "/v1/beacons"), PATIENCE)
    [(request, status)] = exchanges(world, since, "/v1/beacons")
    samples = json.loads(request.body)["samples"]
    took = (f"{one['site']} {'null' if one['rtt_ms'] is None else round(one['rtt_ms'], 1)}" for one in samples)
    print(f"last mile {world.last_mile_ms:.0f} ms: {', '.join(took)}; {status}")
    if not status.startswith("204"):
        raise Wrong(f"the report was refused: {status}")
    return samples


async def sessions(options: argparse.Namespace, temp: pathlib.Path, world: World, server: Server) -> None:
    """Loads the page so often, and has the server look half-way, so that what is known steers what is measured."""
    for number in range(options.sessions):
        world.last_mile_ms = options.last_mile * LAST_MILES[number % len(LAST_MILES)]
        await session(options.chromium, temp, world)
        if number + 1 == options.sessions // 2:
            await server.look()
    await server.look()


async def check_silent(chromium: str, temp: pathlib.Path, world: World, silent: Endpoint) -> None:
    """An endpoint that takes requests and does not answer."""
    silent.silent = True
    samples = await session(chromium, temp, world)
    silent.silent = False
    await world.tell()
    nulls = [sample["site"] for sample in samples if sample["rtt_ms"] is None]
    if nulls != [silent.site]:
        raise Wrong(f"{silent.name} was silent, and null was reported of {nulls}")
    print(f"{silent.name} was silent: reported as null")


async def check_leaving(chromium: str, temp: pathlib.Path, world: World) -> None:
    """A page that is left while its third endpoint is timed."""
    before = [len(endpoint.requests) for endpoint in world.endpoints]
    grown = lambda: sum(len(one.requests) > count for one, count in zip(world.endpoints, before))  # noqa: E731
    world.leaves = lambda: grown() >= 3
    samples = await session(chromium, temp, world, "/leaving")
    if len(samples) != 2 or any(sample["rtt_ms"] is None for sample in samples):
        raise Wrong(f"a page that was left while it timed the third endpoint reported {samples}")
    print("a page that was left while it timed the third endpoint: the first two were reported")


def check_requests(world: World) -> None:
    """No credentials and no referrer, but for the script itself, which the page's tag asks for."""
    brought = [request for request, _ in world.asked if request.path != "/v1/beacon.js"]
    for request in itertools.chain(brought, *(endpoint.requests for endpoint in world.endpoints)):
        for name in ("cookie", "authorization", "referer"):
            if name in request.headers:
                raise Wrong(f"{request.method} {request.path} has {name}: {request.headers[name]}")


def table(rows: list[list[str]]) -> None:
    """In columns, the first to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:]))]
        print("  ".join(cells).rstrip())


def check_estimates(world: World, told: list[dict], last_mile: float) -> None:
    """Prints estimates beside what is true, and raises what is wrong."""
    truth = {endpoint.name: endpoint for endpoint in world.endpoints}
    timed = lambda name: len(truth[name].requests)  # noqa: E731
    rows = [["endpoint", "true, ms", "prior", "estimate", "give or take", "pixels fetched"]]
    for one in told:
        measured = one["measured"]
        spread = f"{measured['spread_ms']:.1f}" if measured else ""
        figures = [f"{truth[one['name']].delay_ms:.0f}", f"{one['prior_ms']:.1f}", f"{one['estimate_ms']:.1f}"]
        rows.append([one["name"], *figures, spread, str(timed(one["name"]))])
    table(rows)
    print()
    wrong, rows = [], [["difference", "true, ms", "prior", "measured", "off by"]]
    known = [one for one in told if one["measured"]]
    if len(known) < 2:
        raise Wrong("not two sites have an estimate by measurements")
    for one, other in itertools.combinations(known, 2):
        true = truth[other["name"]].delay_ms - truth[one["name"]].delay_ms
        prior, measured = (other[what] - one[what] for what in ("prior_ms", "estimate_ms"))
        pair, off = f"{other['name']} − {one['name']}", measured - true
        rows.append([pair, f"{true:.0f}", f"{prior:.1f}", f"{measured:.1f}", f"{off:+.1f}"])
        if abs(off) > max(TOLERANCE * abs(true), TOLERANCE_MS):
            wrong.append(f"{pair} is {true:.0f} ms, and is taken for {measured:.1f}")
    table(rows)
    for one in known:
        over = one["estimate_ms"] - truth[one["name"]].delay_ms
        if over > max(min(LAST_MILES) * last_mile / 2, TOLERANCE_MS):
            wrong.append(f"{one['name']} is taken to be {over:.1f} ms farther than it is: the last mile is in it")
    if wrong:
        raise Wrong("; ".join(wrong))


async def check_isolated(chromium: str, temp: pathlib.Path, world: World) -> None:
    """A page that lets nothing in that does not say so (COEP), before endpoints that say nothing and that do."""
    for headers, fails in (({}, True), ({"Cross-Origin-Resource-Policy": "cross-origin"}, False)):
        world.pixel_headers = headers
        samples = await session(chromium, temp, world, "/isolated")
        if any((sample["rtt_ms"] is None) != fails for sample in samples):
            raise Wrong(f"a page that isolates itself, before endpoints with {headers or 'no headers'}: {samples}")
    print("a page that isolates itself: times those alone whose replies have Cross-Origin-Resource-Policy")


async def check_elsewhere(chromium: str, temp: pathlib.Path, world: World, server: Server) -> None:
    """A page of another origin with the same script."""
    since, refused = len(world.asked), await server.counted("meridian_beacons_refused_total", 'why="origin"')
    pixels = sum(len(endpoint.requests) for endpoint in world.endpoints)
    async with page(chromium, temp, world.other_page):
        await world.until("the other page asks", lambda: replies(world, since, "/v1/beacons/session"), PATIENCE)
        await settled(world)
    statuses = replies(world, since, "/v1/beacons/session")
    again = await server.counted("meridian_beacons_refused_total", 'why="origin"')
    if not all(status.startswith("403") for status in statuses) or again != refused + len(statuses):
        raise Wrong(f"a page of another origin got {statuses}, and {again - refused} refusals were counted")
    if replies(world, since, "/v1/beacons") or sum(len(endpoint.requests) for endpoint in world.endpoints) != pixels:
        raise Wrong("a page of another origin measured")
    print(f"a page of another origin: {', '.join(statuses)}; it measured nothing")


async def check_unexplored(chromium: str, temp: pathlib.Path, world: World) -> None:
    """With `explore = 0`."""
    since, idle = len(world.asked), world.idle
    async with page(chromium, temp, world.page):
        await world.until("the page is idle", lambda: world.idle > idle, PATIENCE)
        await settled(world)
    asked = [request.path for request, _ in world.asked[since:]]
    if asked != ["/v1/beacon.js"]:
        raise Wrong(f"with explore = 0 the page asked for {asked}")
    print("with explore = 0: the script was fetched, and asked for nothing")


async def settled(world: World) -> None:
    """Two seconds in which nobody asks for anything: what has not begun by then does not."""
    seen = -1
    while seen != len(world.asked):
        seen = len(world.asked)
        await asyncio.sleep(2)


async def show(options: argparse.Namespace, temp: pathlib.Path) -> None:
    """All of it, in order; told to end, it ends what it has started first."""
    for what in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(what, asyncio.current_task().cancel)
    world = World(ENDPOINTS, CLIENT, SERVICE, free_port())
    await world.start()
    server = Server(options.meridian, temp / "all", options.database, world, explore=1000)
    async with server.running():
        before, best = await server.answer(), min(world.endpoints, key=lambda endpoint: endpoint.delay_ms)
        if not before or before == best.address:
            raise Wrong(f"{PREFIX} is answered {before or 'nothing'} before anything was measured: nothing can change")
        print(f"before: {PREFIX} is answered {before}, {named(world, before)}\n")
        await sessions(options, temp, world, server)
        after, (words, told) = await server.answer(), await server.explain()
        status = (await server.status())["measured"]
        print(f"\nafter: {PREFIX} is answered {after}, {named(world, after)}; /status measured: {json.dumps(status)}\n")
        print("meridian explain --live:\n" + words[words.index("outcome") : words.index("answer  ")])
        check_estimates(world, told, options.last_mile)
        if after != best.address:
            raise Wrong(f"{PREFIX} is answered {after}; {best.name}, the nearest as measured, has {best.address}")
        print()
        await check_silent(options.chromium, temp, world, best)
        await check_leaving(options.chromium, temp, world)
        await check_isolated(options.chromium, temp, world)
        check_requests(world)
        print("no request had credentials or a referrer, though the page has a cookie")
        await check_elsewhere(options.chromium, temp, world, server)
    async with Server(options.meridian, temp / "none", options.database, world, explore=0).running():
        await check_unexplored(options.chromium, temp, world)


def named(world: World, address: str) -> str:
    """Who has it, and how far that is."""
    found = next((endpoint for endpoint in world.endpoints if endpoint.address == address), None)
    return f"{found.name}, {found.delay_ms:.0f} ms away" if found else "nobody's"


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--meridian", "--chromium", "--database", "--temp"):
        parser.add_argument(name, required=True)
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--last-mile", type=float, required=True)
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    try:
        asyncio.run(show(options, pathlib.Path(options.temp)))
    except (Wrong, TimeoutError) as wrong:
        print(f"\nWRONG: {wrong}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 130
    print("\nAll as it should be.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
